"""The split stage writes one split per sample and says how many samples and groups each holds."""

import itertools
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from maskdepth.data.samples import read_split, write_index
from maskdepth.tracking.journal import read_journal
from stages.split import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A folder with params.yaml and the index of 30 objects on 30 backgrounds, to be in."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    pairs = pd.DataFrame(list(itertools.product(range(30), range(30))), columns=["foreground", "background"])
    rows = dict.fromkeys(["composite_row", "mask_row", "depth_row"], pairs.index)
    names = pairs["foreground"].astype(str) + "_" + pairs["background"].astype(str) + "_0_1"
    pairs = pairs.assign(sample_id=names, flip=0, placement=1, archive="a", background_row=pairs["background"], **rows)
    write_index(Path("index.csv"), pairs)
    return tmp_path


def run_stage():
    main(Path("index.csv"), Path("split.csv"), Path("journals/split.jsonl"))


@pytest.mark.usefixtures("workspace")
def test_the_last_line_adds_up(capsys):
    run_stage()
    counts = read_split(Path("split.csv")).value_counts()
    told = [f"{name} {counts[name]} ({counts[name] // 30} backgrounds)" for name in ("train", "val", "test")]
    assert capsys.readouterr().out == f"split: {', '.join(told)}; by background\n"
    assert counts.sum() == 900


@pytest.mark.usefixtures("workspace")
def test_the_journal_holds_the_settings_and_the_counts():
    run_stage()
    journal = read_journal(Path("journals/split.jsonl"))
    values = {point.name: point.value for point in journal.points}
    assert journal.params["split.by"] == "background"
    assert sum(values[f"{name}/samples"] for name in ("train", "val", "test")) == 900
    assert sum(values[f"{name}/backgrounds"] for name in ("train", "val", "test")) == 30


@pytest.mark.parametrize(
    ("by", "line"),
    [
        ("both", r"split: train \d+ \(\d+ backgrounds, \d+ foregrounds\), .* mixed \d+ .* unused \d+ .*; by both\n"),
        ("sample", r"split: train \d+, val \d+, test \d+; by sample\n"),
    ],
)
def test_each_way_to_split_has_its_line(workspace, capsys, by, line):
    params = workspace / "params.yaml"
    params.write_text(params.read_text().replace("by: background", f"by: {by}"))
    run_stage()
    assert re.fullmatch(line, capsys.readouterr().out)
