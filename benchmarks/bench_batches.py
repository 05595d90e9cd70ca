"""Mini-batches from decoded arrays, against reading picture files, one sample at a time.

The students' loaders, and what one would write today, open four files a sample; they differ little, as decoding is most
of it. webdataset reads the same files one after the other from a tar. One thread of torch; loaders with workers have
all cores and keep their processes from pass to pass. Ours reads ahead in a second thread.
"""

from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from support.drawn import ARRAY_SIZE, PICTURE_SIZE, build, list_files, scratch, unzip, write_archives
from support.peers import ArraySamples, FileSamples, extract, load_tars, write_tars
from support.timing import Case, cost, measure, parse_options, report, speedup
from torch.utils.data import DataLoader, Dataset

from maskdepth.data.archives.members import read_members
from maskdepth.data.arrays.arrays import Arrays
from maskdepth.data.batches.batches import Batch, Batches
from maskdepth.data.index.joining import build_index
from maskdepth.data.pictures.decoding import PICTURE_KINDS
from maskdepth.models.network import Network
from maskdepth.process.memory import keep_freed_memory
from maskdepth.process.workers import usable_cores

_SAMPLES, _QUICK_SAMPLES = 2000, 150
_READ_FROM_FILES = 400
_BATCH_SIZE = 128
# Passes over the arrays in a round: one takes some hundredths of a second.
_PASSES = 5

_FILES, _WORKERS = "files, DataLoader", "files, DataLoader with a worker per core"
_TARS, _TAR_WORKERS = "webdataset", "webdataset with a worker per core"
_ARRAYS = "our arrays, DataLoader sample by sample"
_NORMALISED, _SHIPPED = "Batches, normalised and stacked", "Batches, normalised and stacked with their difference"
_FLOAT, _BYTES, _GATHERED = "Batches, float, [0, 1]", "Batches, uint8", "gathered uint8"
_COPY = "copying the same bytes"


def main() -> None:
    options = parse_options(__doc__)
    torch.set_num_threads(1)
    keep_freed_memory()
    num_samples = _QUICK_SAMPLES if options.quick else _SAMPLES
    with scratch() as folder:
        raw = write_archives(folder, num_samples, num_archives=1)
        extract(raw / "batch1_images.zip", folder / "files")
        arrays = unzip(raw, folder / "arrays", workers=1)
        rows = build_index(read_members(folder / "arrays"), arrays).samples
        cases = list_file_cases(folder, rows) | list_array_cases(arrays, rows)
        times = measure(cases, quick=options.quick)
    ratios = [
        speedup(times, _FILES, _NORMALISED, ">= 50"),
        speedup(times, _FILES, _BYTES, ">= 200"),
        speedup(times, _WORKERS, _NORMALISED),
        speedup(times, _TARS, _NORMALISED),
        speedup(times, _TAR_WORKERS, _NORMALISED),
        speedup(times, _FILES, _SHIPPED),
        speedup(times, _ARRAYS, _FLOAT),
        cost(times, _BYTES, _COPY),
        cost(times, _GATHERED, _COPY),
    ]
    data = (
        f"{num_samples:,} samples, drawn at {PICTURE_SIZE} px, their bytes repeated; arrays of {ARRAY_SIZE} px, "
        f"mapped from the disk and in its cache; batches of {_BATCH_SIZE}; units are samples"
    )
    facts = {"torch threads": torch.get_num_threads(), "webdataset": version("webdataset")}
    report("batches", data, options, times, ratios, facts)


def list_file_cases(folder: Path, rows: pd.DataFrame) -> dict[str, Case]:
    names = list_files(next((folder / "files").iterdir()), rows.head(_READ_FROM_FILES))
    files = FileSamples(names, ARRAY_SIZE)
    alone = DataLoader[Any](cast(Dataset[Any], files), _BATCH_SIZE, shuffle=True)
    helped = DataLoader[Any](
        cast(Dataset[Any], files), _BATCH_SIZE, shuffle=True, num_workers=usable_cores(), persistent_workers=True
    )
    tars = write_tars(folder / "tars", names, usable_cores())
    loaders = {
        _FILES: alone,
        _WORKERS: helped,
        _TARS: load_tars(tars, ARRAY_SIZE, _BATCH_SIZE, workers=0),
        _TAR_WORKERS: load_tars(tars, ARRAY_SIZE, _BATCH_SIZE, workers=usable_cores()),
    }
    return {name: Case(partial(exhaust, loader), len(names)) for name, loader in loaders.items()}


def list_array_cases(arrays: Arrays, rows: pd.DataFrame) -> dict[str, Case]:
    batches = Batches(arrays, rows, _BATCH_SIZE, torch.device("cpu"))
    wanted = rows[[f"{kind}_row" for kind in PICTURE_KINDS]].to_numpy(np.int64)
    samples = ArraySamples([getattr(arrays, kind).parts[0] for kind in PICTURE_KINDS], wanted)
    loader = DataLoader[Any](cast(Dataset[Any], samples), _BATCH_SIZE, shuffle=True)
    parts = np.array_split(np.random.default_rng(0).permutation(len(rows)), -(-len(rows) // _BATCH_SIZE))
    sources = gather(arrays, wanted, parts[:1])
    copies = [(source, np.empty_like(source)) for source in sources]
    plain, shipped = build("dsunet"), build("dsunet", "background+composite+difference")
    return {
        _ARRAYS: Case(partial(exhaust, loader), len(rows)),
        _NORMALISED: Case(partial(read, batches, partial(normalise, plain)), _PASSES * len(rows)),
        _SHIPPED: Case(partial(read, batches, partial(normalise, shipped)), _PASSES * len(rows)),
        _FLOAT: Case(partial(read, batches, scale), _PASSES * len(rows)),
        _BYTES: Case(partial(read, batches, lambda batch: None), _PASSES * len(rows)),
        _GATHERED: Case(lambda: [gather(arrays, wanted, parts) for _ in range(_PASSES)], _PASSES * len(rows)),
        _COPY: Case(partial(copy, copies), _PASSES * len(parts[0])),
    }


def exhaust(batches: Iterable[object]) -> None:
    """Take every batch and keep none."""
    for _ in batches:
        pass


def read(batches: Batches, take: Callable[[Batch], object]) -> None:
    """Read as training does, and do something with each batch."""
    for epoch in range(_PASSES):
        for batch in batches.epoch(0, epoch):
            take(batch)


def scale(batch: Batch) -> None:
    batch.inputs()
    batch.targets()


def normalise(network: Network, batch: Batch) -> None:
    """Make what the network's first layer and the losses get."""
    network.stack(*batch.inputs())
    batch.targets()


def copy(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
    """Copy the pictures of one batch, as often as there are passes."""
    for source, target in list(pairs) * _PASSES:
        np.copyto(target, source)


def gather(arrays: Arrays, wanted: np.ndarray, parts: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Pick the pictures of each batch; give those of the last."""
    pictures: list[np.ndarray] = []
    for part in parts:
        pictures = [getattr(arrays, kind).take(wanted[part, column]) for column, kind in enumerate(PICTURE_KINDS)]
    return pictures


if __name__ == "__main__":
    main()
