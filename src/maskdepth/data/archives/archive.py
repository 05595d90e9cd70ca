"""The archives of the raw folder: zips there or in an object store, and folders of loose files, all read in place."""

import hashlib
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from maskdepth.data.archives.local_headers import Member
from maskdepth.data.archives.remote import LIST_SUFFIX, Remote, read_list
from maskdepth.data.archives.zips import (
    MAX_MEMBER_BYTES,
    ZIP_SUFFIX,
    check_content,
    check_names,
    find_name_fault,
    list_zip,
    read_zipped,
)
from maskdepth.data.pictures.refusal import DAMAGED, RefusedError
from maskdepth.process.console import printable, readable_size

# Where files directly in the raw folder belong.
TOP_FILES = "files"

# [characters] A folder's name has at most 255 bytes.
_LONGEST_SHOWN = 48
# Missing archives that a warning names.
_SHOWN = 5
# What desktop systems leave behind, and hidden files.
_JUNK = re.compile(r"(?:^|/)(?:\.[^/]+|__MACOSX|Thumbs\.db|desktop\.ini)(?:/|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Archive:
    """A zip file, or the loose files below one folder.

    Attributes:
        name: Path below the raw folder, such as `batch1_images.zip`; to be shown as `printable_name`.
        raw_dir: The raw folder.
        is_zip: Whether it is a zip file.
        max_member_bytes: A larger file in it, unpacked, refuses it.
        remote: Where it is, if it is in an object store; its name is then where it would lie.
    """

    name: str
    raw_dir: Path
    is_zip: bool
    max_member_bytes: int = MAX_MEMBER_BYTES
    remote: Remote | None = None

    @property
    def stem(self) -> str:
        """The name without the suffix of a zip."""
        return self.name[: -len(ZIP_SUFFIX)] if self.is_zip else self.name

    @property
    def printable_name(self) -> str:
        """The name as tables and terminals can take it."""
        return printable(self.name)

    @property
    def shard(self) -> str:
        """Name of the folder of its arrays, which no other archive has on any file system.

        >>> Archive("batch1.zip", Path("data/raw"), is_zip=True).shard
        'batch1'
        >>> Archive("parts/Batch 1.zip", Path("data/raw"), is_zip=True).shard
        'parts-Batch_1-29e758f0'
        """
        shown = re.sub(r"[^\w.-]", "_", self.stem.replace("/", "-"))[:_LONGEST_SHOWN]
        if self.is_zip and shown == self.stem == shown.casefold():
            return shown
        # Shortened, changed, or different from another one in its case or kind alone.
        return f"{shown}-{hashlib.sha256(os.fsencode(self.name)).hexdigest()[:8]}"

    def path_of(self, member: Member) -> str:
        """Give a member's path below the raw folder; a zip counts as the folder that it would unpack to.

        >>> Archive("masks/m_1.zip", Path("data/raw"), is_zip=True).path_of(Member("bg_001/7.jpg", 9, 0, 9))
        'masks/m_1/bg_001/7.jpg'
        """
        return self.below(member.name)

    def below(self, name: str) -> str:
        """Do so for the name of one."""
        return f"{self.stem}/{name}" if self.is_zip else name

    def members(self) -> list[Member]:
        """List the members, those of a zip in its own order and loose files sorted, without hidden files.

        Raises:
            RefusedError: The archive is damaged or unsafe.
        """
        if fault := find_name_fault(self.name):
            raise RefusedError(f"it {fault}", "rename it", self.printable_name)
        try:
            members = self._list()
        except RefusedError as error:
            raise RefusedError(error.reason, error.cure, self.name) from error
        return [member for member in members if not _JUNK.search(member.name)]

    @contextmanager
    def opened(self, members: Sequence[Member]) -> Iterator[Callable[[Member], bytes]]:
        """Open the archive once, and give the function that reads one of these members or raises `RefusedError`.

        Raises:
            RefusedError: The zip, which was listed, cannot be opened any more.
        """
        if self.remote:
            with self.remote.opened(members) as read:
                yield read
            return
        if not self.is_zip:
            yield partial(_read_loose, self.raw_dir)
            return
        try:
            file = (self.raw_dir / self.name).open("rb")
        except OSError as error:
            raise RefusedError(f"cannot be opened any more: {error.strerror}", DAMAGED, self.name) from error
        with file:
            yield partial(read_zipped, file)

    def _list(self) -> list[Member]:
        if self.remote:
            return self.remote.list_members(self.max_member_bytes)
        return list_zip(self.raw_dir / self.name, self.max_member_bytes) if self.is_zip else self._list_loose()

    def _list_loose(self) -> list[Member]:
        try:
            names = [name for name in _walk(self.raw_dir, self._raise_own) if self._is_own(name)]
        except OSError as error:
            place = printable(os.fsdecode(error.filename))
            raise RefusedError(f"{place} cannot be listed: {error.strerror}", "check its permissions") from error
        check_names(names)
        return [_loose_member(self.raw_dir, name, self.max_member_bytes) for name in names]

    def _is_own(self, name: str) -> bool:
        return _is_loose(name) and _archive_of(name) == self.name

    def _raise_own(self, error: OSError) -> None:
        """Raise what happened in this archive's folder; what did in another one is that one's."""
        if (self.raw_dir / self.name) in (folder := Path(os.fsdecode(error.filename)), *folder.parents):
            raise error


def find_archives(raw_dir: Path, max_member_bytes: int = MAX_MEMBER_BYTES) -> list[Archive]:
    """Find every zip at any depth and all that lists name, and group the other files by their top folder.

    Args:
        raw_dir: Where they are.
        max_member_bytes: What may be in them.

    Returns:
        The archives sorted by name; no two share a shard.

    Raises:
        FileNotFoundError: There is no such folder, or nothing in it.
        RefusedError: A list of addresses cannot be used.
        ValueError: A folder is a link, or a list names what lies there.
    """
    cure = f"put your archives there, or run `maskdepth sample {raw_dir}` for the sample data"
    if not raw_dir.is_dir():
        raise FileNotFoundError(f"{raw_dir} is not a folder; {cure}")
    unlisted: list[OSError] = []
    lists: list[str] = []
    found: set[tuple[str, bool]] = set()
    for name in _walk(raw_dir, unlisted.append):
        if name.endswith(LIST_SUFFIX):
            lists.append(name)
        else:
            found.add((_archive_of(name), not _is_loose(name)))
    remotes = _read_lists(raw_dir, lists)
    found |= {(name, True) for name in remotes}
    for error in unlisted:  # to be refused for it, and no other one
        if (folder := Path(os.fsdecode(error.filename))) == raw_dir:
            raise error
        found.add((folder.relative_to(raw_dir).parts[0], False))
    if not found:
        raise FileNotFoundError(f"{raw_dir} is empty; {cure}")
    return [Archive(name, raw_dir, is_zip, max_member_bytes, remotes.get(name)) for name, is_zip in sorted(found)]


def list_members(archives: Iterable[Archive]) -> tuple[dict[Archive, list[Member]], dict[Archive, RefusedError]]:
    """List what each archive holds, or why it is refused; one bad archive does not harm the others."""
    members, refused = {}, {}
    for archive in archives:
        try:
            members[archive] = archive.members()
        except RefusedError as error:
            refused[archive] = error
    return members, refused


def describe_gaps(archives: Sequence[Archive]) -> list[str]:
    """Say which zips seem to be missing: between others whose names differ from theirs in one number alone.

    Where less than half of the numbers are there, they do not count the zips.

    >>> describe_gaps([Archive(f"part{number}.zip", Path("raw"), is_zip=True) for number in (1, 3, 4)])
    ['part2.zip is missing between part1.zip and part4.zip']
    """
    folders = {archive.name for archive in archives if not archive.is_zip}  # to which a zip was unpacked, perhaps
    sets: dict[tuple[str, str], dict[int, str]] = {}  # what stands around a number: the name for each number
    for name in (archive.printable_name for archive in archives if archive.is_zip):
        for digits in re.finditer("[0-9]+", name):
            sets.setdefault((name[: digits.start()], name[digits.end() :]), {})[int(digits[0])] = name
    gaps = []
    for (before, behind), names in sets.items():
        first, last = min(names), max(names)
        if last - first >= 2 * len(names):
            continue
        width = len(names[first]) - len(before) - len(behind)
        absent = (f"{before}{number:0{width}}{behind}" for number in range(first, last) if number not in names)
        missing = [name for name in absent if name.removesuffix(ZIP_SUFFIX) not in folders]
        if missing:
            told = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
            verb = "is" if len(missing) == 1 else "are"
            gaps.append(f"{told} {verb} missing between {names[first]} and {names[last]}")
    return gaps


def content_digest(members: Iterable[Member]) -> str:
    """Hash what the members hold (names, sizes and CRCs), not how they are packed."""
    digest = hashlib.sha256()
    for member in members:
        digest.update(f"{member.name}\0{member.size}\0{member.crc}\n".encode())
    return digest.hexdigest()


def _read_lists(raw_dir: Path, lists: Iterable[str]) -> dict[str, Remote]:
    """Read which zips the lists name, as if they lay beside their list."""
    remotes: dict[str, Remote] = {}
    for place in lists:
        try:
            named = read_list(raw_dir / place)
        except RefusedError as error:
            raise RefusedError(error.reason, error.cure, printable(str(raw_dir / place))) from error
        for name, remote in named.items():
            beside = (PurePosixPath(place).parent / name).as_posix()
            if beside in remotes or (raw_dir / beside).exists():
                raise ValueError(f"{printable(beside)} is there twice, once in the list {printable(place)}; keep one")
            remotes[beside] = remote
    return remotes


def _walk(raw_dir: Path, tell: Callable[[OSError], object]) -> Iterator[str]:
    """Yield the path of every file below the folder, sorted, without hidden ones; tell of folders without a listing."""
    for folder, folders, files in os.walk(raw_dir, onerror=tell):
        folders[:] = sorted(name for name in folders if not _JUNK.search(name))
        for name in folders:
            if _is_link(link := Path(folder) / name):
                raise ValueError(
                    f"{printable(str(link))} is a link to a folder, which DVC does not track; copy the folder itself"
                )
        for name in sorted(files):
            if not _JUNK.search(name):
                yield (Path(folder) / name).relative_to(raw_dir).as_posix()


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:  # too long a path, as its listing will say
        return False


def _is_loose(name: str) -> bool:
    return not name.lower().endswith(ZIP_SUFFIX)


def _archive_of(name: str) -> str:
    """Name the archive of a file: itself for a zip, else its top folder."""
    if not _is_loose(name):
        return name
    return name.split("/", maxsplit=1)[0] if "/" in name else TOP_FILES


def _loose_member(raw_dir: Path, name: str, max_bytes: int) -> Member:
    path = raw_dir / name
    try:
        # Links to files are followed: DVC may link what it tracks.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise RefusedError(f"{name!r} is not a regular file", "remove it")
        if status.st_size > max_bytes:
            sizes = f"{name!r} has {readable_size(status.st_size)}, over {readable_size(max_bytes)}"
            raise RefusedError(sizes, "remove it, or raise data.max_member_bytes")
        return Member(name, status.st_size, zlib.crc32(path.read_bytes()), status.st_size)
    except OSError as error:
        raise RefusedError(f"{name!r} cannot be read: {error.strerror}", "check its permissions") from error


def _read_loose(raw_dir: Path, member: Member) -> bytes:
    try:
        return check_content((raw_dir / member.name).read_bytes(), member)
    except OSError as error:
        raise RefusedError(f"cannot be read: {error.strerror}", DAMAGED) from error
