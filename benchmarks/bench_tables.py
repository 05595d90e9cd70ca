"""What unzip, index, stats and split take of memory for each composite, up to four million.

For all but unzip shards are written without decoding, their pictures shared by all archives: what grows is the tables
alone. Unzip has a tenth of the composites, as it decodes each, in archives of one size. Between two sizes memory grows
by so many bytes a composite, whatever Python and its libraries take; memory is what a stage allocates, mapped pages
apart.
"""

import io
import json
import os
import zipfile
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from bench_scale import Run, watch
from PIL import Image
from support.drawn import BACKGROUNDS, PLACEMENTS, list_samples, names_of, scratch
from support.shipped import write_shipped
from support.timing import Ratio, parse_options, report, summarise

from maskdepth.data.archives.members import MEMBER_COLUMNS, write_members
from maskdepth.data.arrays.arrays import CARD_FILE, pixels_file
from maskdepth.data.layouts.layout import read_layouts
from maskdepth.params import load_params, update_params

_SIDE = 16  # [px]
_OF_OBJECT = BACKGROUNDS * PLACEMENTS
_OBJECTS = 10  # of an archive
_FEWER = 10  # composites of the other stages for one of unzip
_OF_ZIP = 1000  # composites
_SIZES, _QUICK_SIZES, _WHOLE = [80_000, 400_000], [40_000, 80_000], [1_000_000, 4_000_000]
_GOAL = "<= 200"  # [bytes] 40 million composites in 8 GB
_INDEX = "--arrays arrays --registered registered --index index.csv"
_UNZIP = f"unzip of a {_FEWER}th"
_STAGES = {
    "index": f"{_INDEX} --rejected rejected.csv",
    "stats": f"{_INDEX} --places places.csv --moments stats.csv --summary stats.json --gallery gallery.png",
    "split": "--index index.csv --places places.csv --split split.csv --croissant croissant.json",
}


def main() -> None:
    options = parse_options(__doc__, has_scale=True)
    sizes = _WHOLE if options.scale else _QUICK_SIZES if options.quick else _SIZES
    with scratch() as folder:
        draw_pictures(folder / "pictures")
        runs = {size: run_all(folder / str(size), folder / "pictures", size) for size in sizes}
    times = {f"{stage}, {size:,}": [run.seconds] for size in sizes for stage, run in runs[size].items()}
    facts = {
        f"{stage}, {size:,}": f"{run.megabytes:.0f} MB, {run.busy:.1f} processor seconds"
        for size in sizes
        for stage, run in runs[size].items()
    }
    data = f"tables of composites in archives of {_OBJECTS * _OF_OBJECT:,}, ids in their names; pictures of {_SIDE} px"
    report("tables", data, options, times, [grow(stage, runs) for stage in [_UNZIP, *_STAGES]], facts)


def grow(stage: str, runs: dict[int, dict[str, Run]]) -> Ratio:
    """Say how many bytes a stage takes for each composite that is added."""
    few, many = runs
    composites = (many - few) / (_FEWER if stage == _UNZIP else 1)
    added = 1e6 * (runs[many][stage].megabytes - runs[few][stage].megabytes) / composites * 1.048576
    # Of a few composites it can be less: what the allocator keeps differs from run to run.
    return summarise(f"bytes a composite, {stage}", [max(added, 0.0)], _GOAL)


def draw_pictures(folder: Path) -> None:
    """Draw noise with a square that differs from its background, for the composites of one archive."""
    folder.mkdir()
    random = np.random.default_rng(0)
    count = _OBJECTS * _OF_OBJECT
    backgrounds = random.integers(0, 256, (BACKGROUNDS, _SIDE, _SIDE, 3), np.uint8)
    mask = np.zeros((_SIDE, _SIDE), np.uint8)
    mask[4:9, 4:9] = 1
    composites = backgrounds[[sample[1] - 1 for sample in list_samples(count)]]
    composites[:, mask == 1] = random.integers(0, 256, (count, int(mask.sum()), 3), np.uint8)
    depths = random.integers(0, 256, (count, _SIDE, _SIDE), np.uint8)
    pictures = {"background": backgrounds, "composite": composites, "mask": np.stack([mask] * count), "depth": depths}
    for kind, drawn in pictures.items():
        np.save(folder / pixels_file(kind), drawn)


def run_all(folder: Path, pictures: Path, size: int) -> dict[str, Run]:
    """Write the shards of so many composites and run the stages on them."""
    (folder / ".dvc").mkdir(parents=True)
    write_shipped(folder)
    for number in range(size // (_OBJECTS * _OF_OBJECT)):
        write_shard(folder / "arrays" / f"batch{number + 1}_images", pictures, number * _OBJECTS)
    runs = {_UNZIP: run_unzip(folder / "zips", size // _FEWER)}
    for stage, paths in _STAGES.items():
        runs[stage] = watch(folder, ["-m", f"stages.{stage}", *paths.split(), "--journal", f"journals/{stage}.jsonl"])
    return runs


def run_unzip(folder: Path, size: int) -> Run:
    """Write zips of so many composites, whose pictures are all the same, and decode them."""
    (folder / "raw").mkdir(parents=True)
    write_shipped(folder)
    update_params(folder / "params.yaml", {"data.image_size": _SIDE})
    file = io.BytesIO()
    Image.new("L", (_SIDE, _SIDE)).save(file, "PNG")
    samples = ["_".join(map(str, ids)) + ".jpg" for ids in list_samples(size)]
    for start in range(0, size, _OF_ZIP):
        with zipfile.ZipFile(folder / "raw" / f"batch{start // _OF_ZIP + 1}_images.zip", "w") as opened:
            for name in chain.from_iterable(map(names_of, samples[start : start + _OF_ZIP])):
                opened.writestr(name, file.getvalue())
    return watch(folder, ["-m", "stages.unzip", "--raw", "raw", "--arrays", "arrays", "--journal", "unzip.jsonl"])


def write_shard(shard: Path, pictures: Path, first: int) -> None:
    """Write what unzip would of an archive whose objects come after `first` others."""
    shard.mkdir(parents=True)
    for path in pictures.iterdir():
        os.link(path, shard / path.name)
    samples = list_samples(_OBJECTS * _OF_OBJECT)
    digests = np.random.default_rng(first + 1).bytes(48 * len(samples)).hex()
    lines: list[tuple[str, ...]] = [
        ("background", f"bg_jpg/bg_img_{n}.jpg", "", f"{n}", "", "", "", "9", "9", f"{n:032x}", f"{n - 1}", "", "")
        for n in range(1, BACKGROUNDS + 1)
    ]
    for row, (foreground, *others) in enumerate(samples):
        ids = tuple(map(str, (first + foreground, *others)))
        for kind, name in zip(("composite", "mask", "depth"), names_of("_".join(ids) + ".jpg"), strict=True):
            start = 32 * (len(lines) - BACKGROUNDS)
            lines.append((kind, name, *ids, "", "9", "9", digests[start : start + 32], str(row), "", ""))
    write_members(shard, pd.DataFrame(lines, columns=list(MEMBER_COLUMNS), dtype=str))
    counts = {"background": BACKGROUNDS} | dict.fromkeys(["composite", "mask", "depth"], len(samples))
    card = {"archive": f"{shard.name}.zip", "layout": "sudhakarmlal", "image_size": _SIDE, "counts": counts}
    card |= {"definition": read_layouts()["sudhakarmlal"].definition}
    settings = load_params(shard.parents[1] / "params.yaml").data
    card |= settings.model_dump(include={"store", "depth_near", "depth_frame", "max_pixels"})
    (shard / CARD_FILE).write_text(json.dumps(card))


if __name__ == "__main__":
    main()
