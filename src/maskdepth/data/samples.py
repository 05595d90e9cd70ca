"""The two tables that later stages read: index.csv, one row per sample, and split.csv, what each sample is for.

A place is what the backgrounds of one group show: pictures of equal bytes, and those that places.csv puts together.
What is held out, what is called seen, and what is counted are places, never the ids that backgrounds bear.
"""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from maskdepth.data.keys import find_repeated_texts
from maskdepth.data.tables import CATEGORY, narrow, numbers_where_whole, read_table, write_table

IDS = ["foreground", "background", "flip", "placement"]
# Of its pictures in the arrays; -1 for a background without a depth map.
ROWS = ["background_row", "composite_row", "mask_row", "depth_row", "background_depth_row"]
INDEX_COLUMNS = ["sample_id", *IDS, "archive", "background_digest", *ROWS]
_INDEX_TYPES = dict.fromkeys([*IDS, "archive", "background_digest"], CATEGORY) | dict.fromkeys(ROWS, pa.int64())

TRAIN, VAL, TEST = "train", "val", "test"
# Split by both: one of background and object is held out for the test, the other is trained on.
MIXED = "mixed"
# Split by both: held out in a way that belongs to no cell that is reported.
UNUSED = "unused"

_SPLIT_COLUMNS = ("sample_id", "split", "place")


def read_samples(index_path: Path, split_path: Path) -> dict[str, pd.DataFrame]:
    """Read the rows of each split, with the columns of index.csv, `split` and `place`.

    Raises:
        FileNotFoundError: One of the files is missing.
        ValueError: A file was cut or edited, the two are not of the same samples, or none trains, validates or tests.
    """
    samples, splits = read_index(index_path), read_split(split_path)
    if not samples["sample_id"].equals(splits["sample_id"]):
        raise ValueError(
            f"{split_path} and {index_path} list different samples, or in another order; run `dvc repro`, which makes "
            "both again"
        )
    if missing := [name for name in (TRAIN, VAL, TEST) if not splits["split"].eq(name).any()]:
        raise ValueError(
            f"{split_path} has no sample of {' and '.join(missing)}, expected some of train, val and test; "
            "run `dvc repro`, which makes it again"
        )
    samples = samples.assign(split=splits["split"], place=splits["place"])
    return {str(name): rows.reset_index(drop=True) for name, rows in samples.groupby("split", observed=True)}


def write_index(path: Path, samples: pd.DataFrame) -> None:
    """Write index.csv."""
    write_table(path, samples[INDEX_COLUMNS])


def read_index(path: Path) -> pd.DataFrame:
    """Read index.csv; rows are integers, as ids are where all of a column are numbers; elsewhere they are categories.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file was cut or edited, or lists a sample twice.
    """
    samples = read_table(path, INDEX_COLUMNS, _INDEX_TYPES)
    for column in IDS:
        samples[column] = numbers_where_whole(samples[column])
    for column in ROWS:  # whether they are there, the arrays know
        samples[column] = narrow(samples[column].to_numpy())
    _require_unique(path, samples)
    return samples


def write_split(path: Path, splits: pd.DataFrame) -> None:
    """Write split.csv, the columns `sample_id`, `split` and `place` of a table."""
    write_table(path, splits[list(_SPLIT_COLUMNS)])


def read_split(path: Path) -> pd.DataFrame:
    """Read split.csv: `sample_id`, and the categories `split` and `place`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file was cut or edited: unknown split names, a sample that is listed twice.
    """
    table = read_table(path, _SPLIT_COLUMNS, dict.fromkeys(["split", "place"], CATEGORY))
    unknown = set(table["split"].cat.categories) - {TRAIN, VAL, TEST, MIXED, UNUSED}
    if unknown:
        raise ValueError(f"{path}: unknown split {sorted(unknown)[0]!r}; expected train, val, test, mixed or unused")
    _require_unique(path, table)
    return table


def _require_unique(path: Path, table: pd.DataFrame) -> None:
    if (is_repeated := find_repeated_texts(table["sample_id"])).any():
        repeated = table.loc[is_repeated, "sample_id"].iloc[0]
        raise ValueError(f"{path}: sample {repeated} is listed twice; run `dvc repro`, which makes the file again")
