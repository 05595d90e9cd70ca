"""Proves that it makes no difference to any later stage whether pictures are kept as pixels or encoded."""

import shutil
from pathlib import Path

import pytest
from support.trained import assert_same_training, make_repository, run_stage, write_params

pytestmark = pytest.mark.nightly

STAGES = ("unzip", "index", "stats", "split", "train", "evaluate")
TRAIN = {"epochs": 2, "batch_size": 8, "precision": "fp32"}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Two repositories with the same raw data, one for each store, in which every stage has run."""
    pixels = make_repository(tmp_path_factory.mktemp("pixels"))
    encoded = tmp_path_factory.mktemp("encoded")
    shutil.copytree(pixels / "data" / "raw", encoded / "data" / "raw")
    shutil.copy(pixels / "places.csv", encoded)
    (encoded / ".dvc").mkdir()
    for repository, store in ((pixels, "pixels"), (encoded, "encoded")):
        write_params(repository, data={"image_size": 32, "store": store}, train=TRAIN)
        for stage in STAGES:
            run_stage(repository, stage)
    return pixels, encoded


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_stores_differ(both):
    pixels, encoded = (content(repository / "data" / "arrays") for repository in both)
    assert any(name.endswith("/composite.npy") for name in pixels)
    assert any(name.endswith("/composite.bin") for name in encoded)


@pytest.mark.parametrize("name", ["index.csv", "rejected.csv", "stats.csv", "stats.json", "gallery.png", "split.csv"])
def test_every_table_and_picture_is_equal_byte_for_byte(both, name):
    pixels, encoded = ((repository / "data" / name).read_bytes() for repository in both)
    assert pixels == encoded


def test_the_training_is_equal_bit_for_bit(both):
    assert_same_training(*both)


def test_the_evaluation_is_equal_byte_for_byte(both):
    pixels, encoded = (content(repository / "reports") for repository in both)
    assert pixels == encoded
    metrics = [(repository / "measured" / "test.json").read_bytes() for repository in both]
    assert metrics[0] == metrics[1]
