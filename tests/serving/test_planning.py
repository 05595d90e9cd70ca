"""Proves that what cannot work is told before anything that takes seconds, and that nothing is written by planning."""

from pathlib import Path

import pytest
from PIL import Image

from maskdepth.serving.planning import plan_predictions


@pytest.fixture
def pictures(tmp_path):
    for name in ("room", "visitor", "beach"):
        Image.new("RGB", (8, 6)).save(tmp_path / f"{name}.png")
    return tmp_path


def plan(folder, *, write=("mask",), onto=None, overwrite=False):
    pair = folder / "room.png", folder / "visitor.png"
    return plan_predictions(*pair, folder / "out", write, onto and folder / onto, overwrite=overwrite)


def test_another_scene_is_written_onto_without_being_asked_twice(pictures):
    for write in (("mask",), ("mask", "onto")):
        planned = plan(pictures, write=write, onto="beach.png")
        assert planned.kinds == ("mask", "onto")
        assert planned.scene.size == (8, 6)
    assert plan(pictures).scene is None and not (pictures / "out").exists()


def test_only_several_pairs_have_a_report(pictures):
    assert plan(pictures).report is None
    many = plan_predictions(pictures / "room.png", pictures, pictures / "out", ["mask"], None, overwrite=False)
    assert many.report == pictures / "out" / "predictions.csv" and len(many.pairs) == 3


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"write": ("onto",)}, "--write onto: name the picture that objects are put before, as in --onto beach.jpg"),
        ({"write": ("masc",)}, r"--write masc: did you mean mask\? known: mask, depth, panel"),
        ({"onto": "sea.png"}, r"--onto .*sea\.png: there is no such picture"),
        ({"onto": "notes.txt"}, r"notes\.txt: it is not a JPEG or PNG picture; convert it to PNG"),
    ],
)
def test_what_is_wrong_with_a_wish_is_told_by_its_option(pictures, how, message):
    (pictures / "notes.txt").write_text("no picture")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        plan(pictures, **how)


def test_results_that_are_there_are_found(pictures):
    (pictures / "out").mkdir()
    Path(pictures / "out" / "visitor_mask.png").touch()
    with pytest.raises(
        ValueError, match=r"such as .*visitor_mask\.png; choose another folder, or replace them with --ov"
    ):
        plan(pictures)
    assert plan(pictures, overwrite=True).pairs
