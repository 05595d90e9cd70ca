"""Mean and standard deviation of every kind of picture, kept as exact sums per group so that any subset is cheap.

The standard deviation is that of all pixels together (population). Published figures can differ for the same pictures:
the mean of the deviations within each image, which one of the student projects prints, leaves out how images differ
from each other and is some 10 % lower.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from PIL import Image

from maskdepth.data.arrays.arrays import Arrays, ShardedArray
from maskdepth.data.pictures.decoding import BACKGROUND_DEPTH, PICTURE_KINDS
from maskdepth.data.tables import as_categories, read_table, write_table
from maskdepth.process.files import replace_text

_GROUP = ["foreground", "background"]
_SUMS = ["count", "sum", "sum_of_squares"]
_COLUMNS = [*_GROUP, "kind", "channel", *_SUMS]

# The stored level that stands for 1.0.
_SCALE = {"background": 255, "composite": 255, "mask": 1, "depth": 255, BACKGROUND_DEPTH: 255}
# Of which there is one for a background, however many composites it has.
_OF_BACKGROUNDS = ("background", BACKGROUND_DEPTH)
# What a level adds to the sum and to the sum of squares.
_POWERS = np.stack([np.arange(256), np.arange(256) ** 2], axis=1)  # (256, 2)
# Values counted at once: 4 MiB stay near the core while they are put in order and counted.
_BLOCK_VALUES = 1 << 22


@dataclass(frozen=True)
class Moments:
    """Mean and population standard deviation per channel, on the [0, 1] scale."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Measured:
    """What the pictures of one kind add up to.

    Attributes:
        images: How many they are.
        black: How many of them are black everywhere; a black mask is an empty one.
        table: One row per group and channel: count [px], sum and sum of squares of the stored levels. A group is a
            pair of foreground and background; for the kinds of backgrounds it is the background, and the foreground is
            "".
        histogram: (256,) int64, how often each stored level occurs, all channels together.
    """

    images: int
    black: int
    table: pd.DataFrame
    histogram: np.ndarray


def list_kinds(index: pd.DataFrame) -> tuple[str, ...]:
    """Name the kinds of pictures that the samples have."""
    return (*PICTURE_KINDS, BACKGROUND_DEPTH) if index["background_depth_row"].ge(0).any() else PICTURE_KINDS


def measure_kind(index: pd.DataFrame, arrays: Arrays, kind: str) -> Measured:
    """Read all pictures of one kind once; each background counts once, however many composites it has."""
    return _measure(_list_pictures(index, kind), _array_of(arrays, kind), kind)


def merge_moments(table: pd.DataFrame) -> Moments:
    """Merge the rows of one kind; the result does not depend on how the pictures were grouped.

    The sums are integers, so nothing is rounded before the last division.

    >>> rows = [("mask", 0, 4, 1, 1), ("mask", 0, 4, 3, 3)]  # one pixel of four, then three of four
    >>> merge_moments(pd.DataFrame(rows, columns=["kind", "channel", "count", "sum", "sum_of_squares"]))
    Moments(mean=(0.5,), std=(0.5,))
    """
    kinds = table["kind"].unique()
    if len(kinds) != 1:
        raise ValueError(f"moments are of one kind of picture at a time and of one at least; found {list(kinds)}")
    channels = table.groupby("channel")[_SUMS].sum().astype(object)  # Python integers: their products do not overflow
    scale = _SCALE[kinds[0]]
    mean = tuple(total / (count * scale) for count, total, _ in channels.to_numpy())
    std = tuple(
        math.sqrt(count * squares - total * total) / (count * scale) for count, total, squares in channels.to_numpy()
    )
    return Moments(mean, std)


def subset_moments(
    stats: pd.DataFrame, index: pd.DataFrame, arrays: Arrays, chosen: pd.DataFrame
) -> dict[str, Moments]:
    """Give the moments of some of the samples, per kind, exactly as if only these were read.

    Groups that lie wholly inside the subset come from the table; the pictures of the others are read.

    Args:
        stats: The table of all samples, as `read_stats` gives it.
        index: All samples.
        arrays: Their pictures.
        chosen: The subset, rows of the index.

    Raises:
        ValueError: The subset is empty, or the table is not that of the index.
    """
    if chosen.empty:
        raise ValueError("no samples to take the moments of; check the split with split.csv")
    return {kind: merge_moments(_subset_table(stats, index, chosen, arrays, kind)) for kind in PICTURE_KINDS}


def summarise(measured: Mapping[str, Measured]) -> dict[str, Any]:
    """Say what a person wants to know of each kind: how many, how many black, mean, std, range, median, histogram."""
    summary = {}
    for kind, part in measured.items():
        moments = merge_moments(part.table)
        levels = np.flatnonzero(part.histogram)
        median = np.searchsorted(part.histogram.cumsum(), part.histogram.sum() / 2)
        summary[kind] = {
            "images": part.images,
            "black": part.black,
            "mean": list(moments.mean),
            "std": list(moments.std),
            "minimum": int(levels[0]) / _SCALE[kind],
            "median": int(median) / _SCALE[kind],
            "maximum": int(levels[-1]) / _SCALE[kind],
            "histogram": part.histogram.tolist(),
        }
    return summary


def write_stats(path: Path, measured: Mapping[str, Measured]) -> None:
    """Write stats.csv: the sums of every group, kind and channel."""
    write_table(path, pd.concat([part.table for part in measured.values()]))


def read_stats(path: Path) -> pd.DataFrame:
    """Read stats.csv; ids are text, sums are integers.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file was cut or edited.
    """
    return read_table(path, _COLUMNS, dict.fromkeys(["channel", *_SUMS], pa.int64()))


def write_summary(path: Path, summary: Mapping[str, Mapping[str, Any]]) -> None:
    """Write stats.json with one fact a line: a histogram over 256 lines would hide the rest."""
    kinds = (
        f'  "{kind}": {{\n'
        + ",\n".join(f'    "{name}": {json.dumps(value)}' for name, value in facts.items())
        + "\n  }"
        for kind, facts in summary.items()
    )
    replace_text(path, "{\n" + ",\n".join(kinds) + "\n}\n")


def _subset_table(
    stats: pd.DataFrame, index: pd.DataFrame, chosen: pd.DataFrame, arrays: Arrays, kind: str
) -> pd.DataFrame:
    some = _list_pictures(chosen, kind)
    taken, codes = _group(some)
    sizes = _count(*_group(_list_pictures(index, kind)))
    is_whole = _count(taken, codes).eq(sizes.reindex(pd.MultiIndex.from_frame(taken))).to_numpy()
    whole = pd.MultiIndex.from_frame(taken[is_whole])
    known = stats[stats["kind"] == kind].set_index(_GROUP)
    if not whole.isin(known.index).all():
        raise ValueError("stats.csv lacks groups that the index has; run `dvc repro`, which makes it again")
    cut = some[~is_whole[codes]]
    merged = known[known.index.isin(whole)].reset_index()
    return pd.concat([merged, _measure(cut, _array_of(arrays, kind), kind).table])


def _list_pictures(index: pd.DataFrame, kind: str) -> pd.DataFrame:
    """List the pictures of one kind: the group of each, as categories, and its row in the array."""
    samples = index
    if kind in _OF_BACKGROUNDS:
        samples = index[index[f"{kind}_row"].ge(0)].drop_duplicates("background").assign(foreground="")
    groups = {column: as_categories(samples[column]) for column in _GROUP}
    return pd.DataFrame(groups | {"row": samples[f"{kind}_row"]})


def _group(pictures: pd.DataFrame) -> tuple[pd.DataFrame, npt.NDArray[np.intp]]:
    """Give the groups that occur, as text and in order, and the number of each picture's group."""
    sorted_names = (
        pictures[column].cat.reorder_categories(sorted(pictures[column].cat.categories)) for column in _GROUP
    )
    foreground, background = (column.cat for column in sorted_names)
    width = max(1, len(background.categories))
    codes, present = pd.factorize(foreground.codes.to_numpy(np.int64) * width + background.codes.to_numpy(), sort=True)
    names = foreground.categories[present // width], background.categories[present % width]
    return pd.DataFrame(dict(zip(_GROUP, names, strict=True))), codes


def _count(groups: pd.DataFrame, codes: npt.NDArray[np.intp]) -> pd.Series:
    """Count the pictures of each group, labelled by it."""
    return pd.Series(np.bincount(codes, minlength=len(groups)), pd.MultiIndex.from_frame(groups))


def _array_of(arrays: Arrays, kind: str) -> ShardedArray:
    array: ShardedArray = getattr(arrays, kind)
    return array


def _measure(pictures: pd.DataFrame, array: ShardedArray, kind: str) -> Measured:
    groups, codes = _group(pictures)
    sums, histogram, black = _sum_groups(array, pictures["row"].to_numpy(), codes, len(groups))
    num_channels = sums.shape[1]
    table = groups.loc[groups.index.repeat(num_channels)].reset_index(drop=True)
    table["kind"] = kind
    table["channel"] = np.tile(np.arange(num_channels), len(groups))
    pixels = array.shape[1] * array.shape[2]
    table["count"] = np.repeat(np.bincount(codes, minlength=len(groups)) * pixels, num_channels)
    table[["sum", "sum_of_squares"]] = sums.reshape(-1, 2)
    return Measured(len(pictures), black, table, histogram)


def _sum_groups(
    array: ShardedArray, rows: np.ndarray, codes: np.ndarray, num_groups: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Add up the pictures `rows` of `array`, each into its group.

    Returns:
        (G, C, 2) int64 sums and sums of squares of the levels; (256,) int64 histogram; how many pictures are black.
    """
    num_channels = math.prod(array.shape[3:])
    sums = np.zeros((num_groups, num_channels, 2), np.int64)
    histogram = np.zeros(256, np.int64)
    black = 0
    order = np.argsort(rows, kind="stable")  # as they lie in the file
    step = max(1, _BLOCK_VALUES // math.prod(array.shape[1:]))
    for start in range(0, len(order), step):
        part = order[start : start + step]
        part = part[np.argsort(codes[part], kind="stable")]  # each group in one piece
        present, starts = np.unique(codes[part], return_index=True)
        for group, pictures in zip(present, np.split(array.take(rows[part]), starts[1:]), strict=True):
            counts = _count_levels(pictures)
            sums[group] += counts @ _POWERS
            histogram += counts.sum(0)
            black += int(np.count_nonzero(~pictures.any(axis=tuple(range(1, pictures.ndim)))))
    return sums, histogram, black


def _count_levels(pictures: np.ndarray) -> np.ndarray:
    """Count how often each level occurs in some pictures.

    A histogram gives both sums exactly, and Pillow's costs less than squaring every pixel in wide integers.

    Args:
        pictures: (B, H, W) or (B, H, W, 3) uint8.

    Returns:
        (1, 256) or (3, 256) int64.
    """
    if pictures.ndim == 3 and pictures.max() <= 1:
        # A mask: Pillow takes longest where neighbours are alike, and counting ones takes next to nothing.
        ones = np.count_nonzero(pictures)
        return np.pad([[pictures.size - ones, ones]], [(0, 0), (0, 254)])
    tall = Image.fromarray(pictures.reshape(-1, *pictures.shape[2:]))
    return np.array(tall.histogram()).reshape(-1, 256)
