"""Places: which backgrounds show the same, so that none of them is trained on where another one is a test.

Pictures of equal bytes are one place whatever they are called. Which others are, only a person knows: places.csv says.
"""

import csv
from pathlib import Path

import pandas as pd

from maskdepth.data.tables import rename_categories, spell_numbers

COLUMNS = ("background", "place")


def read_places(path: Path) -> pd.Series:
    """Read a person's places: names labelled by the id of the background, numbers without leading zeros.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Another header, a line of other than two values, or a background in two places.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; make it with the line {','.join(COLUMNS)}, if nothing else")
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    if tuple(header) != COLUMNS:
        raise ValueError(f"{path} has the columns {','.join(header)}; expected {','.join(COLUMNS)}")
    for number, row in enumerate(rows, 2):
        if row and (len(row) != len(COLUMNS) or not all(row)):
            raise ValueError(f"{path} line {number}: {','.join(row)}; expected {','.join(COLUMNS)}")
    table = pd.DataFrame(filter(None, rows), columns=list(COLUMNS), dtype=str)
    named = table.assign(background=spell_numbers(table["background"]).astype(str)).drop_duplicates()
    if (doubtful := named.loc[named["background"].duplicated(), "background"]).any():
        raise ValueError(f"{path}: background {doubtful.iloc[0]} is in two places; leave it in one")
    return named.set_index("background")["place"]


def name_places(index: pd.DataFrame, places: pd.Series) -> pd.Series:
    """Name the place that each sample shows, as categories: as a person says, or by the bytes of its background.

    Args:
        index: The samples: `background` and `background_digest`.
        places: As `read_places` gives them; a copy of a picture is where that picture is.

    Raises:
        ValueError: Two backgrounds are the same picture, but are said to show two places.
    """
    pictures = index[~index.duplicated(["background", "background_digest"])]
    pictures = pictures[["background", "background_digest"]].astype(str)
    said = pictures.assign(place=pictures["background"].map(places.to_dict())).dropna()
    named = said.drop_duplicates(["background_digest", "place"]).set_index("background_digest")
    if (doubtful := named[named.index.duplicated(keep=False)]).size:
        told = " and ".join(f"{row.background} as {row.place}" for row in doubtful.loc[doubtful.index[0]].itertuples())
        raise ValueError(f"one picture is called two places: background {told}; call it one")
    known = named["place"].to_dict()
    return rename_categories(index["background_digest"], lambda digests: digests.map(lambda one: known.get(one, one)))


def list_unknown(index: pd.DataFrame, places: pd.Series) -> list[str]:
    """List the backgrounds that have a place and no sample."""
    return sorted(set(places.index) - set(index["background"].drop_duplicates().astype(str)))
