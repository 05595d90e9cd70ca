"""CSV tables as one stage hands them to the next: text stays text, and a file that was cut or edited is an error.

A reader that guesses types turns the id 000123 into 123 and the id NA into a missing value, and takes a file whose
end is missing for a shorter one. Here nothing is guessed, and a table is replaced whole or not at all.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pandas.api.types import is_integer_dtype
from pyarrow import csv

from maskdepth.process.files import replace_text

# Eighteen digits always fit an int64.
_NUMBER = r"[0-9]{1,18}"


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV with a header and without the row labels, replacing the file in one step."""
    replace_text(path, _spell_csv(table))


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a table that `write_table` wrote.

    Args:
        path: The CSV file.
        columns: What the header must say, in order.

    Returns:
        The rows with every value as text, an empty value as "".

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Another header, a row with too few or too many values, or a last line that was cut.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run `dvc repro`, which makes it")
    options = csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False)
    try:
        table = csv.read_csv(path, convert_options=options)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not a whole table: {error}; run `dvc repro`, which makes it again") from error
    if table.column_names != list(columns):
        raise ValueError(f"{path} has the columns {','.join(table.column_names)}; expected {','.join(columns)}")
    if not _ends_with_newline(path):
        raise ValueError(f"{path} is cut in its last line; run `dvc repro`, which makes it again")
    frame: pd.DataFrame = table.to_pandas()
    return frame


def spell_numbers(ids: pd.Series) -> pd.Series:
    """Drop leading zeros of every id that is a number: bg_001 and bg1 are the same background.

    Each is spelled by itself: how data that is there already is called must not depend on what is added to it.

    Returns:
        The ids as categories: there are few different ones, and many rows to compare and to copy.

    >>> spell_numbers(pd.Series(["1", "007", "000", "", "1e5", "x01"])).tolist()
    ['1', '7', '0', '', '1e5', 'x01']
    """
    codes, names = _list_different(ids)
    bare = names.str.lstrip("0")
    names = names.mask(names.str.fullmatch("[0-9]+"), bare.mask(bare.eq(""), "0"))
    merged, spelled = pd.factorize(names)
    return pd.Series(pd.Categorical.from_codes(merged[codes], spelled), ids.index)


def numbers_where_whole(ids: pd.Series) -> pd.Series:
    """Turn a column of ids into integers if every one of them is a number; leave it as text otherwise.

    >>> numbers_where_whole(pd.Series(["1", "7"])).tolist(), numbers_where_whole(pd.Series(["1e5", "7"])).tolist()
    ([1, 7], ['1e5', '7'])
    """
    codes, names = _list_different(ids)
    if not names.str.fullmatch(_NUMBER).all():
        return ids.astype(str)
    return pd.Series(names.to_numpy("int64")[codes], ids.index)


def _list_different(ids: pd.Series) -> tuple[npt.NDArray[np.intp], pd.Series]:
    """List the different ids as text, and the place of each id in that list."""
    codes, names = pd.factorize(ids)
    return codes, pd.Series(names, dtype=str)


def _spell_csv(table: pd.DataFrame) -> str:
    """Spell a table as CSV; Arrow takes a tenth of the time of pandas, and both spell whole numbers and text alike."""
    if all(is_integer_dtype(dtype) or isinstance(dtype, pd.StringDtype) for dtype in table.dtypes):
        rows, options = pa.BufferOutputStream(), csv.WriteOptions(include_header=False, quoting_style="none")
        with suppress(pa.ArrowInvalid):  # a value that needs quotes
            # In one piece: where a piece has no rows, Arrow writes thousands of zero bytes.
            csv.write_csv(pa.Table.from_pandas(table, preserve_index=False).combine_chunks(), rows, options)
            spelled: bytes = rows.getvalue().to_pybytes()
            return ",".join(table.columns) + "\n" + spelled.decode()
    return table.to_csv(index=False, lineterminator="\n")


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
