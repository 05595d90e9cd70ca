"""The split stage writes one split per sample and says how many samples and groups each holds."""

import itertools
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from support.settings import copy_params, write_places
from support.toy import draw_background, draw_sample, encode_png, write_zip

from maskdepth.data.samples import read_split, write_index
from maskdepth.params import update_params
from maskdepth.tracking.journal import read_journal
from stages import index, unzip
from stages.split import main


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A folder with params.yaml and the index of 30 objects on 30 backgrounds, to be in."""
    copy_params(tmp_path)
    write_places(tmp_path)
    monkeypatch.chdir(tmp_path)
    pairs = pd.DataFrame(list(itertools.product(range(30), range(30))), columns=["foreground", "background"])
    rows = dict.fromkeys(["composite_row", "mask_row", "depth_row", "background_depth_row"], pairs.index)
    names = pairs["foreground"].astype(str) + "_" + pairs["background"].astype(str) + "_0_1"
    pairs = pairs.assign(sample_id=names, flip=0, placement=1, archive="a", background_row=pairs["background"], **rows)
    pairs["background_digest"] = pairs["background"].map("{:032x}".format)
    write_index(Path("index.csv"), pairs)
    return tmp_path


def run_stage():
    main(Path("index.csv"), Path("places.csv"), Path("split.csv"), Path("croissant.json"), Path("journals/split.jsonl"))


def run_all(raw: Path) -> pd.DataFrame:
    """Give split and place of the samples in some archives, without anything that was there before."""
    arrays = raw / "arrays"
    unzip.main(raw, arrays, Path("journals/unzip.jsonl"))
    index.main(arrays, Path("index.csv"), Path("rejected.csv"), Path("registered"), Path("journals/index.jsonl"))
    shutil.rmtree(arrays)
    run_stage()
    return read_split(Path("split.csv")).set_index("sample_id").astype(str)


def write_samples(path: Path, ids: dict[str, int]) -> None:
    """Write a sample for each id of a background, which shows the scene of that number."""
    members = []
    for name, scene in ids.items():
        sample = draw_sample(1, scene, 0, 1)
        kinds = {"fg_bg_jpg/fg_bg": sample.composite, "mask_black_jpg/bg_mask": sample.mask * 255}
        kinds["depth_fg_bg_jpg/depth_fg_bg"] = sample.depth
        members.append((f"bg_jpg/bg_img_{name}.jpg", encode_png(draw_background(scene))))
        members += [(f"{kind}_1_{name}_0_1.jpg", encode_png(pixels)) for kind, pixels in kinds.items()]
    write_zip(path, members)


@pytest.mark.parametrize("by", ["background", "sample"])
def test_no_archive_that_is_added_moves_a_sample(workspace, by):
    """It has numbers with zeros in front, ids that are no numbers, and copies that bear lower and higher numbers."""
    layout = {
        "background": r"bg_jpg/bg_img_(?P<background>\w+)\.jpg",
        "composite": r"fg_bg_jpg/fg_bg_(?P<foreground>\d+)_(?P<background>[^_]+)_0_(?P<placement>\d+)\.jpg",
        "mask": r"mask_black_jpg/bg_mask_(?P<foreground>\d+)_(?P<background>[^_]+)_0_(?P<placement>\d+)\.jpg",
        "depth": r"depth_fg_bg_jpg/depth_fg_bg_(?P<foreground>\d+)_(?P<background>[^_]+)_0_(?P<placement>\d+)\.jpg",
    }
    settings = {"data.layout": layout, "data.image_size": 32, "split.by": by, "split.val": 0.3, "split.test": 0.3}
    update_params(Path("params.yaml"), settings)
    write_samples(workspace / "raw" / "batch1.zip", {f"{number:03}": number for number in range(10, 40)})
    before = run_all(workspace / "raw")
    write_samples(workspace / "raw" / "batch2.zip", {"x1": 90, "007": 12, "0400": 13, "é": 14, "1e5": 91})
    after = run_all(workspace / "raw")
    assert len(after) == len(before) + 5
    pd.testing.assert_frame_equal(after.loc[before.index], before)
    assert after.loc["1_7_0_1", "place"] == after.loc["1_12_0_1", "place"]
    assert after["place"].nunique() == 32


def test_backgrounds_that_a_person_calls_one_place_are_in_one_split(workspace, capsys):
    (workspace / "places.csv").write_text("background,place\n" + "".join(f"{n},table\n" for n in range(12)) + "77,x\n")
    run_stage()
    splits = read_split(Path("split.csv"))
    assert splits.loc[splits["place"] == "table", "split"].nunique() == 1
    assert (splits["place"] == "table").sum() == 12 * 30
    warning = "warning: places.csv names 1 backgrounds of which there is no sample: 77\n"
    assert capsys.readouterr().err == warning


@pytest.mark.usefixtures("workspace")
def test_the_last_line_adds_up(capsys):
    run_stage()
    counts = read_split(Path("split.csv"))["split"].value_counts()
    told = [f"{name} {counts[name]} ({counts[name] // 30} places)" for name in ("train", "val", "test")]
    assert capsys.readouterr().out == f"split: {', '.join(told)}; by background\n"
    assert counts.sum() == 900


@pytest.mark.usefixtures("workspace")
def test_the_journal_holds_the_settings_and_the_counts():
    run_stage()
    journal = read_journal(Path("journals/split.jsonl"))
    values = {point.name: point.value for point in journal.points}
    assert journal.params["split.by"] == "background"
    assert sum(values[f"{name}/samples"] for name in ("train", "val", "test")) == 900
    assert sum(values[f"{name}/places"] for name in ("train", "val", "test")) == 30


@pytest.mark.parametrize(
    ("by", "line"),
    [
        ("both", r"split: train \d+ \(\d+ places, \d+ foregrounds\), .* mixed \d+ .* unused \d+ .*; by both\n"),
        ("sample", r"split: train \d+, val \d+, test \d+; by sample\n"),
    ],
)
def test_each_way_to_split_has_its_line(workspace, capsys, by, line):
    params = workspace / "params.yaml"
    params.write_text(params.read_text().replace("by: background", f"by: {by}"))
    run_stage()
    assert re.fullmatch(line, capsys.readouterr().out)
