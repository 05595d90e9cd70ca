"""Shards of tiny pictures whose levels tell which picture they are, written without decoding."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from maskdepth.data.archives.members import LABELS_FILE, MEMBER_COLUMNS, write_members
from maskdepth.data.arrays.arrays import CARD_FILE
from maskdepth.data.layouts.layout import read_layouts

SIZE = 4
MSHILPAA = read_layouts()["mshilpaa"].definition


def write_shard(folder: Path, first: int, num_composites: int, **changes: object) -> None:
    """Write a shard of composites filled with first, first + 1, ..., one rejected member, and a line of labels."""
    folder.mkdir(parents=True)
    numbers = np.arange(first, first + num_composites, dtype=np.uint8)
    np.save(folder / "composite.npy", np.broadcast_to(numbers[:, None, None, None], (num_composites, SIZE, SIZE, 3)))
    lines = [f"composite,fg-bg{n}.jpg,,,,,{n},9,9,0a,{row},," for row, n in enumerate(numbers)]
    lines.append("unknown,x.txt,,,,,,,,0b,,its name fits nothing,remove it")
    write_members(folder, pd.DataFrame([line.split(",") for line in lines], columns=list(MEMBER_COLUMNS), dtype=str))
    (folder / LABELS_FILE).write_text(f"background,foreground,composite,mask,depth\nbg1,fg1,c{first},m,d\n")
    card = {"archive": f"{folder.name}.zip", "layout": "mshilpaa", "definition": MSHILPAA, "image_size": SIZE}
    card |= {"store": "pixels", "depth_near": "dark", "depth_frame": "refuse", "max_pixels": 10_000}
    card |= {"counts": {"composite": num_composites}, **changes}
    (folder / CARD_FILE).write_text(json.dumps(card))
