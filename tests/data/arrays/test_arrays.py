"""Proves that shards read as one array each kind, and that a shard which is not whole is noticed."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.toy_shards import SIZE, write_shard

from maskdepth.data.arrays.arrays import CARD_FILE, ShardedArray, read_arrays


def test_a_kind_that_no_archive_has_is_an_empty_array(tmp_path: Path) -> None:
    write_shard(tmp_path / "a", first=10, num_composites=1)
    arrays = read_arrays(tmp_path)
    assert (arrays.background.shape, arrays.depth.shape) == ((0, SIZE, SIZE, 3), (0, SIZE, SIZE))


@pytest.mark.parametrize("cuts", [(), (4,), (1, 1, 7)])
def test_sharded_rows_equal_those_of_one_array(cuts: tuple[int, ...]) -> None:
    whole = np.random.default_rng(0).integers(0, 256, (9, 2, 3), np.uint8)
    array = ShardedArray(np.split(whole, cuts))
    rows = np.array([8, 0, 0, 4, 3, 7])
    out = np.zeros((6, 2, 3), np.uint8)
    assert array.take(rows, out) is out
    assert np.array_equal(out, whole[rows])
    assert np.array_equal(array.take(rows), whole[rows])
    assert array.shape == whole.shape
    assert array.starts.tolist() == [0, *cuts, 9]


@pytest.mark.parametrize("row", [-1, 9])
def test_a_row_that_is_not_there_is_an_error(row: int) -> None:
    with pytest.raises(
        ValueError, match=rf"index\.csv names row {row} of 9 pictures: .*; run `dvc repro`, which makes"
    ):
        ShardedArray([np.zeros((9, 2), np.uint8)]).take(np.array([row]))


def test_no_shard_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no arrays; run `dvc repro unzip`"):
        read_arrays(tmp_path)


def test_a_missing_or_short_array_is_an_error(tmp_path: Path) -> None:
    write_shard(tmp_path / "a", first=10, num_composites=3, counts={"composite": 4})
    with pytest.raises(ValueError, match=r"composite\.npy holds uint8 \(3, 4, 4, 3\), expected uint8 \(4, 4, 4, 3\)"):
        read_arrays(tmp_path)
    (tmp_path / "a" / "composite.npy").write_bytes((tmp_path / "a" / "composite.npy").read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"composite\.npy cannot be read .*; run `dvc repro --force unzip`"):
        read_arrays(tmp_path)


def test_shards_of_two_runs_do_not_mix(tmp_path: Path) -> None:
    write_shard(tmp_path / "a", first=10, num_composites=1)
    write_shard(tmp_path / "b", first=20, num_composites=1, depth_near="bright")
    with pytest.raises(ValueError, match=r"b and .*a were made with different settings; run `dvc repro"):
        read_arrays(tmp_path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{", "Expecting property name"),
        ("null", "expected an object, found None"),
        ("[1]", r"expected an object, found \[1\]"),
        ("{}", "archive: expected str, found nothing"),
        ("[" * 100_000, "maximum recursion"),
    ],
)
def test_a_damaged_card_is_an_error(text: str, found: str, tmp_path: Path) -> None:
    write_shard(tmp_path / "a", first=10, num_composites=1)
    (tmp_path / "a" / CARD_FILE).write_text(text)
    with pytest.raises(ValueError, match=rf"a/shard\.json is damaged \({found}.*; run `dvc repro --force unzip`"):
        read_arrays(tmp_path)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"image_size": "64"}, "image_size: expected int, found '64'"),
        ({"image_size": True}, "image_size: expected int, found True"),
        ({"counts": None}, "counts: expected dict, found None"),
        ({"counts": {"mask": "7"}}, "counts: expected numbers, found {'mask': '7'}"),
        ({"definition": "x"}, "definition: expected dict, found 'x'"),
    ],
)
def test_a_card_with_another_type_of_value_is_an_error(changes: dict[str, Any], found: str, tmp_path: Path) -> None:
    write_shard(tmp_path / "a", first=10, num_composites=1, **changes)
    with pytest.raises(ValueError, match=re.escape(f"shard.json is damaged ({found}); run")):
        read_arrays(tmp_path)
