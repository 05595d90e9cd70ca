"""Writing a data set as one of the known layouts: what its files are called, and into which archive each goes.

Archives are written as their members come, so no archive is ever held in memory, and without a clock: the same
pictures make the same bytes.
"""

import io
import zipfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from maskdepth.data.layouts.layout import read_definitions
from maskdepth.process.console import suggest

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
    """How to name the files of a data set: the table `write` of a layout's TOML file.

    Attributes:
        paths: Template of the path of each kind of picture, with the fields of `Sample`, and `batch`; what comes before
            `.zip/` is the archive.
        order: Digits, outermost first, of the number in the names; empty for the running number.
        batches: Into how many archives the composites are dealt.
        batch_by: By what they are dealt.
        mirrors: Whether every other composite shows its object mirrored.
        labels: Columns, each a kind, of a table `labels.txt` of paths.
        largest: Composites in an archive, at most, as far as its ids can be parted; about as many as its makers had.
        first: What the first background, object and running number are called; others count on from there.
    """

    paths: dict[str, str]
    largest: int
    order: tuple[str, ...] = ()
    batches: int = 1
    batch_by: Literal["foreground", "background", "number"] = "number"
    mirrors: bool = True
    labels: tuple[str, ...] = ()
    first: int = 1

    def fill(self, kind: str, sample: Sample, batch: int) -> str:
        """Fill in the path of a picture, whose numbers count on from `first`."""
        shift = self.first - 1
        foreground, background = sample.foreground + shift, sample.background + shift
        named = sample._replace(number=sample.number + shift, foreground=foreground, background=background)
        return self.paths[kind].format(**named._asdict(), batch=batch)


@cache
def written_layouts(*, composed: bool = False) -> dict[str, WrittenLayout]:
    """Give every layout that can be written, by name.

    Args:
        composed: For a composed data set. There a placement is called the same however many others there are, so that a
            running number follows from the ids, and archives end where a background or a foreground does.
    """
    tables = {name: definition["write"] for name, definition in read_definitions().items() if "write" in definition}
    return {name: _written_layout(table, composed) for name, table in tables.items()}


def find_written(name: str, *, composed: bool = False) -> WrittenLayout:
    """Give the layout of a name.

    Raises:
        ValueError: There is none that can be written; says which there are.
    """
    known = written_layouts(composed=composed)
    if name not in known:
        raise ValueError(f"unknown layout {name!r}; {suggest(name, known)}")
    return known[name]


def _written_layout(table: dict[str, Any], composed: bool) -> WrittenLayout:
    own = dict(table["compose"])
    chosen = table | (own if composed else {"largest": own["largest"]}) | {"paths": table["paths"]}
    if composed:
        chosen["paths"] = table["paths"] | own.get("paths", {})
    tuples = {name: tuple(value) for name, value in chosen.items() if isinstance(value, list)}
    return WrittenLayout(**{name: value for name, value in (chosen | tuples).items() if name != "compose"})


def path_of(layout: WrittenLayout, totals: Totals, kind: str, sample: Sample) -> str:
    """Path of a picture of one sample below the data set."""
    return layout.fill(kind, sample._replace(number=number_of(layout, sample)), batch_of(layout, totals, sample))


def batch_of(layout: WrittenLayout, totals: Totals, sample: Sample) -> int:
    """Say into which archive, from 1, a sample is dealt: neighbours stay together.

    >>> layout = WrittenLayout({}, largest=8, batches=4, batch_by="foreground")
    >>> samples = [Sample(0, foreground, 1, 0, 1) for foreground in (1, 2, 3, 8)]
    >>> [batch_of(layout, Totals(background=1, foreground=8, number=8), sample) for sample in samples]
    [1, 1, 2, 4]
    """
    dealt_by, total = getattr(sample, layout.batch_by), getattr(totals, layout.batch_by)
    return int(max(dealt_by - 1, 0) * layout.batches // total + 1)


def number_of(layout: WrittenLayout, sample: Sample) -> int:
    """The number in the names: the digits of the layout's order, or the running number.

    >>> number_of(find_written("deepjyotisaha85"), Sample(7, foreground=16, background=1, flip=1, placement=19))
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
