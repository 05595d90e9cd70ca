"""Proves that shards read as one array each kind, and that a shard which is not whole is noticed."""

import json
from pathlib import Path

import numpy as np
import pytest

from maskdepth.data.arrays import CARD_FILE, LABELS_FILE, MEMBER_COLUMNS, MEMBERS_FILE, ShardedArray, read_arrays
from maskdepth.data.layouts import read_layouts

SIZE = 4
MSHILPAA = read_layouts()["mshilpaa"].definition


def write_shard(folder: Path, first: int, num_composites: int, **changes: object) -> None:
    """Write a shard of composites filled with first, first + 1, ..., one rejected member, and a line of labels."""
    folder.mkdir(parents=True)
    numbers = np.arange(first, first + num_composites, dtype=np.uint8)
    np.save(folder / "composite.npy", np.broadcast_to(numbers[:, None, None, None], (num_composites, SIZE, SIZE, 3)))
    lines = [f"composite,fg-bg{n}.jpg,,,,,{n},9,9,0a,{row},," for row, n in enumerate(numbers)]
    lines.append("unknown,x.txt,,,,,,,,0b,,its name fits nothing,remove it")
    (folder / MEMBERS_FILE).write_text("\n".join([",".join(MEMBER_COLUMNS), *lines, ""]))
    (folder / LABELS_FILE).write_text(f"background,foreground,composite,mask,depth\nbg1,fg1,c{first},m,d\n")
    card = {"archive": f"{folder.name}.zip", "layout": "mshilpaa", "definition": MSHILPAA, "image_size": SIZE}
    card |= {"depth_near": "dark", "depth_frame": "refuse", "counts": {"composite": num_composites}, **changes}
    (folder / CARD_FILE).write_text(json.dumps(card))


def test_row_numbers_run_through_the_shards_in_order_of_their_names(tmp_path: Path) -> None:
    write_shard(tmp_path / "b", first=20, num_composites=2)
    write_shard(tmp_path / "a", first=10, num_composites=3)
    (tmp_path / ".partial-c").mkdir()
    arrays = read_arrays(tmp_path)
    composites = arrays.members[arrays.members["kind"] == "composite"]
    assert composites["global_row"].tolist() == [0, 1, 2, 3, 4]
    assert composites["row"].tolist() == [0, 1, 2, 0, 1]
    assert composites["archive"].tolist() == ["a.zip"] * 3 + ["b.zip"] * 2
    pixels = arrays.composite.take(composites["global_row"].to_numpy())[:, 0, 0, 0]
    assert pixels.astype(str).tolist() == composites["number"].tolist() == ["10", "11", "12", "20", "21"]


def test_what_was_not_decoded_has_row_minus_one(tmp_path: Path) -> None:
    write_shard(tmp_path / "a", first=10, num_composites=1)
    (rejected,) = read_arrays(tmp_path).members.query("reason != ''").to_dict("records")
    assert (rejected["global_row"], rejected["row"], rejected["width"], rejected["cure"]) == (-1, -1, -1, "remove it")


def test_labels_of_all_shards_come_together_with_their_layout(tmp_path: Path) -> None:
    write_shard(tmp_path / "a", first=10, num_composites=1)
    write_shard(tmp_path / "b", first=20, num_composites=1)
    arrays = read_arrays(tmp_path)
    assert arrays.labels["composite"].tolist() == ["c10", "c20"]
    assert arrays.layout == read_layouts()["mshilpaa"]


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
    assert np.array_equal(np.concatenate([block for _, block in array.blocks()]), whole)
    assert [start for start, _ in array.blocks()] == [0, *cuts]


@pytest.mark.parametrize("row", [-1, 9])
def test_a_row_that_is_not_there_is_an_error(row: int) -> None:
    with pytest.raises(IndexError, match=f"rows {row} to {row} asked of 9"):
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


def test_a_damaged_card_is_an_error(tmp_path: Path) -> None:
    write_shard(tmp_path / "a", first=10, num_composites=1)
    (tmp_path / "a" / CARD_FILE).write_text("{")
    with pytest.raises(ValueError, match=r"shard\.json is damaged"):
        read_arrays(tmp_path)
