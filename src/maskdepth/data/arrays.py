"""The decoded pictures as later stages read them: memory-mapped uint8 arrays, one folder (shard) per archive.

A row of a kind is numbered through all shards, in the order of their names; the index refers to these numbers.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from maskdepth.data.layouts import NAME_COLUMNS, Layout, layout_from_definition
from maskdepth.data.tables import read_table

Pixels = npt.NDArray[np.uint8]

# Shape of one picture of a kind, after its height and width.
CHANNELS: dict[str, tuple[int, ...]] = {"background": (3,), "composite": (3,), "mask": (), "depth": ()}

MEMBER_COLUMNS = ("kind", "member", *NAME_COLUMNS, "width", "height", "crc", "row", "reason", "cure")
NUMBER_COLUMNS = ("width", "height", "row")
MEMBERS_FILE = "members.csv"
LABELS_FILE = "labels.csv"
CARD_FILE = "shard.json"

# Settings that all shards share.
_SHARED = ("layout", "definition", "image_size", "depth_near", "depth_frame")
_CURE = "run `dvc repro --force unzip`"


class ShardedArray:
    """The arrays of one kind in all shards, as if they were one array.

    Args:
        parts: Arrays that differ in their first dimension only; at least one.
    """

    def __init__(self, parts: Sequence[Pixels]) -> None:
        self.parts = list(parts)
        self.starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])])

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of pictures, then the shape of one."""
        return (len(self), *self.parts[0].shape[1:])

    def take(self, rows: npt.NDArray[np.integer[Any]], out: Pixels | None = None) -> Pixels:
        """Copy pictures by their row numbers, in the order asked for.

        Args:
            rows: (n,) row numbers, repeats allowed.
            out: (n, ...) array to copy into; a new one if None.

        Raises:
            IndexError: A row number is negative or too large.

        >>> halves = ShardedArray([np.array([[10], [11]], np.uint8), np.array([[12]], np.uint8)])
        >>> halves.take(np.array([2, 0])).tolist()
        [[12], [10]]
        """
        rows = np.asarray(rows)
        if rows.size and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()} asked of {len(self)}")
        if out is None:
            out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        # The rows are checked: mode "clip" then only spares numpy a second copy.
        if len(self.parts) == 1:
            return np.take(self.parts[0], rows, axis=0, out=out, mode="clip")
        shards = np.searchsorted(self.starts, rows, side="right") - 1
        for shard in np.unique(shards):
            chosen = shards == shard
            out[chosen] = np.take(self.parts[shard], rows[chosen] - self.starts[shard], axis=0, mode="clip")
        return out

    def blocks(self) -> Iterator[tuple[int, Pixels]]:
        """Yield each shard's array with the number of its first row."""
        yield from zip(self.starts[:-1].tolist(), self.parts, strict=True)


@dataclass(frozen=True)
class Arrays:
    """Everything that was decoded.

    Attributes:
        members: One row per member of any archive: `MEMBER_COLUMNS` as text, but `width`, `height` and `row` as
            integers, -1 where unknown; and `shard`, `archive` and `global_row`, -1 where nothing was decoded.
        labels: Rows of the labels files, with the columns that the layout names.
        layout: By which the names were read.
        image_size: [px] S, height and width of every picture.
        background: (n, S, S, 3) RGB.
        composite: (n, S, S, 3) RGB.
        mask: (n, S, S) in {0, 1}.
        depth: (n, S, S), 0 near and 255 far.
    """

    members: pd.DataFrame
    labels: pd.DataFrame
    layout: Layout
    image_size: int
    background: ShardedArray
    composite: ShardedArray
    mask: ShardedArray
    depth: ShardedArray


def read_arrays(arrays_dir: Path) -> Arrays:
    """Map the arrays of all shards into memory; no picture is read yet.

    Raises:
        FileNotFoundError: There is no shard.
        ValueError: A shard is incomplete, or not of the same run as the others.
    """
    shards = sorted(path.parent for path in arrays_dir.glob(f"[!.]*/{CARD_FILE}"))
    if not shards:
        raise FileNotFoundError(f"{arrays_dir} holds no arrays; run `dvc repro unzip`")
    cards = [read_card(shard) for shard in shards]
    first = cards[0]
    for shard, card in zip(shards, cards, strict=True):
        if any(card[name] != first[name] for name in _SHARED):
            raise ValueError(f"{shard} and {shards[0]} were made with different settings; {_CURE}")
    layout = layout_from_definition(first["layout"], first["definition"])
    arrays = {kind: _map_kind(shards, cards, kind) for kind in CHANNELS}
    members = _read_members(shards, cards, arrays)
    return Arrays(members, _read_labels(shards, layout), layout, first["image_size"], **arrays)


def read_card(shard: Path) -> dict[str, Any]:
    """Read what a shard says about itself."""
    try:
        card: dict[str, Any] = json.loads((shard / CARD_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{shard / CARD_FILE} is damaged ({error}); {_CURE}") from error
    return card


def _map_kind(shards: Sequence[Path], cards: Sequence[dict[str, Any]], kind: str) -> ShardedArray:
    size = cards[0]["image_size"]
    shape = (size, size, *CHANNELS[kind])
    parts = []
    for shard, card in zip(shards, cards, strict=True):
        expected = (card["counts"].get(kind, 0), *shape)
        parts.append(_map_array(shard / f"{kind}.npy", expected) if expected[0] else np.empty(expected, np.uint8))
    return ShardedArray(parts)


def _map_array(path: Path, shape: tuple[int, ...]) -> Pixels:
    try:
        array = np.asarray(np.load(path, mmap_mode="r"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); {_CURE}") from error
    if array.shape != shape or array.dtype != np.uint8:
        raise ValueError(f"{path} holds {array.dtype} {array.shape}, expected uint8 {shape}; {_CURE}")
    return array


def _read_members(
    shards: Sequence[Path], cards: Sequence[dict[str, Any]], arrays: dict[str, ShardedArray]
) -> pd.DataFrame:
    tables = []
    for number, (shard, card) in enumerate(zip(shards, cards, strict=True)):
        table = read_table(shard / MEMBERS_FILE, MEMBER_COLUMNS)
        for column in NUMBER_COLUMNS:
            table[column] = table[column].replace("", "-1").astype(np.int64)
        starts = {kind: array.starts[number] for kind, array in arrays.items()}
        shifted = table["row"] + table["kind"].map(starts).fillna(0).astype(np.int64)
        table["global_row"] = shifted.where(table["row"] >= 0, -1)
        tables.append(table.assign(shard=shard.name, archive=card["archive"]))
    return pd.concat(tables, ignore_index=True)


def _read_labels(shards: Sequence[Path], layout: Layout) -> pd.DataFrame:
    paths = [path for shard in shards if (path := shard / LABELS_FILE).is_file()]
    tables = [read_table(path, layout.label_columns) for path in paths]
    return pd.concat([pd.DataFrame(columns=list(layout.label_columns), dtype=str), *tables], ignore_index=True)
