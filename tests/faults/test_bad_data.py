"""Proves that every bad archive and picture is refused or rejected by name, and that none of them harms another."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faults.bad_data import (
    ACCEPTED,
    FOLDERS,
    REFUSED,
    REJECTED,
    name_of,
    numbered,
    pixels_of,
    write_everything,
    zip_name,
)
from support.member_tables import read_member_table
from support.settings import copy_params

from maskdepth.data.arrays.arrays import read_arrays
from maskdepth.data.samples import read_index
from maskdepth.params import update_params
from maskdepth.process.command import BAD_INPUT, guard
from stages import index, unzip

# JPEG changes pixels a little [levels].
CLOSE = 6


def run_stages(folder: Path) -> None:
    """Run unzip and index on the folder's raw data, in its working folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(os, "fsync", lambda handle: None)  # no power is cut here, and every archive waits for the disk
        unzip.main(Path("raw"), Path("arrays"), Path("journals/unzip.jsonl"))
        index.main(
            Path("arrays"), Path("index.csv"), Path("rejected.csv"), Path("registered"), Path("journals/index.jsonl")
        )


def write_params(folder: Path, max_rejected: float) -> None:
    update_params(copy_params(folder), {"data.image_size": 32, "data.max_rejected": max_rejected})


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A folder in which every case went through unzip and index beside a good archive."""
    folder = tmp_path_factory.mktemp("bad data") / "within"
    (folder / "raw").mkdir(parents=True)
    write_everything(folder / "raw")
    write_params(folder, max_rejected=0.9)
    run_stages(folder)
    return folder


@pytest.fixture(scope="module")
def rejected(workspace):
    return pd.read_csv(workspace / "rejected.csv", dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def samples(workspace):
    return read_index(workspace / "index.csv")


@pytest.fixture(scope="module")
def arrays(workspace):
    return read_arrays(workspace / "arrays")


@pytest.fixture(scope="module")
def members(workspace):
    return read_member_table(workspace / "arrays")


def test_every_kind_of_trouble_is_there():
    counts = len(REFUSED), len(REJECTED), len(ACCEPTED)
    assert counts == (38, 24, 23)
    assert len(REFUSED | REJECTED | dict.fromkeys(ACCEPTED)) == sum(counts)


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_archive_is_refused_as_a_whole_with_reason_and_cure(rejected, case):
    (row,) = rejected[rejected["archive"].eq(zip_name(case))].to_dict("records")
    assert row["member"] == ""
    assert re.search(REFUSED[case][1].partition("; ")[0], row["reason"])
    assert row["cure"]


@pytest.mark.parametrize(("number", "case"), numbered(REJECTED))
def test_a_bad_member_is_rejected_with_reason_and_cure_and_its_archive_is_not(members, rejected, number, case):
    rows = rejected[rejected["archive"].eq(zip_name(case)) & rejected["member"].ne("")]
    assert rows["reason"].str.contains(REJECTED[case][1]).any(), rows.to_dict("records")
    assert rows["cure"].ne("").all()
    assert not rejected["archive"].eq(zip_name(case)).sum() > len(rows)
    # What was good of it was decoded all the same.
    is_good = members["archive"].eq(zip_name(case)) & members["reason"].eq("")
    assert is_good.sum() >= (1 if case.startswith("sample of") else 2)


@pytest.mark.parametrize(("number", "case"), numbered(ACCEPTED))
def test_what_only_looks_odd_is_a_sample_with_the_pixels_that_were_drawn(samples, arrays, rejected, number, case):
    told = rejected[rejected["archive"].eq(zip_name(case))]
    assert told["reason"].str.startswith("the same bytes as good.zip: ").all()
    assert len(told) == (3 if case == "the same sample a second time" else 0)
    assert_sample_is_whole(samples, arrays, number, close=CLOSE)


def assert_sample_is_whole(samples, arrays, number, close=0):
    (row,) = samples[samples["sample_id"].eq(f"{number}_1_0_1")].to_dict("records")
    for kind, pixels in pixels_of(number).items():
        expected = pixels // 255 if kind == "mask" else pixels
        (found,) = getattr(arrays, kind).take(np.array([row[f"{kind}_row"]]))
        assert np.abs(found.astype(int) - expected).mean() <= (0 if kind == "mask" else close), kind


def test_the_good_archive_is_unharmed(samples, arrays, rejected):
    # Another archive claims to know better what the first sample looks like, so neither is believed.
    disputed = rejected[rejected["archive"].eq("good.zip")]
    assert disputed["member"].tolist() == [name_of("composite", 1)]
    assert_sample_is_whole(samples, arrays, 2)


def test_nothing_else_is_a_sample_and_nothing_is_written_elsewhere(workspace, samples):
    numbers = {2, *(number for number, _ in numbered(ACCEPTED))}
    # These two have a whole sample beside what is turned down.
    numbers |= {number for number, case in numbered(REJECTED) if case in ("zip within a zip", "a foreign file")}
    assert set(samples["foreground"].astype(int)) == numbers
    assert [path.name for path in workspace.parent.iterdir()] == [workspace.name]
    written = {path.name for path in workspace.iterdir()}
    assert written == {"raw", "arrays", "journals", "index.csv", "rejected.csv", "registered", "params.yaml"}
    kinds = {path.suffix for path in (workspace / "arrays").rglob("*") if path.is_file()}
    assert kinds == {".json", ".npy", ".parquet"}


def test_every_row_says_where_why_and_what_to_do(rejected):
    assert rejected["archive"].ne("").all()
    assert rejected["reason"].ne("").all()
    assert rejected["cure"].ne("").all()
    assert not rejected["reason"].str.contains("\n").any()


def test_too_much_of_it_stops_the_run_and_shows_the_first_ten(workspace, tmp_path, capsys):
    for name in ("raw", "arrays"):
        shutil.copytree(workspace / name, tmp_path / name)
    write_params(tmp_path, max_rejected=0.05)
    with pytest.raises(SystemExit) as stopped:
        guard(lambda: run_stages(tmp_path))
    assert stopped.value.code == BAD_INPUT
    line = capsys.readouterr().err.splitlines()[-1]
    told = r"error: [\d.]+% of 86 archives are refused and [\d.]+% of \d+ members are rejected; data.max_rejected allow"
    assert re.match(told, line)
    assert len(re.findall(r"[^; ]+\.zip: ", line)) == 10
    assert re.search(r"and \d+ more in rejected\.csv$", line)
    assert (tmp_path / "rejected.csv").read_text() == (workspace / "rejected.csv").read_text()
    assert not (tmp_path / "index.csv").exists()


def test_the_names_of_the_cases_are_those_of_the_layout():
    assert set(FOLDERS) == set(pixels_of(1))
