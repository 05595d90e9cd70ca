"""Proves that only what belongs together is paired, and that no name and no link leads a result to the wrong place."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.serving.files import (
    SHOWN_SIDE,
    Pair,
    check_results,
    check_shapes,
    find_pairs,
    name_results,
    read_picture,
    require_inputs,
    slug,
    write_png,
)


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def results_of(out: Path, *pairs: Pair) -> dict[Pair, dict[str, Path]]:
    return {pair: name_results(out, pair.name, probability=False) for pair in pairs}


def test_two_folders_are_paired_by_name_whatever_the_suffix(tmp_path):
    backgrounds = touch(tmp_path / "backgrounds", "a.jpg", "b.PNG", "notes.txt", ".hidden.png")
    composites = touch(tmp_path / "composites", "b.jpeg", "a.png")
    pairs, left_over = find_pairs(backgrounds, composites)
    assert [(pair.name, pair.background.name, pair.composite.name) for pair in pairs] == [
        ("a", "a.jpg", "a.png"),
        ("b", "b.PNG", "b.jpeg"),
    ]
    assert left_over == []


@pytest.mark.parametrize(
    ("backgrounds", "composites", "pairs"),
    [
        (
            ["bg_jpg/bg_img_7.jpg", "bg_jpg/bg_img_8.jpg", "bg_jpg/bg_img_9.jpg"],
            ["fg_bg_jpg/fg_bg_3_7_0_1.jpg", "fg_bg_jpg/fg_bg_12_8_1_20.jpg", "fg_bg_jpg/fg_bg_1_77_0_1.jpg"],
            {"fg_bg_3_7_0_1": "bg_img_7.jpg", "fg_bg_12_8_1_20": "bg_img_8.jpg"},
        ),
        (["bg/7_bg.jpg"], ["bg_fg_1/7_bg_12_fg.jpg"], {"7_bg_12_fg": "7_bg.jpg"}),
        (["background/7.jpg"], ["fg_bg/bg_007/24001.jpg"], {"24001": "7.jpg"}),
    ],
)
def test_names_of_the_known_archives_are_paired_by_the_background_they_name(tmp_path, backgrounds, composites, pairs):
    touch(tmp_path, *backgrounds, *composites)
    folders = (tmp_path / names[0] for names in (backgrounds, composites))
    found, left_over = find_pairs(*(path.parent for path in folders))
    assert {pair.name: pair.background.name for pair in found} == pairs
    assert len(left_over) == len(backgrounds) + len(composites) - 2 * len(pairs)


def test_names_with_a_running_number_alone_are_not_guessed(tmp_path):
    touch(tmp_path, "bg/bg_1.jpg", "image/fg_bg_1.jpg")
    with pytest.raises(ValueError, match="a pair has one name"):
        find_pairs(tmp_path / "bg", tmp_path / "image")


def test_an_accent_written_in_two_ways_is_one_name(tmp_path):
    backgrounds = touch(tmp_path / "backgrounds", "caf\u00e9.jpg")
    composites = touch(tmp_path / "composites", "cafe\u0301.jpg")
    assert [pair.name for pair in find_pairs(backgrounds, composites)[0]] == ["caf\u00e9"]


def test_a_picture_without_partner_is_named_with_the_folder_that_lacks_it(tmp_path):
    backgrounds = touch(tmp_path / "backgrounds", "a.jpg", "empty.jpg")
    composites = touch(tmp_path / "composites", "a.jpg", "lone.jpg")
    pairs, left_over = find_pairs(backgrounds, composites)
    assert [pair.name for pair in pairs] == ["a"]
    assert left_over == [
        ("lone", "failed", f"no background of this name in {backgrounds}"),
        ("empty", "failed", f"no composite of this name in {composites}"),
    ]


def test_one_background_goes_with_every_composite_of_a_folder(tmp_path):
    background = touch(tmp_path, "room.jpg") / "room.jpg"
    pairs, left_over = find_pairs(background, touch(tmp_path / "composites", "a.jpg", "b.jpg"))
    assert [(pair.name, pair.background) for pair in pairs] == [("a", background), ("b", background)]
    assert left_over == []


def test_what_cannot_be_paired_is_an_error_that_says_why(tmp_path):
    full, empty = touch(tmp_path / "full", "a.jpg"), tmp_path / "empty"
    empty.mkdir()
    picture = full / "a.jpg"
    with pytest.raises(ValueError, match=r"empty holds no pictures; expected files that end in \.jpeg, \.jpg, \.png"):
        find_pairs(picture, empty)
    with pytest.raises(ValueError, match=r"full is a folder but .*a\.jpg is one picture; name the background"):
        find_pairs(full, picture)
    with pytest.raises(FileNotFoundError, match=r"b\.jpg is missing; expected a JPEG or PNG picture, or a folder"):
        require_inputs(full / "b.jpg", picture, picture)
    with pytest.raises(ValueError, match=r"no file name of .*other is also in .*full; a pair has one name"):
        find_pairs(full, touch(tmp_path / "other", "b.jpg"))
    with pytest.raises(ValueError, match=r"a\.jpg and .*a\.png have the same name up to the suffix; rename one"):
        find_pairs(touch(full, "a.png"), full)


@pytest.mark.parametrize(
    "stem", ["-rf", "a\nb", "..", "\u202egnp", "=1+1", "x" * 250, "\u5bb6" * 80, "con\x00", "~", "\udcff", "a\\b", " "]
)
def test_any_name_becomes_a_safe_one_of_bounded_length(stem):
    name = slug(stem)
    assert re.fullmatch(r"[\w .()-]+", name) and name.isprintable() and name[0] not in "-. ="
    assert len(f".partial-{name}_probability.png".encode()) <= 255
    assert slug(stem) == name != slug(stem + "!")


def test_ordinary_names_stay_and_changed_ones_stay_unlike():
    assert [slug(stem) for stem in ("img_1", "Room 2 (copy)", "\u5bb6", "v1.5")] == [
        "img_1",
        "Room 2 (copy)",
        "\u5bb6",
        "v1.5",
    ]
    assert slug("a:b") != slug("a?b")


def test_a_result_that_is_there_is_refused_unless_it_may_be_replaced(tmp_path):
    results = results_of(touch(tmp_path, "a_depth.png"), Pair("a", Path("b.jpg"), Path("a.jpg")))
    with pytest.raises(
        ValueError, match=r"1 of the results are there already, such as .*a_depth\.png; choose another folder"
    ):
        check_results(results, None, overwrite=False)
    check_results(results, None, overwrite=True)


def test_a_link_that_leads_nowhere_counts_as_there(tmp_path):
    (tmp_path / "a_mask.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="there already"):
        check_results(results_of(tmp_path, Pair("a", Path("b.jpg"), Path("a.jpg"))), None, overwrite=False)


def test_a_report_that_is_there_is_refused_too(tmp_path):
    report = touch(tmp_path, "predictions.csv") / "predictions.csv"
    with pytest.raises(ValueError, match=r"such as .*predictions\.csv"):
        check_results({}, report, overwrite=False)


def test_an_input_is_never_replaced_even_when_results_may_be(tmp_path):
    picture = touch(tmp_path / "pictures", "a.png") / "a.png"
    link = tmp_path / "linked"
    link.symlink_to(tmp_path / "pictures")
    for folder in (tmp_path / "pictures", link):
        with pytest.raises(ValueError, match=r"a\.png is one of the pictures to predict; choose another folder"):
            check_results(results_of(folder, Pair("a", Path("b.jpg"), picture)), None, overwrite=True)


@pytest.mark.parametrize("names", [("a", "a_mask"), ("a", "A")])
def test_two_pairs_never_write_one_file(names, tmp_path):
    pairs = [Pair(name, Path("b.jpg"), Path(f"{name}.jpg")) for name in names]
    with pytest.raises(ValueError, match=rf"a\.jpg and {names[1]}\.jpg would both write .*; rename one of them"):
        check_results(results_of(tmp_path, *pairs), None, overwrite=False)


def test_a_picture_is_read_as_the_network_and_as_people_see_it(tmp_path):
    write_png(tmp_path / "a.png", np.full((30, 50, 3), (10, 20, 30), np.uint8))
    decoded = read_picture(16, 10_000, False, tmp_path / "a.png")
    assert (decoded.width, decoded.height) == (50, 30)
    assert decoded.seen.shape == (16, 16, 3) and decoded.shown.shape == (SHOWN_SIDE, SHOWN_SIDE, 3)
    assert (decoded.seen == (10, 20, 30)).all()


def test_a_file_above_the_cap_is_refused_after_so_many_bytes(tmp_path):
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    with pytest.raises(RefusedError, match=r"endless\.png: it is a folder, a pipe or a device; put a picture"):
        read_picture(16, 1000, False, tmp_path / "endless.png")
    (tmp_path / "large.png").write_bytes(bytes(1001))
    with pytest.raises(RefusedError, match=r"large\.png: it has over 1,000 bytes; shrink it"):
        read_picture(16, 1000, False, tmp_path / "large.png")


def test_a_file_that_cannot_be_read_is_refused_with_the_system_s_reason(tmp_path):
    with pytest.raises(RefusedError, match=r"gone\.png: it leads nowhere; put a picture"):
        read_picture(16, 1000, False, tmp_path / "gone.png")


def test_other_shapes_are_refused_with_both_sizes_and_rounded_ones_are_not():
    check_shapes((256, 256), (220, 220))
    check_shapes((660, 400), (330, 201))
    for shapes in (((800, 600), (660, 400)), ((660, 400), (800, 600))):
        (bw, bh), (cw, ch) = shapes
        with pytest.raises(RefusedError, match=rf"background has {bw} x {bh} pixels, the composite {cw} x {ch}; crop"):
            check_shapes(*shapes)


def test_sixteen_bits_are_written_as_they_are(tmp_path):
    deep = np.array([[0, 1, 65535]], np.uint16)
    write_png(tmp_path / "depth.png", deep)
    assert (np.asarray(Image.open(tmp_path / "depth.png")) == deep).all()
