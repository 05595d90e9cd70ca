"""Proves that names follow the layout's arithmetic, and that archives are written member by member, without a clock."""

import io
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.copied import copy_code

from maskdepth.making.layout_writer import (
    DIGITS,
    Sample,
    Totals,
    batch_of,
    encode_picture,
    label_line,
    number_of,
    put_on_white,
    write_files,
    written_layouts,
)

TOTALS = Totals(background=4, foreground=3, number=10)


@pytest.mark.parametrize("layout", [name for name in written_layouts() if written_layouts()[name].order])
def test_numbers_count_every_digit_from_one_without_a_gap(layout: str) -> None:
    order = written_layouts()[layout].order
    first = Sample(0, foreground=1, background=1, flip=0, placement=1)
    expected = 1
    for digit in reversed(order):
        following = first._replace(**{digit: getattr(first, digit) + 1})
        assert number_of(written_layouts()[layout], following) - number_of(written_layouts()[layout], first) == expected
        expected *= DIGITS[digit]
    assert number_of(written_layouts()[layout], first) == 1


@pytest.mark.parametrize("batch_by", ["foreground", "background", "number"])
@pytest.mark.parametrize("batches", [1, 2, 3])
def test_every_batch_gets_its_share_of_neighbours(batch_by: str, batches: int) -> None:
    layout = replace(written_layouts()["sudhakarmlal"], batches=batches, batch_by=batch_by)
    total = getattr(TOTALS, batch_by)
    dealt = [batch_of(layout, TOTALS, Sample(number, number, number, 0, 1)) for number in range(1, total + 1)]
    assert dealt == sorted(dealt) and set(dealt) == set(range(1, batches + 1))
    shares = [dealt.count(batch) for batch in set(dealt)]
    assert max(shares) - min(shares) <= 1


def test_labels_name_paths_below_their_archives() -> None:
    line = label_line(
        written_layouts()["mshilpaa"], TOTALS, Sample(10, foreground=3, background=4, flip=1, placement=2)
    )
    names = ("Fg-Bg/fg-bg10.jpg", "Fg-Bg-Mask/fg-bg-mask10.jpg", "Depth/depth10.jpg")
    assert line == "\t".join(["Background/bg4.jpg", "Foreground/fg3.png", *(f"data_2/{name}" for name in names)]) + "\n"


def test_quality_0_is_lossless_and_others_are_jpeg() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    lossless, lossy = (Image.open(io.BytesIO(encode_picture(picture, quality))) for quality in (0, 80))
    assert (lossless.format, lossy.format) == ("PNG", "JPEG")
    np.testing.assert_array_equal(np.asarray(lossless), picture)
    assert len(encode_picture(picture, 20)) < len(encode_picture(picture, 95))


def test_half_an_opacity_shows_half_of_the_white() -> None:
    cutout = np.array([[[100, 100, 100, 255], [100, 100, 100, 51], [0, 0, 0, 0]]], np.uint8)
    np.testing.assert_array_equal(put_on_white(cutout)[0, :, 0], [100, 224, 255])


def test_files_come_one_after_the_other_and_leave_no_time(tmp_path: Path) -> None:
    files = [("a.zip/x/1.jpg", b"one"), ("b/c.zip/2.jpg", b"two"), ("d/3.jpg", b"three"), ("a.zip/4.jpg", b"four")]
    write_files(tmp_path, files)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert [(info.filename, info.date_time[0], info.compress_type) for info in archive.infolist()] == [
            ("x/1.jpg", 1980, zipfile.ZIP_STORED),
            ("4.jpg", 1980, zipfile.ZIP_STORED),
        ]
        assert archive.read("4.jpg") == b"four"
    assert zipfile.ZipFile(tmp_path / "b" / "c.zip").namelist() == ["2.jpg"]
    assert (tmp_path / "d" / "3.jpg").read_bytes() == b"three"
    with pytest.raises(FileExistsError):
        write_files(tmp_path, files[:1])


NEW_LAYOUT = r"""
title = "ids in the names: pairs/{background}-{foreground}.jpg"

[patterns]
background = ['rooms/(?P<background>[0-9]+)[.]jpg']
foreground = ['things/(?P<foreground>[0-9]+)[.]png']
foreground_mask = ['shapes/(?P<foreground>[0-9]+)[.]jpg']
composite = ['pairs/(?P<background>[0-9]+)-(?P<foreground>[0-9]+)-(?P<flip>[01])-(?P<placement>[0-9]+)[.]jpg']
mask = ['masks/(?P<background>[0-9]+)-(?P<foreground>[0-9]+)-(?P<flip>[01])-(?P<placement>[0-9]+)[.]jpg']
depth = ['depths/(?P<background>[0-9]+)-(?P<foreground>[0-9]+)-(?P<flip>[01])-(?P<placement>[0-9]+)[.]jpg']

[[mappings]]
name = "explicit"

[write.paths]
background = "all.zip/rooms/{background}.jpg"
foreground = "all.zip/things/{foreground}.png"
foreground_mask = "all.zip/shapes/{foreground}.jpg"
composite = "all.zip/pairs/{background}-{foreground}-{flip}-{placement}.jpg"
mask = "all.zip/masks/{background}-{foreground}-{flip}-{placement}.jpg"
depth = "all.zip/depths/{background}-{foreground}-{flip}-{placement}.jpg"

[write.compose]
largest = 1000
"""

USE_IT = """
import sys
from pathlib import Path
from maskdepth.data.preview import explain_archives
from maskdepth.making.drawing.sample import write_sample
from maskdepth.making.labelling.naming import find_layout, name_as_depth

write_sample(Path(sys.argv[1]), "pairs", 0, 2, 2, 8, 32)
print("\\n".join(explain_archives(Path(sys.argv[1]), "auto").lines))
print(name_as_depth(find_layout("pairs"), "mine/pairs/1-2-0-3.jpg"))
"""


def test_a_new_layout_is_one_file_for_reading_and_for_writing(tmp_path):
    code = copy_code(tmp_path / "code")
    (code / "src" / "maskdepth" / "data" / "layouts" / "known" / "pairs.toml").write_text(NEW_LAYOUT)
    done = subprocess.run(
        [sys.executable, "-c", USE_IT, tmp_path / "raw"],
        env=os.environ | {"PYTHONPATH": str(code / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "layout: pairs (ids in the names" in done.stdout
    assert "rejected, by names alone: 0 of 30 files" in done.stdout
    assert done.stdout.splitlines()[-1] == "mine/depths/1-2-0-3.jpg"
