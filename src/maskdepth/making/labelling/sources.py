"""What is to be labelled with depth: the pictures of a folder, or composites that a table pairs with their background.

Pictures are read where they lie, also in zip archives: a zip counts as the folder that it would unpack to, and a file
that lies there comes first. A picture that cannot be read is refused alone; a table that cannot be right, or a damaged
archive, is an error before any work.
"""

import csv
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from maskdepth.data.files import (
    PICTURE_SUFFIXES,
    File,
    Zipped,
    find_pictures,
    finder_in,
    open_file,
)
from maskdepth.data.layouts.layout import Layout
from maskdepth.data.pictures.decoding import DECODE_ERRORS
from maskdepth.making.labelling.naming import find_layout, is_of_kind, name_as_depth, name_as_picture
from maskdepth.process.console import progress, warn

COLUMNS = ("composite", "background", "mask")

_ORIENTATION_TAG = 0x0112
_TURNED = (5, 6, 7, 8)

# Sources come sorted by background, which is all that they share: it was met a few files ago, or never.
NUM_REMEMBERED = 8


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
    composite: File
    background: File | None
    mask: File | None

    @property
    def is_paired(self) -> bool:
        """Whether the label can be aligned with a background."""
        return self.background is not None and self.mask is not None

    @property
    def files(self) -> list[File]:
        """Every file that the label is made of."""
        return [file for file in (self.composite, self.background, self.mask) if file]


def read_sources(pictures: Path, layout: str | None = None, *, backgrounds: bool = False) -> list[Source]:
    """List what is to be labelled, sorted by background so that each is looked at once.

    Args:
        pictures: A folder, of which every JPEG and PNG file counts, also in folders and archives below; or a CSV table
            with one row a composite. Its paths are relative to its own folder; composites must lie within that folder.
            Background and mask may be empty.
        layout: Name of a layout: only its composites count, and labels are named as it names their depth. None names
            labels as their pictures.
        backgrounds: Only the layout's backgrounds count, each once, and not its composites.

    Raises:
        FileNotFoundError: There is no such folder or table, or a file that the table names.
        ValueError: No picture, a table with other columns, two pictures that would have the same label, an unknown
            layout or none where backgrounds are wanted, pictures that it has no names for, two backgrounds of one
            number, or an archive that is damaged or unsafe.
    """
    if backgrounds and not layout:
        raise ValueError("which pictures are backgrounds, a layout says; name it with --layout")
    known = find_layout(layout) if layout else None
    if pictures.is_dir():
        sources = [_unpaired(name, file) for name, file in find_pictures(pictures).items()]
    elif pictures.is_file() and pictures.suffix.lower() == ".csv":
        sources = _read_table(pictures)
    else:
        raise FileNotFoundError(f"{pictures}: expected a folder of pictures, or a .csv table of {','.join(COLUMNS)}")
    if not sources:
        raise ValueError(f"{pictures} has no pictures; expected files in {', '.join(sorted(PICTURE_SUFFIXES))}")
    if known:
        sources = _name_by(known, sources, pictures, "background" if backgrounds else "composite")
    if known and backgrounds:
        sources = _drop_copies(known, sources)
    _check_names(sources)
    return sorted(sources, key=lambda source: (source.scene, source.name))


def _name_by(layout: Layout, sources: Sequence[Source], pictures: Path, kind: str) -> list[Source]:
    """Name the labels of the layout's pictures of one kind, and leave out all others."""
    chosen = [source for source in sources if is_of_kind(layout, source.name, kind)]
    if not chosen:
        raise ValueError(
            f"none of the {len(sources)} pictures of {pictures}, such as {sources[0].name}, is a {kind} of layout "
            f"{layout.name} ({layout.title}); name another layout, or none"
        )
    named = [source._replace(label=name_as_depth(layout, source.name) or "") for source in chosen]
    nameless = [source.name for source in named if not source.label]
    if len(nameless) == len(named):
        raise ValueError(f"layout {layout.name} has no name for the depth of any {kind}, such as {nameless[0]}")
    if len(chosen) < len(sources):
        warn(f"{len(sources) - len(chosen)} of {len(sources)} pictures are no {kind}s and get no label")
    if nameless:
        warn(f"{len(nameless)} {kind}s get no label: layout {layout.name} has no name for it; {nameless[0]} first")
    return [source for source in named if source.label]


def _drop_copies(layout: Layout, sources: Sequence[Source]) -> list[Source]:
    """Keep one of each background: some layouts have a copy in every archive.

    Raises:
        ValueError: Two of one number are not the same picture.
    """
    first: dict[int, Source] = {}
    for source in sources:
        recognised = layout.recognise(source.name)
        assert recognised
        other = first.setdefault(int(recognised.ids["background"]), source)
        if other is not source and identify_content(other.composite) != identify_content(source.composite):
            raise ValueError(f"{other.composite} and {source.composite} are one background and two pictures; keep one")
    return list(first.values())


def check_sizes(sources: Iterable[Source]) -> None:
    """Make sure that backgrounds and masks are as large as their composites, without decoding any.

    Files that cannot be read are passed over: they are reported when their turn comes.

    Raises:
        ValueError: One has another size.
    """
    read_size = lru_cache(NUM_REMEMBERED)(_read_size)
    for source in progress(list(sources), "looking at sizes"):
        if not source.is_paired:
            continue
        expected, *others = (read_size(file) for file in source.files)
        for file, size in zip(source.files[1:], others, strict=True):
            if expected and size and size != expected:
                raise ValueError(
                    f"{file} has {size[0]} x {size[1]} pixels, but {source.composite} has {expected[0]} x "
                    f"{expected[1]}; composite, background and mask must be of one size"
                )


def label_path(out: Path, source: Source) -> Path:
    """Say where the label of a picture lies."""
    return out / source.label


def identify_content(file: File) -> tuple[int, int]:
    """Give size [bytes] and CRC-32 of a file's content, by which it is known to be the same, zipped or not."""
    if isinstance(file, Zipped):
        return file.member.size, file.member.crc
    content = file.read_bytes()
    return len(content), zlib.crc32(content)


def _read_size(file: File) -> tuple[int, int] | None:
    """Read width and height of a picture that is turned upright; None where they cannot be read."""
    try:
        with open_file(file) as content, Image.open(content, formats=("JPEG", "PNG")) as image:
            # Asked of a PNG without EXIF at its head, Pillow decodes all of it to look for one at its end.
            turned = (image.format == "JPEG" or "exif" in image.info) and image.getexif().get(_ORIENTATION_TAG)
            return image.size[::-1] if turned in _TURNED else image.size
    except (*DECODE_ERRORS, Image.DecompressionBombError):
        return None


def _unpaired(name: str, file: File) -> Source:
    return Source(name, name_as_picture(name), "", file, None, None)


def _read_table(table: Path) -> list[Source]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    header = tuple(rows[0]) if rows else ()
    if header != COLUMNS:
        raise ValueError(f"{table} has the columns {','.join(header)}; expected {','.join(COLUMNS)}")
    find_file = finder_in(table.parent)
    return [_read_row(table, number, row, find_file) for number, row in enumerate(rows[1:], start=2) if row]


def _read_row(table: Path, number: int, row: Sequence[str], find_file: Callable[[str], File | None]) -> Source:
    if len(row) != len(COLUMNS) or not row[0]:
        raise ValueError(f"{table} line {number}: {','.join(row)}; expected {','.join(COLUMNS)}")
    if Path(row[0]).is_absolute() or ".." in Path(row[0]).parts:
        raise ValueError(
            f"{table} line {number}: the composite {row[0]} lies outside the table's folder; put the table into a "
            "folder that holds all composites"
        )
    composite, background, mask = files = [find_file(name) if name else None for name in row]
    for name, file in zip(row, files, strict=True):
        if name and not file:
            path = table.parent / name
            raise FileNotFoundError(f"{table} line {number}: {path} is missing; paths are relative to {table.parent}")
    assert composite
    name = Path(row[0]).as_posix()
    return Source(name, name_as_picture(name), row[1], composite, background, mask)


def _check_names(sources: Iterable[Source]) -> None:
    first: dict[str, Source] = {}
    for source in sources:
        other = first.setdefault(source.label, source)
        if other is not source:
            raise ValueError(
                f"{other.composite} and {source.composite} would have the same label, "
                f"{source.label}; name each picture once, and rename those that differ in suffix only"
            )
