"""Tables keep every text as it was written, and a table that is not whole is refused."""

from itertools import chain

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskdepth.data import tables
from maskdepth.data.tables import (
    CATEGORY,
    concatenate_categories,
    narrow,
    numbers_where_whole,
    read_table,
    spell_numbers,
    write_table,
)

INT64 = st.integers(-(2**63), 2**63 - 1)
IDS = ["000123", "NA", "1e5", "null", "True", "café", "", "a,b", 'say "no"', "-0", "1.0"]


def test_ids_survive_as_text(tmp_path):
    table = pd.DataFrame({"id": IDS, "row": map(str, range(len(IDS)))}, dtype=str)
    write_table(tmp_path / "deep" / "table.csv", table)
    pd.testing.assert_frame_equal(read_table(tmp_path / "deep" / "table.csv", ["id", "row"]), table)


@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["C"]) | st.sampled_from(',"\n\r'), max_size=4), INT64)
    ),
    st.booleans(),
)
def test_tables_are_spelled_as_pandas_does(tmp_path_factory, rows, with_float):
    table = pd.DataFrame(rows, columns=["id", "row"]).astype({"id": "str", "row": "float64" if with_float else "int64"})
    path = tmp_path_factory.getbasetemp() / "spelled.csv"
    write_table(path, table)
    assert path.read_bytes() == table.to_csv(index=False, lineterminator="\n").encode()


@pytest.mark.parametrize("parts", [[[], ["x", "y"]], [["x"], [], ["y"]], [["x"], []], [[], []]], ids=str)
def test_a_table_of_parts_of_which_some_are_empty_holds_no_more_than_its_rows(tmp_path, parts):
    table = pd.concat([pd.DataFrame({"id": part}, dtype=str) for part in parts], ignore_index=True)
    write_table(tmp_path / "table.csv", table)
    assert (tmp_path / "table.csv").read_text() == "".join(f"{line}\n" for line in ["id", *chain(*parts)])


def test_a_table_without_rows_keeps_its_header(tmp_path):
    write_table(tmp_path / "table.csv", pd.DataFrame(columns=["id", "row"]))
    assert (tmp_path / "table.csv").read_text() == "id,row\n"
    assert read_table(tmp_path / "table.csv", ["id", "row"]).empty


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a whole table"),
        ("id,row\n1,2,3\n", "not a whole table"),
        ("id,row\n1,2\n3\n", "not a whole table"),
        ("id,row\n1,2\n3,4", "cut in its last line"),
        ("row,id\n1,2\n", "has the columns row,id; expected id,row"),
    ],
)
def test_a_table_that_was_cut_or_edited_is_refused(tmp_path, text, message):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(path, ["id", "row"])


def test_a_missing_table_says_what_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="dvc repro"):
        read_table(tmp_path / "table.csv", ["id"])


@given(st.lists(st.integers(0, 10**18 - 1), min_size=1), st.integers(0, 5))
def test_zeros_in_front_change_no_number(numbers, zeros):
    padded = pd.Series(["0" * zeros + str(number) for number in numbers])
    assert numbers_where_whole(spell_numbers(padded)).tolist() == numbers


@given(st.lists(st.sampled_from(["007", "7", "0", "00", "", "room", "x01", "1e5"]), min_size=1), st.integers(1, 9))
def test_how_an_id_is_spelled_does_not_depend_on_the_others(ids, count):
    every = pd.Series(ids, index=range(5, 5 + len(ids)))
    pd.testing.assert_series_equal(spell_numbers(every)[:count].astype(str), spell_numbers(every[:count]).astype(str))
    assert [str(number) for number in numbers_where_whole(spell_numbers(every))] == spell_numbers(every).tolist()


def test_a_number_too_long_for_an_integer_stays_text():
    assert numbers_where_whole(pd.Series(["9" * 19])).tolist() == ["9" * 19]


def test_a_table_of_more_rows_than_are_spelled_at_a_time_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_BLOCK", 3)
    table = pd.DataFrame({"id": pd.Series(list("abcabcab"), dtype="category"), "row": range(8)})
    write_table(tmp_path / "table.csv", table)
    assert (tmp_path / "table.csv").read_text() == table.to_csv(index=False, lineterminator="\n")
    read = read_table(tmp_path / "table.csv", ["id", "row"], {"id": CATEGORY, "row": pa.int64()})
    pd.testing.assert_frame_equal(read, table, check_categorical=False)
    write_table(tmp_path / "table.csv", table.astype({"id": str}).replace({"id": {"b": "b,"}}))
    assert (tmp_path / "table.csv").read_text().count('"b,"') == 3


def test_categories_are_united_whatever_their_order():
    parts = {
        "one": [pd.Categorical(["b", "a"]), pd.Categorical(["c"])],
        "other": [pd.Categorical(["a", "c"], ["c", "a"])],
    }
    joined = concatenate_categories(parts)
    assert {key: list(column) for key, column in joined.items()} == {"one": ["b", "a", "c"], "other": ["a", "c"]}
    assert joined["one"].categories.equals(joined["other"].categories)


def test_numbers_are_as_narrow_as_the_largest_allows():
    assert narrow(np.array([2**31 - 1, -1])).dtype == np.int32
    assert narrow(np.array([2**31])).tolist() == [2**31]
