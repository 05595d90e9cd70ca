"""Statistics: exact, and what they cost; splitting: 400,000 rows.

The sums are compared with those of NumPy in 64-bit integers, to the last digit. What they cost is told beside decoding
the same pictures, which has to come first. Fewer are read from files, which takes longest; the arrays hold more, since
what costs the same for any number of samples is nothing at 400,000.
"""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from support.drawn import ARRAY_SIZE, USUAL_SIZE, list_samples, scratch, unzip, write_archives
from support.peers import extract, mean_std_of_files
from support.timing import Case, cost, measure, parse_options, report, speedup, summarise

from maskdepth.data.archives.members import read_members
from maskdepth.data.arrays.arrays import Arrays
from maskdepth.data.index.joining import build_index
from maskdepth.data.pictures.decoding import PICTURE_KINDS
from maskdepth.data.samples import IDS
from maskdepth.data.split import assign_splits
from maskdepth.data.stats import measure_kind
from maskdepth.params import SplitParams

_SAMPLES, _QUICK_SAMPLES = 6000, 100
_READ_FROM_FILES = 1500
_WHOLE, _QUICK_WHOLE = 400_000, 4000
_SPLIT = SplitParams(by="background", val=0.15, test=0.15, seed=0, train_only=[])

_FILES, _FLOATS = "float sums over files", "NumPy float mean and std of the arrays"
_COMPOSITES, _ALL, _DECODING = "stats of composites", "stats of all kinds", "unzip of all kinds, 1 core"
_READING = "reading all arrays once"


def main() -> None:
    options = parse_options(__doc__)
    num_samples, num_rows = (_QUICK_SAMPLES, _QUICK_WHOLE) if options.quick else (_SAMPLES, _WHOLE)
    splitting = f"split of {num_rows:,} rows"
    with scratch() as folder:
        raw = write_archives(folder, num_samples, num_archives=1, size=USUAL_SIZE)
        extract(raw / "batch1_images.zip", folder / "files")
        arrays = unzip(raw, folder / "arrays", workers=1)
        samples = build_index(read_members(folder / "arrays"), arrays).samples
        cases = list_cases(folder, arrays, samples)
        cases[splitting] = Case(partial(assign_splits, list_index(num_rows), _SPLIT))
        times = measure(cases, quick=options.quick)
        facts = {"sums equal those of 64-bit integers": is_exact(arrays, samples)}
    ratios = [
        speedup(times, _FILES, _COMPOSITES),
        speedup(times, _FLOATS, _COMPOSITES),
        cost(times, _ALL, _DECODING, "<= 0.02"),
        cost(times, _ALL, _READING),
        summarise(f"seconds of the {splitting}", times[splitting], "<= 1"),
    ]
    data = (
        f"{num_samples:,} samples, drawn at {USUAL_SIZE} px, their bytes repeated; arrays of {ARRAY_SIZE} px; "
        f"an index of {num_rows:,} rows; units are samples, and the split"
    )
    report("stats_split", data, options, times, ratios, facts)


def list_cases(folder: Path, arrays: Arrays, samples: pd.DataFrame) -> dict[str, Case]:
    paths = sorted((folder / "files").rglob("fg_bg_jpg/*.jpg"))[:_READ_FROM_FILES]
    composites, again, count = np.asarray(arrays.composite.parts[0]), folder / "again", len(samples)
    return {
        _FILES: Case(partial(mean_std_of_files, paths), len(paths)),
        _FLOATS: Case(partial(mean_std_of_array, composites), count),
        _COMPOSITES: Case(partial(measure_kind, samples, arrays, "composite"), count),
        _ALL: Case(lambda: [measure_kind(samples, arrays, kind) for kind in PICTURE_KINDS], count),
        _READING: Case(lambda: [getattr(arrays, kind).parts[0].max() for kind in PICTURE_KINDS], count),
        _DECODING: Case(
            partial(unzip, folder / "raw", again, 1), count, partial(shutil.rmtree, again, ignore_errors=True)
        ),
    }


def mean_std_of_array(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scaled = pictures.astype(np.float32) / 255
    return scaled.mean((0, 1, 2)), scaled.std((0, 1, 2))


def is_exact(arrays: Arrays, samples: pd.DataFrame) -> bool:
    """Compare the sums of all composites with those of wide integers."""
    table = measure_kind(samples, arrays, "composite").table
    sums = table.groupby("channel")[["count", "sum", "sum_of_squares"]].sum().to_numpy()
    pixels = np.asarray(arrays.composite.parts[0]).reshape(-1, 3).astype(np.int64)
    expected = np.stack([np.full(3, len(pixels)), pixels.sum(0), (pixels**2).sum(0)], axis=1)
    return bool((sums == expected).all())


def list_index(num_rows: int) -> pd.DataFrame:
    """Make an index of so many samples, with what a split looks at."""
    index = pd.DataFrame(list_samples(num_rows), columns=IDS)
    return index.assign(sample_id=index.astype(str).agg("_".join, axis=1), place=index["background"])


if __name__ == "__main__":
    main()
