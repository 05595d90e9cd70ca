"""Names of tens of millions of members as numbers: to compare them, to find those that repeat, to choose some."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Keys = npt.NDArray[np.int64]

# Numbers that keys of less than all columns may reach before they are counted anew.
_MOST = 2**62
# Rows of which texts are in memory at a time.
_BLOCK = 2**18


def make_keys(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> list[Keys]:
    """Give each row a number that rows of all the tables share where they agree in all columns.

    Args:
        tables: Their columns have the same categories.
        columns: At least one.
    """
    keys: list[Keys] = [np.zeros(len(table), np.int64) for table in tables]
    size = 1
    for column in columns:
        count = max(1, len(tables[0][column].cat.categories))
        if size * count > _MOST:
            codes, different = pd.factorize(np.concatenate(keys))
            keys = np.split(codes.astype(np.int64), np.cumsum([len(table) for table in tables])[:-1])
            size = len(different)
        keys = [key * count + table[column].cat.codes.to_numpy() for key, table in zip(keys, tables, strict=True)]
        size *= count
    return keys


def blocks_of(count: int) -> Iterator[slice]:
    """Part so many rows into blocks of which texts may be in memory."""
    return (slice(start, start + _BLOCK) for start in range(0, count, _BLOCK))


def hash_texts(texts: pd.Series) -> npt.NDArray[np.uint64]:
    """Hash texts, each by itself."""
    found = [pd.util.hash_pandas_object(texts.iloc[block], index=False).to_numpy() for block in blocks_of(len(texts))]
    return np.concatenate([np.empty(0, np.uint64), *found])


def choose_some(names: pd.Series, number: int) -> npt.NDArray[np.intp]:
    """Choose `number` positions, always the same for the same names whatever their order."""
    return choose_by_hash(hash_texts(names), number)


def choose_by_hash(hashes: npt.NDArray[np.uint64], number: int) -> npt.NDArray[np.intp]:
    """Do what `choose_some` does, given `hash_texts` of the names."""
    return np.sort(np.argsort(hashes, kind="stable")[:number])


def find_repeated(keys: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.bool_]:
    """Tell which numbers are there more than once."""
    ordered = np.sort(keys)
    is_same = ordered[1:] == ordered[:-1]
    return np.isin(keys, ordered[1:][is_same]) if is_same.any() else np.zeros(len(keys), bool)


def find_repeated_texts(texts: pd.Series) -> npt.NDArray[np.bool_]:
    """Tell which texts are there more than once; they are compared only where their hashes are the same."""
    is_repeated = find_repeated(hash_texts(texts))
    is_repeated[is_repeated] = texts[is_repeated].duplicated(keep=False)
    return is_repeated
