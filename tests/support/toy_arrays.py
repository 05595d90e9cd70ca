"""The toy world as arrays in memory: what unzip would write, without its processes and files."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from support.toy import TOY_SIZE, write_toy_archive

from maskdepth.data.archives.members import Members, members_of
from maskdepth.data.arrays.arrays import CHANNELS, Arrays, Pixels, ShardedArray
from maskdepth.data.layouts.layout import NAME_COLUMNS, Layout, read_layouts


@dataclass(frozen=True)
class ToyMembers(Members):
    """Members, and the table of all their texts that they were made of."""

    table: pd.DataFrame


NO_PICTURE = {"width": -1, "height": -1, "global_row": -1}


def make_toy_arrays(folder: Path, layout: str = "sudhakarmlal", **ids: object) -> tuple[ToyMembers, Arrays]:
    """Draw a toy data set in `folder` and decode it; `ids` as in `write_toy_archive`."""
    write_toy_archive(folder, layout, **ids)
    return decode_folder(folder, read_layouts()[layout])


def decode_folder(folder: Path, layout: Layout) -> tuple[ToyMembers, Arrays]:
    """Decode the zips and loose pictures of a folder, sizes as they are."""
    pictures: dict[str, list[Pixels]] = {kind: [] for kind in CHANNELS}
    rows, labels = [], []
    for archive, name, data in _list_members(folder):
        recognised = layout.recognise(name)
        kind, ids = recognised or ("unknown", {})
        reason, cure = ("", "") if recognised else ("no name of this layout", "rename it")
        row = {"archive": archive, "shard": archive, "member": name, "kind": kind, "reason": reason, "cure": cure}
        row |= {column: ids.get(column, "") for column in NAME_COLUMNS} | NO_PICTURE
        row["digest"] = hashlib.blake2b(data).hexdigest()
        if kind in CHANNELS:
            picture = np.asarray(Image.open(io.BytesIO(data)))
            row |= {"width": picture.shape[1], "height": picture.shape[0], "global_row": len(pictures[kind])}
            pictures[kind].append(picture // 255 if kind == "mask" else picture)
        if kind == "labels":
            labels += layout.read_labels(data.decode())
        rows.append(row)
    arrays = {kind: ShardedArray([np.stack(drawn)]) for kind, drawn in pictures.items() if drawn}
    lines = pd.DataFrame(labels, columns=list(layout.label_columns), dtype=str)
    table = pd.DataFrame(rows)
    return ToyMembers(**vars(members_of(table, lines, layout)), table=table), Arrays(TOY_SIZE, **arrays)


def _list_members(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                yield from ((path.stem, name, archive.read(name)) for name in archive.namelist())
        else:
            yield "files", path.relative_to(folder).as_posix(), path.read_bytes()
