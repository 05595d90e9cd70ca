"""Mini-batches from decoded arrays, against reading picture files, one sample at a time.

The students' loaders, and what one would write today, open four files a sample; they differ little, as decoding is most
of it. One thread of torch; the loader with workers has all cores.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from drawn import ARRAY_SIZE, PICTURE_SIZE, scratch, unzip, write_archives
from peers import ArraySamples, FileSamples, extract
from timing import Case, cost, measure, parse_options, report, speedup
from torch.utils.data import DataLoader

from maskdepth.data.arrays import Arrays
from maskdepth.data.batches import KINDS, Batches
from maskdepth.data.index import build_index
from maskdepth.data.shards import usable_cores

_SAMPLES, _QUICK_SAMPLES = 2000, 150
_READ_FROM_FILES = 400
_BATCH_SIZE = 128
# Passes over the arrays in a round: one takes some hundredths of a second.
_PASSES = 5

_FILES, _WORKERS = "files, DataLoader", "files, DataLoader with a worker per core"
_ARRAYS = "our arrays, DataLoader sample by sample"
_NORMALISED, _FLOAT, _BYTES = "Batches, normalised", "Batches, [0, 1]", "gathered uint8"
_COPY = "copying the same bytes"


def main() -> None:
    options = parse_options(__doc__)
    torch.set_num_threads(1)
    num_samples = _QUICK_SAMPLES if options.quick else _SAMPLES
    with scratch() as folder:
        raw = write_archives(folder, num_samples, num_archives=1)
        extract(raw / "batch1_images.zip", folder / "files")
        arrays = unzip(raw, folder / "arrays", workers=1)
        rows = build_index(arrays).samples
        cases = list_file_cases(folder, rows) | list_array_cases(arrays, rows)
        times = measure(cases, quick=options.quick)
    ratios = [
        speedup(times, _FILES, _NORMALISED, ">= 50"),
        speedup(times, _FILES, _BYTES, ">= 200"),
        speedup(times, _WORKERS, _NORMALISED),
        speedup(times, _ARRAYS, _FLOAT),
        cost(times, _BYTES, _COPY),
    ]
    data = (
        f"{num_samples:,} samples, drawn at {PICTURE_SIZE} px, their bytes repeated; arrays of {ARRAY_SIZE} px, "
        f"mapped from the disk and in its cache; batches of {_BATCH_SIZE}; units are samples"
    )
    report("batches", data, options, times, ratios, {"torch threads": torch.get_num_threads()})


def list_file_cases(folder: Path, rows: pd.DataFrame) -> dict[str, Case]:
    root = next((folder / "files").iterdir())
    names = [
        (
            root / f"bg_jpg/bg_img_{row.background}.jpg",
            root / f"fg_bg_jpg/fg_bg_{row.sample_id}.jpg",
            root / f"mask_black_jpg/bg_mask_{row.sample_id}.jpg",
            root / f"depth_fg_bg_jpg/depth_fg_bg_{row.sample_id}.jpg",
        )
        for row in rows.head(_READ_FROM_FILES).itertuples()
    ]
    files = FileSamples(names, ARRAY_SIZE)
    alone = DataLoader(files, _BATCH_SIZE, shuffle=True)
    helped = DataLoader(files, _BATCH_SIZE, shuffle=True, num_workers=usable_cores())
    return {
        _FILES: Case(partial(exhaust, alone), len(names)),
        _WORKERS: Case(partial(exhaust, helped), len(names)),
    }


def list_array_cases(arrays: Arrays, rows: pd.DataFrame) -> dict[str, Case]:
    batches = Batches(arrays, rows, _BATCH_SIZE, torch.device("cpu"))
    wanted = rows[[f"{kind}_row" for kind in KINDS]].to_numpy(np.int64)
    samples = ArraySamples([getattr(arrays, kind).parts[0] for kind in KINDS], wanted)
    loader = DataLoader(samples, _BATCH_SIZE, shuffle=True)
    parts = np.array_split(np.random.default_rng(0).permutation(len(rows)), -(-len(rows) // _BATCH_SIZE))
    sources = gather(arrays, wanted, parts[:1])
    copies = [(source, np.empty_like(source)) for source in sources]
    return {
        _ARRAYS: Case(partial(exhaust, loader), len(rows)),
        _NORMALISED: Case(partial(normalise, batches), _PASSES * len(rows)),
        _FLOAT: Case(lambda: [exhaust(batches.epoch(0, epoch)) for epoch in range(_PASSES)], _PASSES * len(rows)),
        _BYTES: Case(lambda: [gather(arrays, wanted, parts) for _ in range(_PASSES)], _PASSES * len(rows)),
        _COPY: Case(partial(copy, copies), _PASSES * len(parts[0])),
    }


def exhaust(batches: Iterable[object]) -> None:
    """Take every batch and keep none."""
    for _ in batches:
        pass


def normalise(batches: Batches) -> None:
    """Read as training does, and standardise both pictures as the network does."""
    mean, std = torch.full((1, 3, 1, 1), 0.5), torch.full((1, 3, 1, 1), 0.25)
    for epoch in range(_PASSES):
        for batch in batches.epoch(0, epoch):
            torch.cat([(batch.background - mean) / std, (batch.composite - mean) / std], dim=1)


def copy(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
    """Copy the pictures of one batch, as often as there are passes."""
    for source, target in list(pairs) * _PASSES:
        np.copyto(target, source)


def gather(arrays: Arrays, wanted: np.ndarray, parts: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Pick the pictures of each batch; give those of the last."""
    pictures: list[np.ndarray] = []
    for part in parts:
        pictures = [getattr(arrays, kind).take(wanted[part, column]) for column, kind in enumerate(KINDS)]
    return pictures


if __name__ == "__main__":
    main()
