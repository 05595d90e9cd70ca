"""The stats stage writes the sums, their summary and a gallery, and warns of what is the same everywhere."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.settings import copy_params, write_places
from support.toy import write_toy_archive

from maskdepth.data.pictures.decoding import PICTURE_KINDS
from maskdepth.data.stats import merge_moments, read_stats
from maskdepth.tracking.journal import read_journal
from stages import index, stats, unzip


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A folder with the toy data set, indexed, to be in."""
    copy_params(tmp_path)
    write_places(tmp_path)
    monkeypatch.chdir(tmp_path)
    write_toy_archive(tmp_path / "raw")
    unzip.main(Path("raw"), Path("arrays"), Path("journals/unzip.jsonl"))
    index.main(
        Path("arrays"), Path("index.csv"), Path("rejected.csv"), Path("registered"), Path("journals/index.jsonl")
    )
    return tmp_path


def run_stage():
    outs = Path("stats.csv"), Path("stats.json"), Path("gallery.png"), Path("journals/stats.jsonl")
    stats.main(Path("arrays"), Path("registered"), Path("index.csv"), Path("places.csv"), *outs)


@pytest.mark.usefixtures("workspace")
def test_table_summary_and_journal_agree(capsys):
    run_stage()
    table, facts = read_stats(Path("stats.csv")), json.loads(Path("stats.json").read_text())
    values = {point.name: point.value for point in read_journal(Path("journals/stats.jsonl")).points}
    for kind in PICTURE_KINDS:
        moments = merge_moments(table[table["kind"] == kind])
        assert (facts[kind]["mean"], facts[kind]["std"]) == (list(moments.mean), list(moments.std))
        assert values[f"{kind}/mean_0"] == moments.mean[0]
    told = capsys.readouterr()
    assert told.out.splitlines()[-1].startswith("stats: 3 backgrounds, 24 samples in 6 groups; mean composite 0.")
    assert "standard deviation 0" not in told.err


@pytest.mark.usefixtures("workspace")
def test_some_samples_are_drawn_and_journalled():
    run_stage()
    with Image.open("gallery.png") as page:
        assert page.width > 12 * 64
    folders = {artifact.path: artifact.folder for artifact in read_journal(Path("journals/stats.jsonl")).artifacts}
    assert folders == {"stats.json": "tables", "gallery.png": "pictures"}


def test_backgrounds_that_look_alike_are_proposed_until_a_person_has_named_them(workspace, capsys):
    run_stage()
    assert "look like one place" not in capsys.readouterr().err
    (path,) = (workspace / "arrays").glob("*/background.npy")
    pictures = np.load(path)
    pictures[2] = np.roll(pictures[0], 1, axis=1) // 10 * 9
    np.save(path, pictures)
    run_stage()
    advice = "the backgrounds 1, 3 look like one place: if they are, write into places.csv 1,1 3,1"
    assert advice in capsys.readouterr().err
    (workspace / "places.csv").write_text("background,place\n1,1\n3,1\n")
    run_stage()
    assert "look like one place" not in capsys.readouterr().err


def test_a_kind_that_is_the_same_everywhere_is_warned_of(workspace, capsys):
    (path,) = (workspace / "arrays").glob("*/depth.npy")
    np.save(path, np.full_like(np.load(path), 77))
    run_stage()
    assert "depth has a channel that is the same everywhere" in capsys.readouterr().err
    assert json.loads(Path("stats.json").read_text())["depth"]["std"] == [0.0]
