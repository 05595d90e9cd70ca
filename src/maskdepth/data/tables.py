"""Tables as one stage hands them to the next: text stays text, and a file that was cut or edited is an error.

A reader that guesses types turns the id 000123 into 123 and the id NA into a missing value, and takes a file whose
end is missing for a shorter one. Here nothing is guessed, and a table is replaced whole or not at all.

What people read is CSV; what only the next stage does is Parquet, of which a column is read without the others. In
memory a text that repeats is a category, a number for each row: tens of millions of rows then fit.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pandas.api.types import is_integer_dtype
from pyarrow import csv, parquet

from maskdepth.process.files import replacing

# Eighteen digits always fit an int64.
_NUMBER = r"[0-9]{1,18}"
# Rows that are spelled at a time.
_BLOCK = 2**17
# A text that repeats, in CSV and in Parquet.
CATEGORY = pa.dictionary(pa.int32(), pa.string())


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV with a header and without the row labels, replacing the file in one step."""
    with replacing(path) as partial:
        if not _write_plainly(partial, table):
            table.to_csv(partial, index=False, lineterminator="\n")


def read_table(path: Path, columns: Sequence[str], types: Mapping[str, pa.DataType] | None = None) -> pd.DataFrame:
    """Read a table that `write_table` wrote.

    Args:
        path: The CSV file.
        columns: What the header must say, in order.
        types: Of columns that are something else than text: `CATEGORY`, or numbers.

    Returns:
        The rows; an empty text is "".

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Another header, a row with too few or too many values, a value that is no number where one is
            expected, or a last line that was cut.
    """
    _require(path)
    column_types = dict.fromkeys(columns, pa.string()) | dict(types or {})
    options = csv.ConvertOptions(column_types=column_types, strings_can_be_null=False, null_values=[])
    try:
        table = csv.read_csv(path, convert_options=options)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not a whole table: {error}; run `dvc repro`, which makes it again") from error
    if table.column_names != list(columns):
        raise ValueError(f"{path} has the columns {','.join(table.column_names)}; expected {','.join(columns)}")
    if not _ends_with_newline(path):
        raise ValueError(f"{path} is cut in its last line; run `dvc repro`, which makes it again")
    frame: pd.DataFrame = table.unify_dictionaries().to_pandas(split_blocks=True, self_destruct=True)
    return frame


def write_columns(path: Path, table: pd.DataFrame, schema: pa.Schema) -> None:
    """Write a table as Parquet, replacing the file in one step; the schema says which columns, and their types."""
    columns = []
    for name, kind in zip(schema.names, schema.types, strict=True):
        column = pa.chunked_array(pa.Table.from_pandas(table[[name]], preserve_index=False)[0])
        is_text = pa.types.is_dictionary(kind)
        columns.append(column.cast(pa.string()).dictionary_encode() if is_text else column.cast(kind))
    with replacing(path) as partial:
        parquet.write_table(pa.table(columns, schema=schema), partial, compression="zstd")


def read_columns(path: Path, schema: pa.Schema, columns: Sequence[str]) -> pd.DataFrame:
    """Read some columns of a table that `write_columns` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or of another schema.
    """
    with _opened(path) as file:
        if not file.schema_arrow.equals(schema):
            raise ValueError(f"{path} has other columns than expected; run `dvc repro`, which makes it again")
        frame: pd.DataFrame = file.read(list(columns)).unify_dictionaries().to_pandas()
    return frame


def count_lines(path: Path) -> int:
    """Count the rows of a table that `write_columns` wrote; raises as `read_columns` does."""
    with _opened(path) as file:
        count: int = file.metadata.num_rows
    return count


def narrow(numbers: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.integer[Any]]:
    """Give whole numbers as int32 if they fit, and as int64 if not."""
    fits = not numbers.size or np.iinfo(np.int32).min <= numbers.min() <= numbers.max() <= np.iinfo(np.int32).max
    return numbers.astype(np.int32 if fits else np.int64, copy=False)


def as_categories(texts: pd.Series) -> pd.Series:
    """Number the different texts of a column; what are categories already stays as it is."""
    if isinstance(texts.dtype, pd.CategoricalDtype):
        return texts
    codes, names = pd.factorize(texts)
    return pd.Series(make_categories(codes, names), texts.index)


def rename_categories(texts: pd.Series, rename: Callable[[pd.Series], pd.Series]) -> pd.Series:
    """Give the different texts of a column other names, which may be the same for several of them.

    >>> rename_categories(pd.Series(["a", "B", "A", "a"]), lambda names: names.str.lower()).tolist()
    ['a', 'b', 'a', 'a']
    """
    column = as_categories(texts)
    merged, names = pd.factorize(rename(pd.Series(column.cat.categories, dtype=str)))
    codes = _smallest(merged, len(names))[column.cat.codes]
    return pd.Series(make_categories(codes, names), texts.index)


def concatenate_categories(parts: Mapping[str, Sequence[pd.Categorical]]) -> dict[str, pd.Categorical]:
    """Put columns of different categories one behind the other, those of each key; all get the same categories."""
    every = [part.categories for some in parts.values() for part in some]
    numbered = [
        pa.DictionaryArray.from_arrays(np.arange(len(one), dtype=np.int32), pa.array(one, pa.string())) for one in every
    ]
    chunks = iter(pa.chunked_array(numbered, CATEGORY).unify_dictionaries().chunks)
    joined = {}
    for key, some in parts.items():
        united = [next(chunks) for _ in some]
        names = united[0].dictionary
        renumbered = (_smallest(chunk.indices.to_numpy(), len(names)) for chunk in united)
        codes = [number[part.codes] for number, part in zip(renumbered, some, strict=True)]
        joined[key] = make_categories(np.concatenate(codes), names.to_pandas())
    return joined


def make_categories(codes: npt.NDArray[np.integer[Any]], names: Iterable[object]) -> pd.Categorical:
    """Give texts by their numbers in a list of different ones."""
    made: pd.Categorical = pd.Categorical.from_codes(codes, pd.Index(list(names)).astype(str))
    return made


def spell_numbers(ids: pd.Series) -> pd.Series:
    """Drop leading zeros of every id that is a number: bg_001 and bg1 are the same background.

    Each is spelled by itself: how data that is there already is called must not depend on what is added to it.

    Returns:
        The ids as categories: there are few different ones, and many rows to compare and to copy.

    >>> spell_numbers(pd.Series(["1", "007", "000", "", "1e5", "x01"])).tolist()
    ['1', '7', '0', '', '1e5', 'x01']
    """

    def spell(names: pd.Series) -> pd.Series:
        bare = names.str.lstrip("0")
        return names.mask(names.str.fullmatch("[0-9]+"), bare.mask(bare.eq(""), "0"))

    return rename_categories(ids, spell)


def numbers_where_whole(ids: pd.Series) -> pd.Series:
    """Turn a column of ids into integers if every one of them is a number; leave it as text otherwise.

    >>> numbers_where_whole(pd.Series(["1", "7"])).tolist(), numbers_where_whole(pd.Series(["1e5", "7"])).tolist()
    ([1, 7], ['1e5', '7'])
    """
    column = as_categories(ids).cat.remove_unused_categories()
    names = pd.Series(column.cat.categories, dtype=str)
    if not names.str.fullmatch(_NUMBER).all():
        return column
    return pd.Series(narrow(names.to_numpy("int64"))[column.cat.codes], ids.index)


def _smallest(codes: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """Give numbers below `count` in the type in which pandas keeps the codes of so many categories."""
    return codes.astype(np.min_scalar_type(-count - 1), copy=False)


def _write_plainly(path: Path, table: pd.DataFrame) -> bool:
    """Write what needs no quotes: in a tenth of the time of pandas, which spells whole numbers and text alike."""
    if not all(map(_is_plain, table.dtypes)):
        return False
    options = csv.WriteOptions(include_header=False, quoting_style="none")
    with path.open("wb") as file:
        file.write((",".join(table.columns) + "\n").encode())
        for start in range(0, len(table), _BLOCK):
            rows = pa.Table.from_pandas(table.iloc[start : start + _BLOCK], preserve_index=False)
            texts = [column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column for column in rows]
            try:
                # In one piece: where a piece has no rows, Arrow writes thousands of zero bytes.
                csv.write_csv(pa.table(texts, rows.column_names).combine_chunks(), file, options)
            except pa.ArrowInvalid:
                return False
    return True


def _is_plain(dtype: Any) -> bool:
    if isinstance(dtype, pd.CategoricalDtype):
        dtype = dtype.categories.dtype
    return is_integer_dtype(dtype) or isinstance(dtype, pd.StringDtype)


def _require(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run `dvc repro`, which makes it")


@contextmanager
def _opened(path: Path) -> Iterator[parquet.ParquetFile]:
    _require(path)
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a whole table: {error}; run `dvc repro`, which makes it again") from error


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
