"""Pictures where they lie, on the disk or in zip archives: a zip counts as the folder that it would unpack to.

A picture that cannot be read is refused alone; a damaged archive is an error before any work.
"""

import io
from collections.abc import Callable
from functools import cache, partial
from itertools import product
from pathlib import Path, PurePath
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from maskdepth.data.archives.archive import Archive
from maskdepth.data.archives.local_headers import Member
from maskdepth.data.pictures.decoding import decode_colour, decode_mask, decode_whole
from maskdepth.data.pictures.refusal import RefusedError

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})

_ZIP_SUFFIXES = (".zip", ".ZIP")


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


def open_file(file: File) -> BinaryIO:
    """Open a file, or what an archive holds of it; an archive is closed again, as files are.

    Raises:
        RefusedError: The archive is damaged, or no longer what it was when it was listed.
        OSError: The file cannot be opened.
    """
    if not isinstance(file, Zipped):
        return file.open("rb")
    with file.archive.opened([file.member]) as read:
        return io.BytesIO(read(file.member))


def read_colour(file: File) -> Image.Image:
    """Read a picture as RGB of 8 bits, at its own size.

    Raises:
        RefusedError: It cannot be read or decoded, or is too large; names it.
    """
    return _decoded(file, decode_colour)


def read_mask(file: File) -> npt.NDArray[np.bool_]:
    """Read a mask as (H, W), True on the object; `read_colour` says what it raises."""
    return _decoded(file, decode_mask)


def read_whole(file: File) -> Image.Image:
    """Read a picture as it is stored, upright; `read_colour` says what it raises."""
    return _decoded(file, decode_whole)


def find_files(folder: Path) -> dict[str, File]:
    """Find all files below a folder and in its archives that are not hidden, by their paths below it, sorted.

    A file that lies where an archive would unpack another one comes first.

    Raises:
        RefusedError: An archive is damaged or unsafe.
    """
    loose: dict[str, File] = {}
    zipped: dict[str, File] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if any(part.startswith(".") for part in name.parts) or not path.is_file():
            continue
        if path.suffix in _ZIP_SUFFIXES:
            zipped |= list_archive(folder, name.as_posix())
        else:
            loose[name.as_posix()] = path
    found = zipped | loose
    return {name: found[name] for name in sorted(found)}


def find_pictures(folder: Path) -> dict[str, File]:
    """Find those of `find_files` that are called as pictures are."""
    return {name: file for name, file in find_files(folder).items() if is_picture_name(name)}


def is_picture_name(name: str) -> bool:
    """Tell whether a file is called as pictures are.

    >>> is_picture_name("rooms/7.JPG"), is_picture_name("labels.txt")
    (True, False)
    """
    return PurePath(name).suffix.lower() in PICTURE_SUFFIXES


def list_archive(folder: Path, name: str) -> dict[str, File]:
    """List the files of an archive by the paths below the folder that they would unpack to; none if it is missing.

    Raises:
        RefusedError: It is damaged or unsafe.
    """
    path = folder / name
    if not path.is_file():
        return {}
    archive = Archive(path.name, path.parent, is_zip=True)
    above = PurePath(name).parent
    return {(above / archive.path_of(member)).as_posix(): Zipped(archive, member) for member in archive.members()}


def finder_in(folder: Path) -> Callable[[str], File | None]:
    """Give a function that finds a file by its path below a folder, on the disk or in an archive; None if missing.

    It lists each archive once, and raises `RefusedError` where one on the way is damaged or unsafe.
    """
    return partial(_find_file, folder, cache(partial(list_archive, folder)))


def _find_file(folder: Path, list_archive: Callable[[str], dict[str, File]], name: str) -> File | None:
    path = Path(name)
    if (folder / path).is_file():
        return folder / path
    for above, suffix in product(path.parents[:-1], _ZIP_SUFFIXES):
        if file := list_archive(f"{above}{suffix}").get(path.as_posix()):
            return file
    return None


def _decoded(file: File, decode: Callable[[bytes], Decoded]) -> Decoded:
    try:
        with open_file(file) as content:
            return decode(content.read())
    except RefusedError as error:
        raise RefusedError(error.reason, error.cure, str(file)) from error
    except OSError as error:
        raise RefusedError(f"it cannot be read: {error.strerror}", "replace it", str(file)) from error
