"""Proves that numbers stand for names: equal where the names are, however many there are of them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskdepth.data import keys
from maskdepth.data.keys import choose_some, find_repeated, find_repeated_texts, hash_texts, make_keys

NAMES = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.sampled_from(["", "1"])), max_size=20)


@pytest.mark.parametrize("most", [keys._MOST, 10])
@given(NAMES, NAMES)
@settings(max_examples=30, deadline=None)
def test_rows_of_two_tables_share_a_key_where_they_share_a_name(most: int, first: Any, second: Any) -> None:
    columns = ["foreground", "background", "flip"]
    every = pd.DataFrame([*first, *second], columns=columns, dtype=str).astype("category")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "_MOST", most)
        made = np.concatenate(make_keys([every[: len(first)], every[len(first) :]], columns))
    assert [made.tolist().index(key) for key in made] == [[*first, *second].index(name) for name in [*first, *second]]


@given(st.lists(st.integers(0, 9), max_size=12))
def test_what_repeats_is_found(numbers: list[int]) -> None:
    expected = [numbers.count(number) > 1 for number in numbers]
    assert find_repeated(np.array(numbers, np.int64)).tolist() == expected
    assert find_repeated_texts(pd.Series(map(str, numbers), dtype=str)).tolist() == expected


def test_texts_of_one_hash_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "hash_texts", lambda texts: np.zeros(len(texts), np.uint64))
    assert find_repeated_texts(pd.Series(["a", "b", "a", "c"])).tolist() == [True, False, True, False]


def test_blocks_change_no_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    names = pd.Series([f"picture {number}" for number in range(50)])
    whole = hash_texts(names)
    monkeypatch.setattr(keys, "_BLOCK", 7)
    assert np.array_equal(hash_texts(names), whole)
    assert len(choose_some(names, 9)) == 9
