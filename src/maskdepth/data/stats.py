"""Mean and standard deviation of every kind of picture, kept as exact integer sums per group so that any subset can be
had without reading the pictures again.

The standard deviation is that of all pixels together (population). Published figures can differ for the same pictures:
the mean of every image's own deviation, which one of the student projects prints, leaves out how the images differ from
each other and is some 10 % lower.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maskdepth.data.arrays import Arrays, ShardedArray
from maskdepth.data.tables import read_table, replace_text, write_table

KINDS = ("background", "composite", "mask", "depth")
_COLUMNS = ("foreground", "background", "kind", "channel", "count", "sum", "sum_of_squares")
_INTEGERS = ["channel", "count", "sum", "sum_of_squares"]
_GROUP = ["foreground", "background"]

_LEVELS = np.arange(256)
# Values decoded at once: 4 MiB stay in the cache of a core while they are put in order and counted.
_BLOCK_VALUES = 1 << 22


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation per channel, on the [0, 1] scale, over `images` pictures of `pixels` in all."""

    pixels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Statistics:
    """What the pictures of an index add up to.

    `table` has one row per group, kind and channel (see `measure`); `histograms` has per kind the (C, 256) int64 counts of
    the stored levels; `images` the number of pictures per kind.
    """

    table: pd.DataFrame
    histograms: dict[str, np.ndarray]
    images: dict[str, int]
