"""Zips in an object store, read in ranges where they are and never copied whole.

A list in the raw folder names them, a line each: address and ETag, which is what DVC tracks. An object that is another
one by now is refused, as data that changed without a word would be a result without a source.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from maskdepth.data.archives.local_headers import Member
from maskdepth.data.archives.zips import ZIP_SUFFIX, list_open_zip, read_zipped
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.data.stores import etag_of, explaining, open_store
from maskdepth.process.files import replace_text

LIST_SUFFIX = ".urls"

_UNKNOWN_ETAG = "-"
# [bytes] What a listing reads at once, and the most that is asked for at once; what lies between two members that is
# not worth a second request, which costs some ten milliseconds.
_LISTED_BYTES, _MOST_BYTES, _GAP_BYTES = 2**17, 2**25, 2**16


@dataclass(frozen=True)
class Remote:
    """A zip in an object store.

    Attributes:
        url: Its address, such as s3://bucket/raw/batch1.zip.
        etag: Of the object that is meant; "" for whatever is there.
    """

    url: str
    etag: str

    def list_members(self, max_member_bytes: int) -> list[Member]:
        """List the members; reads the directory alone.

        Raises:
            RefusedError: It cannot be read, is another object than was meant, or as `list_zip` says.
        """
        with explaining():
            files, path = open_store(self.url)
            with files.open(path, cache_type="readahead", block_size=_LISTED_BYTES) as file:
                self._require_meant(file)
                return list_open_zip(cast("BinaryIO", file), max_member_bytes)

    @contextmanager
    def opened(self, members: Sequence[Member]) -> Iterator[Callable[[Member], bytes]]:
        """Give the function that reads one of these members; those that lie together are fetched together.

        Raises:
            RefusedError: The object cannot be opened any more, or is another one than was meant.
        """
        blocks = {member.offset: block for block, some in _cut_blocks(members) for member in some}
        with explaining():
            files, path = open_store(self.url)
            file = files.open(path, cache_type="none")
            self._require_meant(file)

        @lru_cache(maxsize=1)
        def fetch(start: int, end: int) -> bytes:
            with explaining():
                file.seek(start)
                return cast("bytes", file.read(end - start))

        def read(member: Member) -> bytes:
            start, end = blocks[member.offset]
            moved = member._replace(offset=member.offset - start, end=member.end - start)
            return read_zipped(BytesIO(fetch(start, end)), moved)

        with file:
            yield read

    def _require_meant(self, file: Any) -> None:
        """Refuse an opened object that is another one than was meant, by what opening it has asked for."""
        if self.etag and self.etag != etag_of(file.details):
            raise RefusedError("it is another object than the list names", "list it again with `maskdepth link`")


def read_list(path: Path) -> dict[str, Remote]:
    """Read which zips a list names, by their names: their addresses behind the folder that they share.

    Raises:
        RefusedError: It cannot be read, names no zip, or one twice.
    """
    remotes = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"cannot be read: {error}", "write one address a line, in UTF-8") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        url, *etag = line.split()
        if "://" not in url or not url.lower().endswith(ZIP_SUFFIX) or len(etag) > 1:
            raise RefusedError(
                f"line {number} is no address of a zip", "write s3://bucket/name.zip a line, or `maskdepth link`"
            )
        remotes.append(Remote(url, "" if etag in ([], [_UNKNOWN_ETAG]) else etag[0]))
    if not remotes:
        raise RefusedError("it names no zip", "write one address a line")
    paths = [PurePosixPath(remote.url.split("://", 1)[1]) for remote in remotes]
    depth = 0
    while all(len(one.parts) > depth + 1 and one.parts[depth] == paths[0].parts[depth] for one in paths):
        depth += 1
    named = {"/".join(one.parts[depth:]): remote for one, remote in zip(paths, remotes, strict=True)}
    if len(named) < len(remotes):
        raise RefusedError("it names a zip twice", "take one of the lines away")
    return named


def link(prefix: str, path: Path) -> int:
    """Write a list of all zips below an address, with their ETags; give their number.

    Raises:
        RefusedError: The store cannot be read.
        ValueError: There is no zip, or the list has another suffix.
    """
    if path.suffix != LIST_SUFFIX:
        raise ValueError(f"{path}: a list of addresses ends in {LIST_SUFFIX}")
    with explaining(prefix):
        files, root = open_store(prefix)
        found = files.find(root, detail=True)
    protocol = prefix.split("://", 1)[0]
    zips = {name: info for name, info in sorted(found.items()) if name.lower().endswith(ZIP_SUFFIX)}
    if not zips:
        raise ValueError(f"{prefix}: found {len(found):,} objects, none of them a zip")
    lines = [f"{protocol}://{name} {etag_of(info) or _UNKNOWN_ETAG}\n" for name, info in zips.items()]
    replace_text(path, "".join(lines))
    return len(zips)


def _cut_blocks(members: Iterable[Member]) -> list[tuple[tuple[int, int], list[Member]]]:
    """Put members that lie together into blocks (start, end), each small enough to be held."""
    blocks: list[tuple[tuple[int, int], list[Member]]] = []
    for member in sorted(members, key=lambda member: member.offset):
        if blocks:
            (start, end), some = blocks[-1]
            if member.offset - end <= _GAP_BYTES and member.end - start <= _MOST_BYTES:
                some.append(member)
                blocks[-1] = (start, max(end, member.end)), some
                continue
        blocks.append(((member.offset, member.end), [member]))
    return blocks
