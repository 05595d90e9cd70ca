"""What is to be labelled with depth: the pictures of a folder, or composites that a table pairs with their background.

Pictures are read where they lie, also in zip archives: a zip counts as the folder that it would unpack to, and a file
that lies there comes first. A picture that cannot be read is refused alone; a table that cannot be right, or a damaged
archive, is an error before any work.
"""

import csv
import io
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache, partial
from itertools import product
from pathlib import Path, PurePath
from typing import BinaryIO, NamedTuple, TypeVar

from PIL import Image

from maskdepth.data.archives.archive import Archive
from maskdepth.data.archives.local_headers import Member
from maskdepth.data.layouts.layout import Layout
from maskdepth.data.pictures.decoding import DECODE_ERRORS, decode_colour, decode_mask, decode_whole
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.making.labelling.alignment import Marked
from maskdepth.making.labelling.naming import find_layout, is_composite, name_as_depth, name_as_picture
from maskdepth.process.console import progress, warn

COLUMNS = ("composite", "background", "mask")

_SUFFIXES = {".jpg", ".jpeg", ".png"}

_ORIENTATION_TAG = 0x0112
_TURNED = (5, 6, 7, 8)

_ZIP_SUFFIXES = (".zip", ".ZIP")
# Sources come sorted by background, which is all that they share: it was met a few files ago, or never.
NUM_REMEMBERED = 8


class Zipped(NamedTuple):
    """A file in an archive."""

    archive: Archive
    member: Member

    def __str__(self) -> str:
        """Say where it lies, for people.

        >>> str(Zipped(Archive("b1.zip", Path("data/raw"), is_zip=True), Member("bg_jpg/7.jpg", 9, 0, 9)))
        'data/raw/b1.zip/bg_jpg/7.jpg'
        """
        return str(self.archive.raw_dir / self.archive.name / self.member.name)


File = Path | Zipped
Decoded = TypeVar("Decoded")


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


def read_sources(pictures: Path, layout: str | None = None) -> list[Source]:
    """List what is to be labelled, sorted by background so that each is looked at once.

    Args:
        pictures: A folder, of which every JPEG and PNG file counts, also in folders and archives below; or a CSV table
            with one row a composite. Its paths are relative to its own folder; composites must lie within that folder.
            Background and mask may be empty.
        layout: Name of a layout: only its composites count, and labels are named as it names their depth. None names
            labels as their pictures.

    Raises:
        FileNotFoundError: There is no such folder or table, or a file that the table names.
        ValueError: No picture, a table with other columns, two pictures that would have the same label, an unknown
            layout, pictures that it has no names for, or an archive that is damaged or unsafe.
    """
    known = find_layout(layout) if layout else None
    if pictures.is_dir():
        sources = [_unpaired(name, file) for name, file in _find_pictures(pictures).items()]
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


def read_colour(file: File) -> Image.Image:
    """Read a picture as RGB of 8 bits, at its own size.

    Raises:
        RefusedError: It cannot be read or decoded, or is too large; names it.
    """
    return _decoded(file, decode_colour)


def read_mask(file: File) -> Marked:
    """Read a mask as (H, W), True on the object; `read_colour` says what it raises."""
    return _decoded(file, decode_mask)


def read_whole(file: File) -> Image.Image:
    """Read a picture as it is stored, upright; `read_colour` says what it raises."""
    return _decoded(file, decode_whole)


def _decoded(file: File, decode: Callable[[bytes], Decoded]) -> Decoded:
    try:
        with _open(file) as content:
            return decode(content.read())
    except RefusedError as error:
        raise RefusedError(error.reason, error.cure, str(file)) from error
    except OSError as error:
        raise RefusedError(f"it cannot be read: {error.strerror}", "replace it", str(file)) from error


def identify_content(file: File) -> tuple[int, int]:
    """Give size [bytes] and CRC-32 of a file's content, by which it is known to be the same, zipped or not."""
    if isinstance(file, Zipped):
        return file.member.size, file.member.crc
    content = file.read_bytes()
    return len(content), zlib.crc32(content)


def _open(file: File) -> BinaryIO:
    """Open a file, or what an archive holds of it; an archive is closed again, as files are."""
    if not isinstance(file, Zipped):
        return file.open("rb")
    with file.archive.opened() as read:
        return io.BytesIO(read(file.member))


def _read_size(file: File) -> tuple[int, int] | None:
    """Read width and height of a picture that is turned upright; None where they cannot be read."""
    try:
        with _open(file) as content, Image.open(content, formats=("JPEG", "PNG")) as image:
            # Asked of a PNG without EXIF at its head, Pillow decodes all of it to look for one at its end.
            turned = (image.format == "JPEG" or "exif" in image.info) and image.getexif().get(_ORIENTATION_TAG)
            return image.size[::-1] if turned in _TURNED else image.size
    except (*DECODE_ERRORS, Image.DecompressionBombError):
        return None


def _find_pictures(folder: Path) -> dict[str, File]:
    """Find all pictures below a folder that are not hidden, sorted by their paths below it."""
    loose: dict[str, File] = {}
    zipped: dict[str, File] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if any(part.startswith(".") for part in name.parts) or not path.is_file():
            continue
        if path.suffix in _ZIP_SUFFIXES:
            zipped |= _list_archive(folder, name.as_posix())
        else:
            loose[name.as_posix()] = path
    found = zipped | loose
    return {name: found[name] for name in sorted(found) if PurePath(name).suffix.lower() in _SUFFIXES}


def _list_archive(folder: Path, name: str) -> dict[str, File]:
    """List the files of an archive by the paths below the folder that they would unpack to; none if it is missing."""
    path = folder / name
    if not path.is_file():
        return {}
    archive = Archive(path.name, path.parent, is_zip=True)
    above = PurePath(name).parent
    return {(above / archive.path_of(member)).as_posix(): Zipped(archive, member) for member in archive.members()}


def _unpaired(name: str, file: File) -> Source:
    return Source(name, name_as_picture(name), "", file, None, None)


def _read_table(table: Path) -> list[Source]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    header = tuple(rows[0]) if rows else ()
    if header != COLUMNS:
        raise ValueError(f"{table} has the columns {','.join(header)}; expected {','.join(COLUMNS)}")
    find_file = partial(_find_file, table.parent, cache(partial(_list_archive, table.parent)))
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


def _find_file(folder: Path, list_archive: Callable[[str], dict[str, File]], name: str) -> File | None:
    """Find a file by its path relative to a folder, or the member of an archive that would unpack to it."""
    path = Path(name)
    if (folder / path).is_file():
        return folder / path
    for above, suffix in product(path.parents[:-1], _ZIP_SUFFIXES):
        if file := list_archive(f"{above}{suffix}").get(path.as_posix()):
            return file
    return None


def _check_names(sources: Iterable[Source]) -> None:
    first: dict[str, Source] = {}
    for source in sources:
        other = first.setdefault(source.label, source)
        if other is not source:
            raise ValueError(
                f"{other.composite} and {source.composite} would have the same label, "
                f"{source.label}; name each picture once, and rename those that differ in suffix only"
            )
