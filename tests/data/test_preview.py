"""Proves that a folder is explained as the pipeline would read it, and that what is amiss is named with a cure."""

from pathlib import Path

import numpy as np
import pytest
from support.planned import plan_all
from support.settings import SHIPPED_PARAMS
from support.toy import draw_background, encode_png, write_background_depths, write_toy_archive, write_zip

from maskdepth.data.archives.members import read_members
from maskdepth.data.archives.shards import write_shards
from maskdepth.data.arrays.arrays import read_arrays
from maskdepth.data.index.joining import build_index
from maskdepth.data.layouts.layout import read_layouts
from maskdepth.data.preview import explain_archives
from maskdepth.params import load_params

PICTURE = encode_png(draw_background(1)[..., 0])  # grey, so that it decodes as any kind
LAYOUTS = ["sudhakarmlal", "mshilpaa", "sajnanshetty", "sumankanukollu", "deepjyotisaha85"]


def explain(raw: Path, setting: str = "auto") -> str:
    return "\n".join(explain_archives(raw, setting).lines)


def write_names(path: Path, *names: str) -> None:
    write_zip(path, [(name, PICTURE) for name in names])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_known_layout_is_recognised_and_joined(layout: str, tmp_path: Path) -> None:
    write_toy_archive(tmp_path, layout, "Dataset/part1.zip", flips=(0,))
    text = explain(tmp_path)
    assert f"layout: {layout} ({read_layouts()[layout].title})" in text
    assert "samples: 12 of 12 composites; different ids: foreground 2, background 3, flip 1, placement 2" in text
    assert "rejected, by names alone: 0 of" in text
    assert explain_archives(tmp_path, "auto").is_usable


def test_backgrounds_whose_depth_is_known_are_counted(tmp_path: Path) -> None:
    write_toy_archive(tmp_path)
    assert not any(line.startswith("depth of backgrounds") for line in explain_archives(tmp_path, "auto").lines)
    write_background_depths(tmp_path, (1, 3))
    assert "depth of backgrounds: 2 of 3 have it" in explain_archives(tmp_path, "auto").lines


def test_kinds_are_counted_and_the_choice_is_explained(tmp_path: Path) -> None:
    write_toy_archive(tmp_path)
    lines = explain_archives(tmp_path, "auto").lines
    assert lines[0] == f"{tmp_path}: archives 1, files 77"
    assert "  composite   24  such as batch1_images.zip: fg_bg_jpg/fg_bg_1_1_0_1.jpg" in lines
    assert (
        "why: it fits 77 of 77 names looked at; deepjyotisaha85 0, mshilpaa 0, sajnanshetty 0, sumankanukollu 0"
        in lines
    )
    assert "ids: in the names: foreground, background, flip, placement (mapping explicit)" in lines


def test_the_way_to_the_ids_is_told_with_its_alternatives(tmp_path: Path) -> None:
    write_toy_archive(tmp_path, "mshilpaa")
    assert (
        "ids: from the labels file; by arithmetic from the running number, outermost first: placement of 20, "
        "flip of 2 (mapping labels)\n"
        "  if the pixels contradict that, the index tries the mappings generated, labelled"
    ) in explain(tmp_path)


def test_one_zip_is_explained_like_its_folder(tmp_path: Path) -> None:
    world = write_toy_archive(tmp_path)
    assert explain_archives(world.path, "auto").lines[1:] == explain_archives(tmp_path, "auto").lines[1:]


def test_what_names_tell_to_be_amiss_is_rejected_as_the_index_would(tmp_path: Path) -> None:
    """The list that the explanation is made from is the index stage's own, decoded pictures or not."""
    raw, arrays = tmp_path / "raw", tmp_path / "arrays"
    write_toy_archive(raw)
    write_names(raw / "more.zip", "fg_bg_jpg/fg_bg_9_1_0_1.jpg", "mask_black_jpg/bg_mask_8_1_0_1.jpg", "notes.txt")
    params = load_params(SHIPPED_PARAMS).data
    arrays.mkdir()
    list(write_shards(arrays, plan_all(raw, read_layouts()["sudhakarmlal"], params), workers=1))
    decoded = build_index(read_members(arrays), read_arrays(arrays))
    text = explain(raw)
    assert f"rejected, by names alone: {len(decoded.rejected)} of {decoded.num_members} files" in text
    assert len(decoded.rejected) == 3
    for reason, cure, member in decoded.rejected[["reason", "cure", "member"]].to_numpy():
        assert f"  1  {reason}: {cure}; such as {member}" in text
    assert "no mask bears its name: add the mask" in text


def test_no_known_layout_shows_names_and_layouts(tmp_path: Path) -> None:
    write_names(tmp_path / "a.zip", *(f"pictures/{number}.png" for number in range(40)))
    explanation = explain_archives(tmp_path, "auto")
    assert not explanation.is_usable
    text = "\n".join(explanation.lines)
    assert "layout: none that is known; there are names such as\n  a/pictures/0.png\n  a/pictures/5.png\n" in text
    for layout in read_layouts().values():
        assert layout.title in text
    assert "cure: name one in data.layout of params.yaml, or give regular expressions there" in text


def test_a_tie_names_both(tmp_path: Path) -> None:
    write_names(tmp_path / "a.zip", "bg_jpg/bg_img_1.jpg", "depthmap/depth_1.jpg")
    explanation = explain_archives(tmp_path, "auto")
    assert not explanation.is_usable
    assert "layouts: deepjyotisaha85 and sudhakarmlal fit equally well: 1 of 2 names each" in explanation.lines
    assert "layout: sudhakarmlal" in explain(tmp_path, "sudhakarmlal")


def test_a_layout_of_ones_own_is_followed(tmp_path: Path) -> None:
    write_names(tmp_path / "a.zip", "room/1.png", "seen/1_7.png", "shape/1_7.png", "far/1_7.png")
    ids = r"/(?P<background>\d+)_(?P<foreground>\d+)\.png"
    own = {"background": r"room/(?P<background>\d+)\.png"}
    own |= {"composite": f"seen{ids}", "mask": f"shape{ids}", "depth": f"far{ids}"}
    explanation = explain_archives(tmp_path, own)
    assert explanation.is_usable
    assert "layout: own (regular expressions of params.yaml)" in explanation.lines
    assert not any(line.startswith("why:") for line in explanation.lines)
    with pytest.raises(ValueError, match="unknown layout 'mine'"):
        explain_archives(tmp_path, "mine")


def test_a_refused_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "page.zip").write_bytes(b"<html>quota exceeded</html>")
    explanation = explain_archives(tmp_path, "auto")
    assert not explanation.is_usable
    assert explanation.lines[1].startswith("left out: page.zip: it is a web page (27 bytes), not a zip; log in")
    write_toy_archive(tmp_path)
    assert explain_archives(tmp_path, "auto").is_usable
    assert "left out: page.zip" in explain(tmp_path)


def test_composites_without_backgrounds_give_no_sample(tmp_path: Path) -> None:
    names = ("fg_bg_jpg/fg_bg", "mask_black_jpg/bg_mask", "depth_fg_bg_jpg/depth_fg_bg")
    write_names(tmp_path / "a.zip", *(f"{name}_1_1_0_1.jpg" for name in names))
    explanation = explain_archives(tmp_path, "auto")
    assert not explanation.is_usable
    assert "there is no background 1: add the background" in explanation.lines[-2]
    assert explanation.lines[-1] == "the index would stop: none of 3 members became part of a sample"


def test_too_much_to_reject_is_told_as_the_index_would(tmp_path: Path) -> None:
    write_toy_archive(tmp_path)
    write_names(tmp_path / "more.zip", *(f"notes_{number}.txt" for number in range(20)))
    assert explain_archives(tmp_path, "auto", max_rejected=0.25).is_usable
    explanation = explain_archives(tmp_path, "auto", max_rejected=0.2)
    assert not explanation.is_usable
    assert explanation.lines[-1] == (
        "the index would stop: 20.6% of 97 members are rejected; data.max_rejected allows 20.0%"
    )


def test_a_refused_archive_counts_as_in_the_index(tmp_path: Path) -> None:
    write_toy_archive(tmp_path)
    (tmp_path / "cut.zip").write_bytes((tmp_path / "batch1_images.zip").read_bytes()[:1000])
    explanation = explain_archives(tmp_path, "auto", max_rejected=0.4)
    assert not explanation.is_usable
    assert explanation.lines[-1] == (
        "the index would stop: 50.0% of 2 archives are refused; data.max_rejected allows 40.0%"
    )


def test_ids_are_told_by_the_mapping_that_would_be_used(tmp_path: Path) -> None:
    write_toy_archive(tmp_path, "mshilpaa")
    (tmp_path / "labels.txt").unlink()
    assert "outermost first: foreground of 100, background of 100, placement of 20, flip of 2 (mapping generated)" in (
        explain(tmp_path)
    )


def test_labels_that_cannot_be_read_are_rejected(tmp_path: Path) -> None:
    write_toy_archive(tmp_path, "mshilpaa")
    (tmp_path / "labels.txt").write_text("a,b\n")
    text = explain(tmp_path)
    assert "not the labels of this layout: line 1 has 1 values" in text
    assert "such as labels.txt" in text


def test_an_empty_folder_says_what_to_put_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="put your archives there"):
        explain_archives(tmp_path, "auto")
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        explain_archives(tmp_path / "none", "auto")


def test_backgrounds_that_look_alike_are_told_until_they_are_called_one_place(tmp_path: Path) -> None:
    world = write_toy_archive(tmp_path, backgrounds=range(1, 13))
    again = encode_png(np.roll(world.backgrounds[2], 1, axis=1))
    write_zip(tmp_path / "more.zip", [("bg_jpg/bg_img_020.jpg", again)])
    told = [line for line in explain_archives(tmp_path, "auto").lines if "look like one place" in line]
    assert told == ["the backgrounds 2, 20 look like one place: if they are, write into places.csv 2,2 20,2"]
    known = explain_archives(tmp_path, "auto", places={"2": "hall", "20": "hall"}).lines
    assert not [line for line in known if "look like one place" in line]
