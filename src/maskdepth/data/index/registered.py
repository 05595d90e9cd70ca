"""Backgrounds from a camera that moved, or in another light: each is laid over its composites.

Whether a data set needs it, some of its samples tell. If it does, every sample whose background changes by it gets a
background of its own, which is one more row of the arrays, so that whatever reads them knows nothing of it.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from maskdepth.data.arrays.arrays import CHANNELS, REGISTERED_KINDS, Arrays, Pixels, pixels_file
from maskdepth.data.keys import choose_some
from maskdepth.data.registration import Verdict, register
from maskdepth.process.console import progress
from maskdepth.process.files import replacing
from maskdepth.process.workers import map_in_order, open_pool, usable_cores

# Samples that tell whether a data set needs it, and the share of them above which it does: of 1,000 pairs from a
# tripod none is changed, of drawn ones with soft shadows a few; of those from a hand, nearly all.
_PROBES = 100
_NEEDED = 0.2
# What is worth a message between processes, and samples that take about as long as starting one.
_CHUNK = 64
_FEW = 500
_AHEAD = 16


@dataclass(frozen=True)
class Probed:
    """How the backgrounds of some samples lie to their composites.

    Attributes:
        compared: How many were looked at.
        changed: What had to be done with those that moved, or are darker or lighter, as a person reads it.
    """

    compared: int
    changed: list[str]

    @property
    def share(self) -> float:
        """Share that does not lie as it should, and can be laid so, [0, 1]."""
        return len(self.changed) / max(1, self.compared)

    @property
    def example(self) -> str:
        """One of the changes: that of which there is most to say."""
        return max(self.changed, key=len, default="")

    @property
    def is_needed(self) -> bool:
        """Whether so many do that all should be looked at."""
        return self.share > _NEEDED


class Registered(NamedTuple):
    """Samples whose backgrounds lie over their composites, as far as that can be had.

    Attributes:
        samples: Their `background_row` and `background_depth_row` are those of their own where they were changed.
        probed: What some of them told.
        verdicts: How many of each, of all samples; empty where nothing had to be done, or was to be.
    """

    samples: pd.DataFrame
    probed: Probed
    verdicts: Counter[Verdict]


class _Pairs(NamedTuple):
    """Pictures of some samples.

    Attributes:
        background: (B, S, S, 3).
        composite: (B, S, S, 3).
        background_depth: (B, S, S), of whatever background where `has_depth` is not.
        has_depth: (B,) bool.
    """

    background: Pixels
    composite: Pixels
    background_depth: Pixels
    has_depth: np.ndarray


class _Laid(NamedTuple):
    """What came of some samples.

    Attributes:
        verdicts: Of each.
        background: Of those that were registered, one after the other.
        background_depth: Of those that were registered and have such a map, likewise.
    """

    verdicts: list[Verdict]
    background: list[Pixels]
    background_depth: list[Pixels]


def register_where_needed(samples: pd.DataFrame, arrays: Arrays, how: str, folder: Path) -> Registered:
    """Look at some samples, and lay the background of every sample over its composite if so many want it.

    Args:
        samples: One row per sample, with the columns of index.csv.
        arrays: All pictures.
        how: `data.registration` of params.yaml.
        folder: Where to write the changed ones, which `read_arrays` puts behind the others.
    """
    probed = _probe(samples, arrays)
    if how == "off" or not probed.is_needed:
        _write(samples.iloc[:0], arrays, folder)
        return Registered(samples, probed, Counter())
    verdicts = _write(samples, arrays, folder)
    is_own = np.array([verdict == "registered" for verdict in verdicts])
    return Registered(_point_at_own(samples, is_own, arrays), probed, Counter(verdicts))


def _probe(samples: pd.DataFrame, arrays: Arrays) -> Probed:
    """Look at some samples, the same ones in whatever order they come."""
    pairs = _read_pairs(samples.iloc[choose_some(samples["sample_id"], _PROBES)], arrays)
    found = list(map(register, pairs.background, pairs.composite))
    told = [one.describe() for one in found if one.verdict == "registered"]
    return Probed(len(found), [change for change in told if change != "registered"])


def _write(samples: pd.DataFrame, arrays: Arrays, folder: Path) -> list[Verdict]:
    """Register all samples, and write the backgrounds that this changes."""
    blocks = [samples.iloc[start : start + _CHUNK] for start in range(0, len(samples), _CHUNK)]
    verdicts: list[Verdict] = []
    with ExitStack() as stack:
        pool = stack.enter_context(open_pool(1 if len(samples) <= _FEW else usable_cores()))
        add_background, add_depth = (
            stack.enter_context(_appending(folder / pixels_file(kind), (arrays.image_size,) * 2 + CHANNELS[kind]))
            for kind in REGISTERED_KINDS
        )
        laid = map_in_order(pool, _lay, (_read_pairs(block, arrays) for block in blocks), _AHEAD)
        for one in progress(laid, "register", len(blocks)):
            verdicts += one.verdicts
            add_background(one.background)
            add_depth(one.background_depth)
    return verdicts


@contextmanager
def _appending(path: Path, shape: tuple[int, ...]) -> Iterator[Callable[[list[Pixels]], None]]:
    """Give what writes pictures of one shape behind each other, as many as come; at the end they are one array."""
    count = 0
    with replacing(path) as partial, partial.open("wb") as file:

        def write_header() -> None:
            # It has the same room for any number of pictures.
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
            np.lib.format.write_array_header_1_0(file, header)

        def append(pictures: list[Pixels]) -> None:
            nonlocal count
            count += len(pictures)
            file.writelines(picture.tobytes() for picture in pictures)

        write_header()
        yield append
        file.seek(0)
        write_header()


def _read_pairs(samples: pd.DataFrame, arrays: Arrays) -> _Pairs:
    background, composite = (
        array.take(samples[f"{kind}_row"].to_numpy())
        for kind, array in (("background", arrays.background), ("composite", arrays.composite))
    )
    row = samples["background_depth_row"].to_numpy()
    if arrays.background_depth is None:
        return _Pairs(background, composite, np.empty((len(row), 0, 0), np.uint8), row >= 0)
    return _Pairs(background, composite, arrays.background_depth.take(row.clip(0)), row >= 0)


def _lay(pairs: _Pairs) -> _Laid:
    laid = _Laid([], [], [])
    for background, composite, depth, has_depth in zip(*pairs, strict=True):
        found = register(background, composite)
        laid.verdicts.append(found.verdict)
        if found.verdict == "registered":
            laid.background.append(found.background)
            if has_depth:
                laid.background_depth.append(found.move(depth))
    return laid


def _point_at_own(samples: pd.DataFrame, is_own: np.ndarray, arrays: Arrays) -> pd.DataFrame:
    """Number the new rows behind those that the arrays have."""
    new = {}
    for kind in REGISTERED_KINDS:
        row, array = samples[f"{kind}_row"].to_numpy(), getattr(arrays, kind)
        moves = is_own & (row >= 0)
        new[f"{kind}_row"] = np.where(moves, (len(array) if array else 0) + moves.cumsum() - 1, row)
    return samples.assign(**new)
