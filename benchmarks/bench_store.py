"""Pictures kept as pixels or encoded: samples a second and room on the disk, at 64 and at 224 px, against files.

Pixels are read, encoded pictures are decoded for every batch, by all cores; the base decodes files sample by sample.
"""

from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from support.drawn import PICTURE_SIZE, list_files, scratch, unzip, write_archives
from support.peers import FileSamples, extract
from support.timing import Case, Ratio, Times, measure, parse_options, report, speedup
from torch.utils.data import DataLoader, Dataset

from maskdepth.data.archives.members import read_members
from maskdepth.data.batches.batches import Batches
from maskdepth.data.index.joining import build_index
from maskdepth.process.workers import usable_cores

# Size [px] of the pictures in the archives, and of those in the arrays.
_SIZES = ((PICTURE_SIZE, 64), (224, 224))
_STORES = ("pixels", "encoded")
_SAMPLES, _QUICK_SAMPLES = 600, 100
_READ_FROM_FILES = 200
_BATCH_SIZE = 64


def main() -> None:
    options = parse_options(__doc__)
    torch.set_num_threads(1)
    num_samples = _QUICK_SAMPLES if options.quick else _SAMPLES
    cases: dict[str, Case] = {}
    facts: dict[str, object] = {"decoding threads": usable_cores()}
    with scratch() as folder:
        for picture_size, image_size in _SIZES:
            place = folder / str(image_size)
            place.mkdir()
            raw = write_archives(place, num_samples, 1, picture_size)
            found, sizes = list_cases(place, raw, image_size)
            cases |= found
            facts |= {f"{name} [bytes a sample]": size / num_samples for name, size in sizes.items()}
        times = measure(cases, quick=options.quick)
    data = (
        f"{num_samples:,} drawn samples, their bytes repeated, on 100 backgrounds; JPEG of {PICTURE_SIZE} px at 64 px, "
        f"of 224 px at 224 px; batches of {_BATCH_SIZE} as float; units are samples"
    )
    report("store", data, options, times, list_ratios(times), facts)


def list_cases(folder: Path, raw: Path, size: int) -> tuple[dict[str, Case], dict[str, int]]:
    """Unzip into both stores, and into files; give the ways to read them, and how large they are [bytes]."""
    cases, sizes = {}, {}
    for store in _STORES:
        arrays_dir = folder / store
        arrays = unzip(raw, arrays_dir, 1, store=store, image_size=size)
        rows = build_index(read_members(arrays_dir), arrays).samples
        batches = Batches(arrays, rows, _BATCH_SIZE, torch.device("cpu"))
        cases[name(store, size)] = Case(partial(read, batches), len(rows))
        sizes[name(store, size)] = sum(path.stat().st_size for path in arrays_dir.rglob("*") if path.is_file())
    extract(raw / "batch1_images.zip", folder / "files")
    root = next((folder / "files").iterdir())
    names = list_files(root, rows.head(_READ_FROM_FILES))
    files = FileSamples(names, size)
    for workers in (0, usable_cores()):
        loader = DataLoader[Any](cast(Dataset[Any], files), _BATCH_SIZE, shuffle=True, num_workers=workers)
        cases[name("files, DataLoader" + (" with a worker per core" if workers else ""), size)] = Case(
            partial(list, loader), len(names)
        )
    sizes[name("files", size)] = sum(path.stat().st_size for path in root.rglob("*.jpg"))
    return cases, sizes


def name(way: str, size: int) -> str:
    return f"{way}, {size} px"


def read(batches: Batches) -> None:
    """Read an epoch as training does."""
    for batch in batches.epoch(0, int(np.random.default_rng().integers(1000))):
        batch.inputs()
        batch.targets()


def list_ratios(times: Times) -> list[Ratio]:
    ratios = []
    for _, size in _SIZES:
        for store in _STORES:
            ratios.append(speedup(times, name("files, DataLoader", size), name(store, size)))
            helped = name("files, DataLoader with a worker per core", size)
            ratios.append(speedup(times, helped, name(store, size)))
        ratios.append(speedup(times, name("encoded", size), name("pixels", size)))
    return ratios


if __name__ == "__main__":
    main()
