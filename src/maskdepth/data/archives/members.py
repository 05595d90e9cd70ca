"""What the archives held: one table of all members by name, the rows of the labels files, and how both are to be read.

Only the index asks: at 400,000 samples the table is 1.2 million rows, and later stages have the index.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from maskdepth.data.arrays.arrays import read_cards
from maskdepth.data.layouts.layout import NAME_COLUMNS, Layout, layout_from_definition
from maskdepth.data.tables import read_table

MEMBER_COLUMNS = ("kind", "member", *NAME_COLUMNS, "width", "height", "digest", "row", "reason", "cure")
NUMBER_COLUMNS = ("width", "height", "row")
MEMBERS_FILE = "members.csv"
LABELS_FILE = "labels.csv"


@dataclass(frozen=True)
class Members:
    """What every archive held.

    Attributes:
        table: One row per member of any archive: `MEMBER_COLUMNS` as text, but `width`, `height` and `row` as
            integers, -1 where unknown; and `shard`, `archive` and `global_row`, -1 where nothing was decoded.
            `digest` is equal where the bytes of two pictures are, and empty where none could be read.
        labels: Rows of the labels files, with the columns that the layout names.
        layout: By which the names were read.
    """

    table: pd.DataFrame
    labels: pd.DataFrame
    layout: Layout


def read_members(arrays_dir: Path) -> Members:
    """Read the members of all shards.

    Raises:
        FileNotFoundError: There is no shard, or a table is missing.
        ValueError: A shard is damaged, or not of the same run as the others.
    """
    cards = read_cards(arrays_dir)
    tables, before = [], Counter[str]()  # pictures of each kind in the shards before
    for shard, card in cards.items():
        tables.append(_read_table(shard, before).assign(shard=shard.name, archive=card["archive"]))
        before.update(card["counts"])
    layout = layout_from_definition(card["layout"], card["definition"])
    return Members(pd.concat(tables, ignore_index=True), _read_labels(cards, layout), layout)


def _read_table(shard: Path, before: Counter[str]) -> pd.DataFrame:
    table = read_table(shard / MEMBERS_FILE, MEMBER_COLUMNS)
    for column in NUMBER_COLUMNS:
        try:
            table[column] = table[column].replace("", "-1").astype(np.int64)
        except ValueError as error:
            path = shard / MEMBERS_FILE
            raise ValueError(f"{path}: {column}: not a number ({error}); run `dvc repro`") from error
    shifted = table["row"] + table["kind"].map(dict(before)).fillna(0).astype(np.int64)
    return table.assign(global_row=shifted.where(table["row"] >= 0, -1))


def _read_labels(shards: Iterable[Path], layout: Layout) -> pd.DataFrame:
    paths = [path for shard in shards if (path := shard / LABELS_FILE).is_file()]
    tables = [read_table(path, layout.label_columns) for path in paths]
    return pd.concat([pd.DataFrame(columns=list(layout.label_columns), dtype=str), *tables], ignore_index=True)
