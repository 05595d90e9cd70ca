"""What is to be labelled with depth: the pictures of a folder, or composites that a table pairs with their background.

A picture that cannot be read is refused alone; a table that cannot be right is an error before any work.
"""

import csv
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageOps

from maskdepth.console import track, warn
from maskdepth.data.layouts import Layout
from maskdepth.data.pictures import MASK_THRESHOLD, MAX_PIXELS
from maskdepth.data.zips import RefusedError
from maskdepth.labelling.alignment import Marked
from maskdepth.labelling.naming import find_layout, is_composite, name_as_depth, name_as_picture

COLUMNS = ("composite", "background", "mask")

_SUFFIXES = {".jpg", ".jpeg", ".png"}
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK")
# All that Pillow was seen to raise on damaged pictures.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, Image.DecompressionBombError)

_ORIENTATION_TAG = 0x0112
_TURNED = (5, 6, 7, 8)


class Source(NamedTuple):
    """A picture that wants a label, and what the label is aligned with.

    Attributes:
        name: Path of the picture below its folder, "/" between folders.
        label: Path of its label below theirs, likewise.
        scene: The background as its table names it; "" where there is none.
        composite: File of the picture.
        background: File of the same scene without the object; None where there is none.
        mask: File of the object's mask; None where there is none.
    """

    name: str
    label: str
    scene: str
    composite: Path
    background: Path | None
    mask: Path | None

    @property
    def is_paired(self) -> bool:
        """Whether the label can be aligned with a background."""
        return self.background is not None and self.mask is not None

    @property
    def files(self) -> list[Path]:
        """Every file that the label is made of."""
        return [path for path in (self.composite, self.background, self.mask) if path]


def read_sources(pictures: Path, layout: str | None = None) -> list[Source]:
    """List what is to be labelled, sorted by background so that each is looked at once.

    Args:
        pictures: A folder, of which every JPEG and PNG file counts, also in folders below; or a CSV table with one row
            a composite. Its paths are relative to its own folder; composites must lie within that folder. Background
            and mask may be empty.
        layout: Name of a layout: only its composites count, and labels are named as it names their depth. None names
            labels as their pictures.

    Raises:
        FileNotFoundError: There is no such folder or table, or a file that the table names.
        ValueError: No picture, a table with other columns, two pictures that would have the same label, an unknown
            layout, or pictures that it has no names for.
    """
    known = find_layout(layout) if layout else None
    if pictures.is_dir():
        sources = [_unpaired(pictures, path) for path in _find_pictures(pictures)]
    elif pictures.is_file() and pictures.suffix.lower() == ".csv":
        sources = _read_table(pictures)
    else:
        raise FileNotFoundError(f"{pictures}: expected a folder of pictures, or a .csv table of {','.join(COLUMNS)}")
    if not sources:
        raise ValueError(f"{pictures} has no pictures; expected files in {', '.join(sorted(_SUFFIXES))}")
    if known:
        sources = _name_by(known, sources, pictures)
    _check_names(sources)
    return sorted(sources, key=lambda source: (source.scene, source.name))


def _name_by(layout: Layout, sources: Sequence[Source], pictures: Path) -> list[Source]:
    """Name the labels of the layout's composites, and leave out all other pictures."""
    composites = [source for source in sources if is_composite(layout, source.name)]
    if not composites:
        raise ValueError(
            f"none of the {len(sources)} pictures of {pictures}, such as {sources[0].name}, is a composite of layout "
            f"{layout.name} ({layout.title}); name another layout, or none"
        )
    named = [source._replace(label=name_as_depth(layout, source.name) or "") for source in composites]
    nameless = [source.name for source in named if not source.label]
    if len(nameless) == len(named):
        raise ValueError(f"layout {layout.name} has no name for the depth of any composite, such as {nameless[0]}")
    if len(composites) < len(sources):
        warn(f"{len(sources) - len(composites)} of {len(sources)} pictures are no composites and get no label")
    if nameless:
        warn(f"{len(nameless)} composites get no label: layout {layout.name} has no name for it; {nameless[0]} first")
    return [source for source in named if source.label]


def check_sizes(sources: Iterable[Source]) -> None:
    """Make sure that backgrounds and masks are as large as their composites, looking at the heads of the files only.

    Files that cannot be read are passed over: they are reported when their turn comes.

    Raises:
        ValueError: One has another size.
    """
    read_size = cache(_read_size)
    for source in track(list(sources), "looking at sizes"):
        if not source.is_paired:
            continue
        expected, *others = (read_size(path) for path in source.files)
        for path, size in zip(source.files[1:], others, strict=True):
            if expected and size and size != expected:
                raise ValueError(
                    f"{path} has {size[0]} x {size[1]} pixels, but {source.composite} has {expected[0]} x "
                    f"{expected[1]}; composite, background and mask must be of one size"
                )


def label_path(out: Path, source: Source) -> Path:
    """Say where the label of a picture lies."""
    return out / source.label


def decode_colour(path: Path) -> Image.Image:
    """Decode a picture to RGB; `decode` says what it refuses."""
    image = decode(path)
    if image.mode not in _MODES:  # Pillow would clip what is deeper than 8 bits
        raise RefusedError(f"its colour mode is {image.mode}", "convert it to RGB with 8 bits", str(path))
    return image.convert("RGB")


def decode_mask(path: Path) -> Marked:
    """Decode a mask to (H, W), True on the object; `decode` says what it refuses."""
    image = decode(path)
    if image.mode not in _MODES:
        raise RefusedError(f"its colour mode is {image.mode}", "convert it to grey with 8 bits", str(path))
    return np.asarray(image.convert("L")) > MASK_THRESHOLD


def decode(path: Path) -> Image.Image:
    """Decode a whole picture and turn it upright.

    Raises:
        RefusedError: It is damaged, no picture, or too large.
    """
    # Any library may have switched this on; half a picture would then come back filled up with grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise RefusedError(f"it has {image.width} x {image.height} pixels", "shrink it", str(path))
            image.load()
            return ImageOps.exif_transpose(image)
    except RefusedError:
        raise
    except _DECODE_ERRORS as error:
        raise RefusedError(f"it cannot be decoded: {error}", "replace it", str(path)) from error


def _read_size(path: Path) -> tuple[int, int] | None:
    """Read width and height of a picture that is turned upright; None where they cannot be read."""
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            # Asked of a PNG without EXIF at its head, Pillow decodes all of it to look for one at its end.
            turned = (image.format == "JPEG" or "exif" in image.info) and image.getexif().get(_ORIENTATION_TAG)
            return image.size[::-1] if turned in _TURNED else image.size
    except _DECODE_ERRORS:
        return None


def _find_pictures(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _unpaired(folder: Path, path: Path) -> Source:
    name = path.relative_to(folder).as_posix()
    return Source(name, name_as_picture(name), "", path, None, None)


def _read_table(table: Path) -> list[Source]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    header = tuple(rows[0]) if rows else ()
    if header != COLUMNS:
        raise ValueError(f"{table} has the columns {','.join(header)}; expected {','.join(COLUMNS)}")
    return [_read_row(table, number, row) for number, row in enumerate(rows[1:], start=2) if row]


def _read_row(table: Path, number: int, row: Sequence[str]) -> Source:
    if len(row) != len(COLUMNS) or not row[0]:
        raise ValueError(f"{table} line {number}: {','.join(row)}; expected {','.join(COLUMNS)}")
    if Path(row[0]).is_absolute() or ".." in Path(row[0]).parts:
        raise ValueError(
            f"{table} line {number}: the composite {row[0]} lies outside the table's folder; put the table into a "
            "folder that holds all composites"
        )
    composite, background, mask = (table.parent / name if name else None for name in row)
    assert composite
    name = Path(row[0]).as_posix()
    source = Source(name, name_as_picture(name), row[1], composite, background, mask)
    for path in source.files:
        if not path.is_file():
            raise FileNotFoundError(f"{table} line {number}: {path} is missing; paths are relative to {table.parent}")
    return source


def _check_names(sources: Iterable[Source]) -> None:
    first: dict[str, Source] = {}
    for source in sources:
        other = first.setdefault(source.label, source)
        if other is not source:
            raise ValueError(
                f"{other.composite} and {source.composite} would have the same label, "
                f"{source.label}; name each picture once, and rename those that differ in suffix only"
            )
