"""The tables of samples survive their files, and a file that was cut or edited is refused by name."""

import pandas as pd
import pytest

from maskdepth.data.samples import INDEX_COLUMNS, read_index, read_samples, read_split, write_index, write_split

COLUMNS = (
    "sample_id,foreground,background,flip,placement,archive,background_digest,"
    "background_row,composite_row,mask_row,depth_row,background_depth_row"
)


def make_samples(foregrounds=(1, 2)) -> pd.DataFrame:
    rows = [(f"{f}_7_0_1", f, 7, 0, 1, "batch1_images", "ab", 0, row, row, row, 0) for row, f in enumerate(foregrounds)]
    return pd.DataFrame(rows, columns=INDEX_COLUMNS)


def make_splits(names: dict[str, str]) -> pd.DataFrame:
    table = pd.DataFrame({"split": names, "place": "hall"}, dtype=str)
    return table.rename_axis("sample_id").reset_index()


def test_the_index_survives_the_file(tmp_path):
    samples = make_samples()
    write_index(tmp_path / "index.csv", samples)
    lines = (tmp_path / "index.csv").read_text().splitlines()
    assert lines[:2] == [COLUMNS, "1_7_0_1,1,7,0,1,batch1_images,ab,0,0,0,0,0"]
    pd.testing.assert_frame_equal(read_index(tmp_path / "index.csv").astype(samples.dtypes), samples)


def test_text_ids_survive_the_file(tmp_path):
    write_index(tmp_path / "index.csv", make_samples(["000123", "NA"]))
    assert list(read_index(tmp_path / "index.csv")["foreground"]) == ["000123", "NA"]


def test_splits_survive_the_file(tmp_path):
    splits = make_splits({"1_7_0_1": "train", "2_7_0_1": "mixed"})
    write_split(tmp_path / "split.csv", splits)
    assert (tmp_path / "split.csv").read_text() == "sample_id,split,place\n1_7_0_1,train,hall\n2_7_0_1,mixed,hall\n"
    assert read_split(tmp_path / "split.csv").astype(str).equals(splits)


def test_samples_are_given_by_split(tmp_path):
    write_index(tmp_path / "index.csv", make_samples([1, 2, 3, 4]))
    names = ("train", "test", "train", "val")
    write_split(
        tmp_path / "split.csv", make_splits({f"{f}_7_0_1": name for f, name in zip([1, 2, 3, 4], names, strict=True)})
    )
    rows = read_samples(tmp_path / "index.csv", tmp_path / "split.csv")
    assert {name: list(part["foreground"]) for name, part in rows.items()} == {"train": [1, 3], "test": [2], "val": [4]}
    assert rows["train"]["place"].tolist() == ["hall", "hall"]


@pytest.mark.parametrize("missing", ["train", "val", "test"])
def test_a_split_without_samples_of_a_kind_is_refused(tmp_path, missing):
    write_index(tmp_path / "index.csv", make_samples([1, 2, 3]))
    names = [{missing: "unused"}.get(name, name) for name in ("train", "val", "test")]
    write_split(tmp_path / "split.csv", make_splits(dict(zip(["1_7_0_1", "2_7_0_1", "3_7_0_1"], names, strict=True))))
    with pytest.raises(
        ValueError, match=rf"split\.csv has no sample of {missing}, expected some of .*; run `dvc repro`"
    ):
        read_samples(tmp_path / "index.csv", tmp_path / "split.csv")


@pytest.mark.parametrize("named", [["1_7_0_1"], ["2_7_0_1", "1_7_0_1"], ["1_7_0_1", "3_7_0_1"]], ids=str)
def test_tables_of_different_samples_or_in_another_order_are_refused(tmp_path, named):
    write_index(tmp_path / "index.csv", make_samples([1, 2]))
    write_split(tmp_path / "split.csv", make_splits(dict.fromkeys(named, "train")))
    with pytest.raises(ValueError, match="list different samples, or in another order"):
        read_samples(tmp_path / "index.csv", tmp_path / "split.csv")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1_1_0_1,1,1,0,1,a,ab,0,0,0,0,x\n", "not a whole table: .*column #11.*'x'"),
        ("1_1_0_1,1,1,0,1,a,ab,0,0,0,0,0\n1_1_0_1,1,1,0,1,a,ab,0,0,0,0,0\n", "sample 1_1_0_1 is listed twice"),
        ("1_1_0_1,1,1,0,1,a,ab,0,0,0\n", "not a whole table"),
    ],
)
def test_a_damaged_index_is_refused(tmp_path, rows, message):
    (tmp_path / "index.csv").write_text(f"{COLUMNS}\n{rows}")
    with pytest.raises(ValueError, match=message):
        read_index(tmp_path / "index.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample_id,split,place\na,train,p\nb,tes,p\n", "unknown split 'tes'"),
        ("sample_id,split,place\na,train,p\na,test,p\n", "sample a is listed twice"),
        ("sample_id,split,place\na,train,p\nb,test,p", "cut in its last line"),
        ("sample_id,split,place\na,train,p\nb\n", "not a whole table"),
        ("sample_id,split\na,train\n", "has the columns sample_id,split; expected sample_id,split,place"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, text, message):
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_split(path)


def test_a_missing_file_says_what_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="dvc repro"):
        read_split(tmp_path / "split.csv")
