"""Writing a data set as one of the known layouts: what its files are called, and into which archive each goes.

Archives are written as their members come, so no archive is ever held in memory, and without a clock: the same
pictures make the same bytes.
"""

import io
import zipfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

# What each digit of a running number counts up to; readers of these layouts know no other counts.
DIGITS = {"background": 100, "foreground": 100, "flip": 2, "placement": 20}

_FLIP = "flip"
_ARCHIVE = ".zip/"

File = tuple[str, bytes]  # path below the data set, and content


class Sample(NamedTuple):
    """One composite of the plan."""

    number: int
    foreground: int
    background: int
    flip: int
    placement: int


class Totals(NamedTuple):
    """How many there are of each."""

    background: int
    foreground: int
    number: int


@dataclass(frozen=True)
class WrittenLayout:
    """How to name the files of a data set; what comes before `.zip/` is the archive.

    Attributes:
        paths: Template of the path of each kind of picture, with the fields of `Sample`, and `batch`.
        order: Digits, outermost first, of the number in the names; empty for the running number.
        batches: Into how many archives the composites are dealt.
        batch_by: By what they are dealt.
        mirrors: Whether every other composite shows its object mirrored.
        labels: Columns, each a kind, of a table `labels.txt` of paths.
    """

    paths: dict[str, str]
    order: tuple[str, ...] = ()
    batches: int = 1
    batch_by: Literal["foreground", "background", "number"] = "number"
    mirrors: bool = True
    labels: tuple[str, ...] = ()


WRITTEN_LAYOUTS = {
    "sudhakarmlal": WrittenLayout(
        paths={
            "background": "batch{batch}_images.zip/bg_jpg/bg_img_{background}.jpg",
            "foreground": "batch{batch}_images.zip/fg_jpg/fg_img_{foreground}.jpg",
            "foreground_mask": "batch{batch}_images.zip/mask_jpg/mask_img_{foreground}.jpg",
            "composite": "batch{batch}_images.zip/fg_bg_jpg/fg_bg_{foreground}_{background}_{flip}_{placement}.jpg",
            "mask": "batch{batch}_images.zip/mask_black_jpg/bg_mask_{foreground}_{background}_{flip}_{placement}.jpg",
            "depth": "batch{batch}_images.zip/depth_fg_bg_jpg/"
            "depth_fg_bg_{foreground}_{background}_{flip}_{placement}.jpg",
        },
        batches=4,
        batch_by="foreground",
    ),
    "mshilpaa": WrittenLayout(
        paths={
            "background": "Background/bg{background}.jpg",
            "foreground": "Foreground/fg{foreground}.png",
            "foreground_mask": "Mask/mask{foreground}.jpg",
            "composite": "Dataset/data_part{batch}.zip/data_{batch}/Fg-Bg/fg-bg{number}.jpg",
            "mask": "Dataset/data_part{batch}.zip/data_{batch}/Fg-Bg-Mask/fg-bg-mask{number}.jpg",
            "depth": "Dataset/data_part{batch}.zip/data_{batch}/Depth/depth{number}.jpg",
        },
        batches=2,
        labels=("background", "foreground", "composite", "mask", "depth"),
    ),
    "deepjyotisaha85": WrittenLayout(
        paths={
            "background": "bg/bg_{background}.jpg",
            "foreground": "fg/fg_{foreground}.png",
            "foreground_mask": "fg_mask/fg_{foreground}.jpg",
            "composite": "fg_bg.zip/image/fg_bg_{number}.jpg",
            "mask": "fg_bg.zip/mask/fg_bg_mask_{number}.jpg",
            "depth": "depth_{batch}.zip/depthmap/depth_{number}.jpg",
        },
        order=("background", "foreground", "placement", "flip"),
        batches=2,
    ),
    "sajnanshetty": WrittenLayout(
        paths={
            "background": "background/{background}.jpg",
            "foreground": "foreground/{foreground}.png",
            "foreground_mask": "fg_mask/{foreground}.jpg",
            "composite": "fg_bg/fg_bg_{background:03d}.zip/bg_{background:03d}/{number}.jpg",
            "mask": "fg_bg_mask/fg_bg_mask_{background:03d}.zip/bg_{background:03d}/{number}.jpg",
            "depth": "dense_depth/fg_bg_depth_{background:03d}.zip/bg_{background:03d}/{number}.jpg",
        },
        order=("background", "foreground", "flip", "placement"),
    ),
    "sumankanukollu": WrittenLayout(
        paths={
            "background": "bg/{background}_bg.jpg",
            "foreground": "fg/{foreground}_fg.jpg",
            "foreground_mask": "mask/{foreground}_fg_mask.jpg",
            "composite": "zipFiles/batch_{batch}.zip/bg_fg_1/{background}_bg_{number}_fg.jpg",
            "mask": "zipFiles/batch_{batch}.zip/bg_fg_mask_1/{background}_bg_{number}_fg.jpg",
            "depth": "zipFiles/batch_{batch}.zip/depthMap/{background}_bg_{number}_fg.jpg",
        },
        order=("foreground", "placement"),
        batches=4,
        batch_by="background",
        mirrors=False,
    ),
}


def path_of(layout: WrittenLayout, totals: Totals, kind: str, sample: Sample) -> str:
    """Path of a picture of one sample below the data set."""
    batch = batch_of(layout, totals, sample)
    number = number_of(layout, sample)
    return layout.paths[kind].format(**sample._replace(number=number)._asdict(), batch=batch)


def batch_of(layout: WrittenLayout, totals: Totals, sample: Sample) -> int:
    """Say into which archive, from 1, a sample is dealt: neighbours stay together.

    >>> layout = WrittenLayout({}, batches=4, batch_by="foreground")
    >>> samples = [Sample(0, foreground, 1, 0, 1) for foreground in (1, 2, 3, 8)]
    >>> [batch_of(layout, Totals(background=1, foreground=8, number=8), sample) for sample in samples]
    [1, 1, 2, 4]
    """
    dealt_by, total = getattr(sample, layout.batch_by), getattr(totals, layout.batch_by)
    return int(max(dealt_by - 1, 0) * layout.batches // total + 1)


def number_of(layout: WrittenLayout, sample: Sample) -> int:
    """The number in the names: the digits of the layout's order, or the running number.

    >>> number_of(WRITTEN_LAYOUTS["deepjyotisaha85"], Sample(7, foreground=16, background=1, flip=1, placement=19))
    638
    """
    if not layout.order:
        return sample.number
    number = 0
    for digit in layout.order:
        number = number * DIGITS[digit] + getattr(sample, digit) - (digit != _FLIP)
    return number + 1


def label_line(layout: WrittenLayout, totals: Totals, sample: Sample) -> str:
    """One line of the table of labels: the paths of a sample's pictures, below their archives, separated by tabs."""
    paths = (path_of(layout, totals, kind, sample) for kind in layout.labels)
    return "\t".join(path.rpartition(_ARCHIVE)[2] for path in paths) + "\n"


def encode_picture(picture: npt.NDArray[np.uint8], quality: int) -> bytes:
    """Encode (H, W), (H, W, 3) or (H, W, 4) as JPEG of a quality, 1 to 100, or as PNG where it is 0."""
    content = io.BytesIO()
    if quality:
        Image.fromarray(picture).save(content, "JPEG", quality=quality)
    else:
        Image.fromarray(picture).save(content, "PNG")
    return content.getvalue()


def put_on_white(cutout: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Show a cut-out, (H, W, 4) RGBA, where the layout has no alpha: (H, W, 3) on white."""
    image = Image.fromarray(cutout)
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


def write_files(out_dir: Path, files: Iterable[File]) -> None:
    """Write new files below a folder, those below a `.zip` into that archive."""
    archives: dict[str, zipfile.ZipFile] = {}
    with ExitStack() as open_archives:
        for path, content in files:
            archive, is_member, name = path.rpartition(_ARCHIVE)
            target = out_dir / (f"{archive}.zip" if is_member else path)
            if not is_member:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
                continue
            if archive not in archives:
                target.parent.mkdir(parents=True, exist_ok=True)
                archives[archive] = open_archives.enter_context(zipfile.ZipFile(target, "x"))
            archives[archive].writestr(_member(name), content)


def _member(name: str) -> zipfile.ZipInfo:
    """A member without a clock: stored as it is, dated as early as zip archives can say."""
    member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    member.external_attr = 0o644 << 16
    return member
