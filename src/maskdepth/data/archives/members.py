"""What the archives held, and how it is to be read: names taken apart, sizes, what is wrong, and the labels files.

Only the index asks. Of tens of millions of members it holds numbers alone, and looks up the texts of the few that it
has to compare or to name: each member has a place, its line in the tables of all shards, one after the other.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from maskdepth.data.arrays.arrays import read_cards
from maskdepth.data.layouts.layout import NAME_COLUMNS, Layout, layout_from_definition
from maskdepth.data.tables import (
    CATEGORY,
    concatenate_categories,
    count_lines,
    make_categories,
    narrow,
    read_columns,
    read_table,
    spell_numbers,
    write_columns,
)

MEMBER_COLUMNS = ("kind", "member", *NAME_COLUMNS, "width", "height", "digest", "row", "reason", "cure")
NUMBER_COLUMNS = ("width", "height", "row")
MEMBERS_FILE = "members.parquet"
LABELS_FILE = "labels.csv"

# Long, and different in every row.
TEXT_COLUMNS = ("member", "digest")
_TYPES = dict.fromkeys(NUMBER_COLUMNS, pa.int32()) | dict.fromkeys(TEXT_COLUMNS, pa.string())
SCHEMA = pa.schema([(column, _TYPES.get(column, CATEGORY)) for column in MEMBER_COLUMNS])
_HELD = [column for column in MEMBER_COLUMNS if column not in TEXT_COLUMNS]
_FACTS = ["place", "archive", *NAME_COLUMNS]
_OF_PICTURES, _OF_REJECTED = ["width", "height", "global_row"], ["kind", "reason", "cure"]
# The key of what was rejected, among those of the kinds.
_REJECTED = ""

Places = npt.NDArray[np.integer[Any]]
LookUp = Callable[[Places, str], pd.Series]


@dataclass(frozen=True)
class Members:
    """What every archive held.

    Attributes:
        pictures: By kind, one row per picture that was decoded: `place`, `archive`, `NAME_COLUMNS` with numbers spelled
            alike, `width`, `height` and `global_row`. Texts are categories, which all kinds share.
        rejected: What could not be used: `place`, `archive`, `kind`, `NAME_COLUMNS`, `reason` and `cure`.
        labels: Rows of the labels files, with the columns that the layout names.
        layout: By which the names were read.
        count: How many members there are, with one for each archive that was refused.
        num_archives: How many archives they are from, with those that were refused.
        look_up: Gives one of `TEXT_COLUMNS` of places, in their order. `digest` is equal where the bytes of two files
            are, and empty where none could be read.
    """

    pictures: dict[str, pd.DataFrame]
    rejected: pd.DataFrame
    labels: pd.DataFrame
    layout: Layout
    count: int
    num_archives: int
    look_up: LookUp


def write_members(shard: Path, table: pd.DataFrame) -> None:
    """Write what an archive held: `MEMBER_COLUMNS` as text, a number that is unknown as ""."""
    numbers = {column: table[column].replace("", "-1").astype(np.int32) for column in NUMBER_COLUMNS}
    write_columns(shard / MEMBERS_FILE, table.assign(**numbers), SCHEMA)


def read_members(arrays_dir: Path) -> Members:
    """Read the members of all shards.

    Raises:
        FileNotFoundError: There is no shard, or a table is missing.
        ValueError: A shard is damaged, or not of the same run as the others.
    """
    cards = read_cards(arrays_dir)
    card = next(iter(cards.values()))
    layout = layout_from_definition(card["layout"], card["definition"])
    paths = [shard / MEMBERS_FILE for shard in cards]
    starts = np.cumsum([0, *(count_lines(path) for path in paths)])
    tables = _read_shards(cards, starts)
    return _gather(tables, _read_labels(cards, layout), layout, partial(_look_up, paths, starts))


def members_of(table: pd.DataFrame, labels: pd.DataFrame, layout: Layout) -> Members:
    """Make members of one table that is in memory.

    Args:
        table: `MEMBER_COLUMNS` but for `row`, as text but for `width` and `height`; `archive` and `global_row`.
        labels: As of `Members`.
        layout: By which the names were read.
    """
    texts = table[list(TEXT_COLUMNS)].astype(str)
    held = table[["archive", "global_row", *(column for column in _HELD if column != "row")]]
    held = held.astype(dict.fromkeys(["archive", "kind", "reason", "cure", *NAME_COLUMNS], "category"))
    tables = [held.assign(place=np.arange(len(table)))]
    return _gather(tables, labels, layout, lambda places, column: texts[column].iloc[places].reset_index(drop=True))


def _read_shards(cards: Mapping[Path, dict[str, Any]], starts: Places) -> Iterator[pd.DataFrame]:
    """Read what is held of each archive."""
    before = Counter[str]()  # pictures of each kind in the shards before
    for (shard, card), start in zip(cards.items(), starts, strict=False):
        table = read_columns(shard / MEMBERS_FILE, SCHEMA, _HELD)
        row = table["row"].to_numpy()
        shift = np.array([before[kind] for kind in table["kind"].cat.categories])[table["kind"].cat.codes]
        yield table.assign(
            place=narrow(start + np.arange(len(table))),
            archive=make_categories(np.zeros(len(table), np.int8), [card["archive"]]),
            global_row=narrow(np.where(row >= 0, row + shift, -1)),
        )
        before.update(card["counts"])


def _gather(tables: Iterable[pd.DataFrame], labels: pd.DataFrame, layout: Layout, look_up: LookUp) -> Members:
    """Part the members of each archive by kind, and put those of all archives together."""
    parts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    count = 0
    archives: set[str] = set()
    for table in tables:
        count += len(table)
        archives.update(table["archive"].unique())
        is_good = table["reason"].eq("")
        parts[_REJECTED].append(_pick(table, ~is_good, [*_FACTS, *_OF_REJECTED]))
        for kind in table["kind"].unique():
            parts[kind].append(_pick(table, is_good & table["kind"].eq(kind), [*_FACTS, *_OF_PICTURES]))
    pictures = _concatenate(parts)
    return Members(pictures, pictures.pop(_REJECTED), labels, layout, count, len(archives), look_up)


def _pick(table: pd.DataFrame, where: pd.Series, columns: Sequence[str]) -> dict[str, Any]:
    rows = np.flatnonzero(where)
    return {column: table[column].array[rows] for column in columns}


def _concatenate(parts: dict[str, list[dict[str, Any]]]) -> dict[str, pd.DataFrame]:
    """Make one table of those of each kind, a column at a time, which uses them up: they are never there twice."""
    made: dict[str, dict[str, Any]] = {kind: {} for kind in parts}
    for column in [*_FACTS, *_OF_PICTURES, *_OF_REJECTED]:
        found = {kind: [part.pop(column) for part in some] for kind, some in parts.items() if column in some[0]}
        is_number = column in ("place", *_OF_PICTURES)
        for kind, some in (found if is_number else concatenate_categories(found)).items():
            made[kind][column] = narrow(np.concatenate(some)) if is_number else some
    tables = {kind: pd.DataFrame(columns, copy=False) for kind, columns in made.items()}
    return {
        kind: table.assign(**{name: spell_numbers(table[name]) for name in NAME_COLUMNS})
        for kind, table in tables.items()
    }


def _look_up(paths: Sequence[Path], starts: Places, places: Places, column: str) -> pd.Series:
    """Read the texts of some places, from each table once."""
    order = np.argsort(places, kind="stable")
    ends = np.searchsorted(places[order], starts)
    found = [pd.Series(dtype=str)]
    for path, start, first, end in zip(paths, starts, ends, ends[1:], strict=False):
        if end > first:
            found.append(read_columns(path, SCHEMA, [column])[column].take(places[order[first:end]] - start))
    return pd.concat(found, ignore_index=True).set_axis(order).sort_index()


def _read_labels(shards: Iterable[Path], layout: Layout) -> pd.DataFrame:
    paths = [path for shard in shards if (path := shard / LABELS_FILE).is_file()]
    tables = [read_table(path, layout.label_columns) for path in paths]
    return pd.concat([pd.DataFrame(columns=list(layout.label_columns), dtype=str), *tables], ignore_index=True)
