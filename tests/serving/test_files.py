"""Proves that a result gets a safe name and a place of its own, and that reading survives whatever a file is."""

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskdepth.data.files import list_archive
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.serving.files import (
    ENDINGS,
    USUAL,
    Outcome,
    Pair,
    check_results,
    check_shapes,
    read_bytes,
    read_kinds,
    read_picture,
    slug,
    write_picture,
    write_report,
)


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def check(out: Path, *pairs: Pair, report: Path | None = None, overwrite: bool = False) -> None:
    check_results(pairs, out, USUAL, report, overwrite)


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
    pair = Pair("a", Path("b.jpg"), Path("a.jpg"))
    touch(tmp_path, "a_depth.png")
    with pytest.raises(ValueError, match=r"1 of the results are there already, such as .*a_depth\.png; choose another"):
        check(tmp_path, pair)
    check(tmp_path, pair, overwrite=True)


def test_a_link_that_leads_nowhere_counts_as_there(tmp_path):
    (tmp_path / "a_mask.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="there already"):
        check(tmp_path, Pair("a", Path("b.jpg"), Path("a.jpg")))


def test_a_report_that_is_there_is_refused_too(tmp_path):
    report = touch(tmp_path, "predictions.csv") / "predictions.csv"
    with pytest.raises(ValueError, match=r"such as .*predictions\.csv"):
        check(tmp_path, report=report)


def test_an_input_is_never_replaced_even_when_results_may_be(tmp_path):
    picture = touch(tmp_path / "pictures", "a_mask.png") / "a_mask.png"
    link = tmp_path / "linked"
    link.symlink_to(tmp_path / "pictures")
    for folder in (tmp_path / "pictures", link):
        with pytest.raises(ValueError, match=r"a_mask\.png is one of the pictures to predict; choose another folder"):
            check(folder, Pair("a", picture, Path("a.jpg")), overwrite=True)


def test_two_pairs_never_write_one_file(tmp_path):
    pairs = [Pair(name, Path("b.jpg"), Path(f"{name}.jpg")) for name in ("a", "A")]
    with pytest.raises(ValueError, match=r"a\.jpg and A\.jpg would both write .*; rename one of them"):
        check(tmp_path, *pairs)


def test_kinds_are_read_with_commas_or_without_and_an_unknown_one_gets_a_proposal():
    assert read_kinds(["mask, cutout", "depth"]) == ("mask", "depth", "cutout")
    assert read_kinds(ENDINGS) == tuple(ENDINGS)
    with pytest.raises(ValueError, match=r"--write masks: did you mean mask\? known: mask, depth, panel, cutout"):
        read_kinds(["depth,masks"])
    with pytest.raises(ValueError, match="--write names nothing; known: mask"):
        read_kinds([","])


def test_a_picture_is_read_as_the_network_sees_it_and_whole_also_in_an_archive(tmp_path):
    write_picture(tmp_path / "a.png", np.full((30, 50, 3), (10, 20, 30), np.uint8))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "a.png")
    for file in (tmp_path / "a.png", list_archive(tmp_path, "all.zip")["all/a.png"]):
        decoded = read_picture(16, 10_000, file)
        assert decoded.seen.shape == (16, 16, 3) and decoded.whole.shape == (30, 50, 3)
        assert (decoded.seen == (10, 20, 30)).all() and (decoded.whole == (10, 20, 30)).all()


def test_a_file_above_the_cap_is_refused_after_so_many_bytes(tmp_path):
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    with pytest.raises(RefusedError, match=r"endless\.png: it is a folder, a pipe or a device; put a picture"):
        read_bytes(tmp_path / "endless.png", 1000)
    (tmp_path / "large.png").write_bytes(bytes(1001))
    with pytest.raises(RefusedError, match=r"large\.png: it has over 1,000 bytes; shrink it"):
        read_bytes(tmp_path / "large.png", 1000)


def test_a_hundred_megabytes_that_are_no_picture_are_refused_in_a_line(tmp_path):
    with (tmp_path / "film.jpg").open("wb") as file:
        file.truncate(100 * 2**20)
    with pytest.raises(RefusedError, match=r"film\.jpg: it is not a JPEG or PNG picture; convert it to PNG"):
        read_picture(16, 128 * 2**20, tmp_path / "film.jpg")


def test_a_file_that_cannot_be_read_is_refused_with_the_system_s_reason(tmp_path):
    with pytest.raises(RefusedError, match=r"gone\.png: it leads nowhere; put a picture"):
        read_picture(16, 1000, tmp_path / "gone.png")


def test_other_shapes_are_refused_with_both_sizes_and_rounded_ones_are_not():
    check_shapes((256, 256), (220, 220))
    check_shapes((660, 400), (330, 201))
    for shapes in (((800, 600), (660, 400)), ((660, 400), (800, 600))):
        (bw, bh), (cw, ch) = shapes
        with pytest.raises(RefusedError, match=rf"background has {bw} x {bh} pixels, the composite {cw} x {ch}; crop"):
            check_shapes(*shapes)


def test_sixteen_bits_and_alpha_are_written_as_they_are_and_photographs_nearly(tmp_path):
    deep = np.array([[0, 1, 65535]], np.uint16)
    clear = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    smooth = np.tile(np.arange(64, dtype=np.uint8)[:, None, None], (1, 64, 3))
    for name, pixels, tolerance in (("depth.png", deep, 0), ("cutout.png", clear, 0), ("panel.jpg", smooth, 3)):
        write_picture(tmp_path / name, pixels)
        with Image.open(tmp_path / name) as image:
            assert image.format == ("JPEG" if name.endswith(".jpg") else "PNG")
            assert np.abs(np.asarray(image).astype(int) - pixels).max() <= tolerance


def test_the_report_has_a_row_a_pair_and_no_share_where_there_is_none(tmp_path):
    outcomes = [Outcome("a", "predicted", 0.123456, "left as it was"), Outcome("b", "failed", None, 'no, "b"')]
    write_report(tmp_path / "predictions.csv", outcomes)
    assert (tmp_path / "predictions.csv").read_text().splitlines() == [
        "name,status,share,note",
        "a,predicted,0.1235,left as it was",
        'b,failed,,"no, ""b"""',
    ]
