"""Proves that the learning-rate finder works on what the stages prepared, writes its curve and touches nothing else."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from support.settings import copy_params, write_places
from support.toy import write_toy_archive
from typer.testing import CliRunner

from maskdepth.cli.program import app
from maskdepth.params import load_params, update_params
from maskdepth.tuning.find_rate import PICTURE, TABLE, find_learning_rate
from stages import index, split, stats, unzip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with the toy data set up to its split."""
    folder = tmp_path_factory.mktemp("prepared")
    small = {"data.image_size": 32, "train.batch_size": 4, "train.precision": "fp32"}
    update_params(copy_params(folder), small | {"split.seed": 22})  # with which its three places fill three splits
    write_toy_archive(folder / "raw")
    data, journals, places = Path("data"), Path("journals"), write_places(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        unzip.main(Path("raw"), data / "arrays", journals / "unzip.jsonl")
        index.main(
            data / "arrays", data / "index.csv", data / "rejected.csv", data / "registered", journals / "index.jsonl"
        )
        outs = data / "stats.csv", data / "stats.json", data / "gallery.png", journals / "stats.jsonl"
        stats.main(data / "arrays", data / "registered", data / "index.csv", places, *outs)
        split.main(data / "index.csv", places, data / "split.csv", data / "croissant.json", journals / "split.jsonl")
    return folder


def list_files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_command_writes_its_curve_and_nothing_else(prepared, monkeypatch):
    monkeypatch.chdir(prepared)
    before = list_files(prepared)
    arguments = ["find-learning-rate", "--steps", "12", "--first", "1e-5", "--last", "0.01"]
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None, result.output
    new = {path: stamp for path, stamp in list_files(prepared).items() if before.get(path) != stamp}
    assert {path.relative_to(prepared) for path in new} == {
        Path("learning_rate", TABLE),
        Path("learning_rate", PICTURE),
    }
    curve = pd.read_csv(prepared / "learning_rate" / TABLE)
    assert list(curve) == ["learning_rate", "loss", "smoothed"]
    assert len(curve) == 12
    with Image.open(prepared / "learning_rate" / PICTURE) as picture:
        assert picture.width > 300
    suggested = float(result.output.split("train.learning_rate=")[1])
    assert (curve["learning_rate"] / suggested - 1).abs().min() < 0.05


def test_an_empty_range_is_an_error(prepared, tmp_path):
    params = load_params(prepared / "params.yaml")
    for first, last in ((0.1, 0.1), (0.0, 1.0), (1.0, 0.1)):
        with pytest.raises(ValueError, match=r"the rates go from .*; give a first one above 0 and a higher last one"):
            find_learning_rate(params, prepared / "data", tmp_path, first, last, 10)


def test_data_that_are_not_prepared_say_so(prepared, tmp_path):
    params = load_params(prepared / "params.yaml")
    with pytest.raises(FileNotFoundError, match="dvc repro"):
        find_learning_rate(params, tmp_path, tmp_path, 1e-5, 1e-2, 10)
