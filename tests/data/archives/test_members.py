"""Proves that the members of all shards come as one table, with the rows that their pictures have in the arrays."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.member_tables import read_member_table
from support.toy_shards import write_shard

from maskdepth.data.archives.members import MEMBERS_FILE, read_members
from maskdepth.data.arrays.arrays import CARD_FILE, read_arrays
from maskdepth.data.layouts.layout import read_layouts


def test_row_numbers_run_through_the_shards_in_order_of_their_names(tmp_path: Path) -> None:
    write_shard(tmp_path / "b", first=20, num_composites=2)
    write_shard(tmp_path / "a", first=10, num_composites=3)
    (tmp_path / ".partial-c").mkdir()
    arrays = read_arrays(tmp_path)
    composites = read_member_table(tmp_path).query("kind == 'composite'")
    assert composites["global_row"].tolist() == [0, 1, 2, 3, 4]
    assert composites["row"].tolist() == [0, 1, 2, 0, 1]
    assert composites["archive"].tolist() == ["a.zip"] * 3 + ["b.zip"] * 2
    pixels = arrays.composite.take(composites["global_row"].to_numpy())[:, 0, 0, 0]
    assert pixels.astype(str).tolist() == composites["number"].tolist() == ["10", "11", "12", "20", "21"]


def test_what_was_not_decoded_has_row_minus_one(tmp_path: Path) -> None:
    write_shard(tmp_path / "a", first=10, num_composites=1)
    (rejected,) = read_member_table(tmp_path).query("reason != ''").to_dict("records")
    assert (rejected["global_row"], rejected["row"], rejected["width"], rejected["cure"]) == (-1, -1, -1, "remove it")


def test_labels_of_all_shards_come_together_with_their_layout(tmp_path: Path) -> None:
    write_shard(tmp_path / "a", first=10, num_composites=1)
    write_shard(tmp_path / "b", first=20, num_composites=1)
    members = read_members(tmp_path)
    assert members.labels["composite"].tolist() == ["c10", "c20"]
    assert members.layout == read_layouts()["mshilpaa"]


def test_later_stages_read_the_arrays_without_the_members(tmp_path: Path) -> None:
    write_shard(tmp_path / "a", first=10, num_composites=1)
    (tmp_path / "a" / MEMBERS_FILE).unlink()
    assert len(read_arrays(tmp_path).composite) == 1
    with pytest.raises(FileNotFoundError, match=r"members\.parquet is missing"):
        read_members(tmp_path)


def test_members_of_two_runs_do_not_mix(tmp_path: Path) -> None:
    write_shard(tmp_path / "a", first=10, num_composites=1)
    write_shard(tmp_path / "b", first=20, num_composites=1, depth_near="bright")
    with pytest.raises(ValueError, match=r"b and .*a were made with different settings"):
        read_members(tmp_path)
    (tmp_path / "b" / CARD_FILE).unlink()
    assert len(read_member_table(tmp_path)) == 2


def test_texts_are_looked_up_by_place_whatever_their_order(tmp_path: Path) -> None:
    write_shard(tmp_path / "a", first=10, num_composites=2)
    write_shard(tmp_path / "b", first=20, num_composites=2)
    members = read_members(tmp_path)
    assert (members.count, members.num_archives) == (6, 2)
    composites = members.pictures["composite"]
    assert composites["place"].tolist() == [0, 1, 3, 4]
    found = members.look_up(composites["place"].to_numpy()[::-1], "member")
    assert found.tolist() == ["fg-bg21.jpg", "fg-bg20.jpg", "fg-bg11.jpg", "fg-bg10.jpg"]
    assert members.look_up(members.rejected["place"].to_numpy(), "digest").tolist() == ["0b", "0b"]
    assert members.look_up(np.array([], int), "member").tolist() == []


def test_a_damaged_table_is_an_error_that_names_it(tmp_path: Path) -> None:
    write_shard(tmp_path / "a", first=10, num_composites=1)
    path = tmp_path / "a" / MEMBERS_FILE
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    with pytest.raises(ValueError, match=r"a/members\.parquet is not a whole table: .*; run `dvc repro`"):
        read_members(tmp_path)
    pd.DataFrame({"kind": ["mask"]}).to_parquet(path)
    with pytest.raises(ValueError, match=r"a/members\.parquet has other columns than expected; run `dvc repro`"):
        read_members(tmp_path)
