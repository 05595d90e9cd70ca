"""One zip file, read in place: its directory is checked before the first member, each member against size and CRC.

Archives come from anywhere, and Python's zipfile renames what it should refuse and cuts what it should report. Nothing
here is ever extracted, so a bad name can do no harm; it is refused because the archive is then not what it seems.
"""

import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from maskdepth.data.archives.local_headers import (
    ENCRYPTED_FLAG,
    HEADER,
    LONGEST_DESCRIPTOR,
    LONGEST_EXTRA,
    REPACK,
    UTF8_FLAG,
    Member,
    find_name,
    unwrap,
)
from maskdepth.data.pictures.refusal import DAMAGED, RefusedError
from maskdepth.process.console import readable_size

ZIP_SUFFIX = ".zip"

# The largest legitimate member is a labels file of some 50 MB; a picture stays well below 10 MB. Where params.yaml is
# read, it says how many.
MAX_MEMBER_BYTES = 256_000_000
# The largest known data set has 1.2 million members in all; each costs half a kilobyte of memory.
MAX_MEMBERS = 2_000_000
# Its directory has 60 to 200 bytes for each.
MAX_DIRECTORY_BYTES = 2**29
# Pictures hardly shrink and labels shrink tenfold; only small blank pictures shrink more than this.
MAX_RATIO = 200
RATIO_FROM_BYTES = 2**20
# [characters] No data set comes near it.
MAX_NAME = 1024

_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_ENTRY_MARK, _ENTRY_SIZE = b"PK\x01\x02", 46
_END_RECORD = struct.Struct("<4s4H2IH")
_END_LOCATOR_64 = struct.Struct("<4sIQI")
_END_RECORD_64 = struct.Struct("<4sQ2H2I4Q")
_LONGEST_COMMENT = 0xFFFF

# Control characters and those that turn the reading direction garble logs and hide what a name says; halves of
# surrogate pairs, bytes that are not UTF-8, cannot be written to a table.
_UNSAFE_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# All that zipfile was seen to raise on damaged archives; ValueError includes UnicodeDecodeError.
_ZIP_ERRORS = (zipfile.BadZipFile, ValueError, zlib.error, NotImplementedError, EOFError, OSError, RuntimeError)


def list_zip(path: Path, max_member_bytes: int = MAX_MEMBER_BYTES) -> list[Member]:
    """Read the directory of a zip, and refuse the zip if anything in it is unsafe or untrue.

    Args:
        path: The zip.
        max_member_bytes: A larger member, unpacked, is refused.

    Returns:
        The members that are files, in the order of the directory.

    Raises:
        RefusedError: The zip is damaged, incomplete, encrypted, or has members no ordinary program packs.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe is to wait for whoever writes to it
            raise RefusedError("it is not a regular file", "remove it")
        with path.open("rb") as file:
            return list_open_zip(file, max_member_bytes)
    except OSError as error:
        raise _unreadable(error) from error


def list_open_zip(file: BinaryIO, max_member_bytes: int = MAX_MEMBER_BYTES) -> list[Member]:
    """Do what `list_zip` does with a zip that is open already.

    Raises:
        OSError: It cannot be read.
        RefusedError: As `list_zip`.
    """
    infos, directory_start = _read_directory(file)
    # zipfile cuts a name at its first NUL; the name as stored is the one to check.
    names = [_name_of(info) for info in infos]
    check_names(names)
    for info in infos:
        _check_kind(info)
        _check_sizes(info, max_member_bytes)
    ends = _find_ends(infos, directory_start)
    return [_as_member(info, name, ends) for info, name in zip(infos, names, strict=True) if not info.is_dir()]


def read_zipped(file: BinaryIO, member: Member) -> bytes:
    """Read one member of an open zip.

    Raises:
        RefusedError: Its bytes cannot be read, or are not those that the directory announced.
    """
    try:
        file.seek(member.offset)
        record = file.read(member.end - member.offset)
    except OSError as error:
        raise _unreadable(error) from error
    data = unwrap(record, member)
    return check_content(_inflate(data, member.size) if member.method == _DEFLATED else data, member)


def check_content(data: bytes, member: Member) -> bytes:
    """Give back the bytes of a member if they are whole.

    Decoders take most damaged pictures without a word, so size and CRC are what tells.

    Raises:
        RefusedError: Another size or CRC than announced.
    """
    if len(data) != member.size:
        raise RefusedError(f"its size is not the {member.size} bytes that its archive announced", DAMAGED)
    if zlib.crc32(data) != member.crc:
        raise RefusedError("its CRC differs from the one in its archive", DAMAGED)
    return data


def check_names(names: Iterable[str]) -> None:
    """Refuse names that lead out of the archive, garble a terminal, or mean one file on another system."""
    seen: dict[str, str] = {}
    for stored in names:
        name = stored.replace("\\", "/")
        if fault := find_name_fault(name):
            raise RefusedError(f"member {stored!r} {fault}", REPACK)
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            raise RefusedError(f"members {seen[key]!r} and {stored!r} have the same name", REPACK)
        seen[key] = stored


def find_name_fault(name: str) -> str:
    """Say what is wrong with the name of a file, as the rest of a sentence; "" if nothing is."""
    if not name:
        return "has no name"
    if len(name) > MAX_NAME:
        return f"has a name of {len(name)} characters, over {MAX_NAME}"
    if _UNSAFE_CHARACTERS.search(name):
        return "has unprintable characters in its name"
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        return "has an absolute path"
    if ".." in name.split("/"):
        return "leads out of the archive"
    return ""


def _as_member(info: zipfile.ZipInfo, name: str, ends: Mapping[int, int]) -> Member:
    place, end = info.header_offset, ends[info.header_offset]
    changed = _pack_time(*info.date_time)
    return Member(name, info.file_size, info.CRC, info.compress_size, place, info.compress_type, end, changed)


def _pack_time(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """Undo what zipfile does to the time of a member.

    >>> hex(_pack_time(1980, 1, 1, 0, 0, 0))
    '0x210000'
    """
    date = (year - 1980) << 9 | month << 5 | day
    return date << 16 | hour << 11 | minute << 5 | second // 2


def _name_of(info: zipfile.ZipInfo) -> str:
    try:
        return find_name(info.orig_filename, info.extra)
    except RefusedError as error:
        raise RefusedError(f"{_spell(info)}: {error.reason}", error.cure) from error


def _unreadable(error: OSError) -> RefusedError:
    return RefusedError(f"cannot be read: {error.strerror}", "check its permissions and its disk, or copy it again")


def _why_not_a_zip(file: BinaryIO, error: Exception) -> tuple[str, str]:
    """Tell apart the usual ways in which a download goes wrong; zipfile has one text for all of them."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not size:
        return "the file is empty", DAMAGED
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return f"it is a web page ({readable_size(size)}), not a zip", "log in or confirm there, and download it again"
    if start.startswith(b"pk"):
        return f"truncated or damaged: {error} ({readable_size(size)} are here)", DAMAGED
    return f"not a zip file ({readable_size(size)})", DAMAGED


def _read_directory(file: BinaryIO) -> tuple[list[zipfile.ZipInfo], int]:
    """Give the entries of the directory, and where it begins.

    zipfile makes an object of every entry that it finds, so they are counted before.

    Raises:
        OSError: The file cannot be read.
        RefusedError: It is no zip, or has other entries than its end record counts.
    """
    declared = _check_end(file)
    try:
        with zipfile.ZipFile(file) as opened:
            infos, start = opened.infolist(), opened.start_dir
    except _ZIP_ERRORS as error:
        if isinstance(error, OSError) and error.strerror:
            raise
        raise RefusedError(*_why_not_a_zip(file, error)) from error
    if len(infos) != declared:  # some damages make members vanish silently
        raise _miscounted(declared, len(infos))
    return infos, start


def _check_end(file: BinaryIO) -> int:
    """Give the number of members that the end record counts, once the directory is known to have no more entries."""
    declared, start, num_bytes = _read_end(file)
    if declared > MAX_MEMBERS:
        raise RefusedError(f"it has {declared:,} members, over {MAX_MEMBERS:,}", "split it into several zips")
    if num_bytes > MAX_DIRECTORY_BYTES:
        sizes = f"{readable_size(num_bytes)}, over {readable_size(MAX_DIRECTORY_BYTES)}"
        raise RefusedError(f"its directory has {sizes}", "split it into several zips")
    file.seek(start)
    directory = file.read(num_bytes)
    if (found := directory.count(_ENTRY_MARK)) > declared:
        raise _miscounted(declared, found)
    _check_last_entry(directory)
    return declared


def _check_last_entry(directory: bytes) -> None:
    """Refuse a directory whose last entry would go on behind it, which zipfile cuts off without a word."""
    last = directory[directory.rfind(_ENTRY_MARK) :]
    if len(last) < _ENTRY_SIZE:  # zipfile says so
        return
    # Behind it follow a name, extra fields and a comment.
    if (behind := _ENTRY_SIZE + sum(struct.unpack_from("<3H", last, 28)) - len(last)) > 0:
        raise RefusedError(f"the last entry of its directory would end {behind:,} bytes behind it", DAMAGED)


def _read_end(file: BinaryIO) -> tuple[int, int, int]:
    """Find the end record as zipfile does: number of members, start and size of the directory; zeros if it is cut."""
    size = file.seek(0, os.SEEK_END)
    records = _END_RECORD_64.size + _END_LOCATOR_64.size + _END_RECORD.size
    tail_start = file.seek(max(0, size - records - _LONGEST_COMMENT))
    tail = file.read()
    # Its own last bytes may spell the beginning of another one.
    end = tail.rfind(b"PK\x05\x06", 0, max(0, len(tail) - _END_RECORD.size + 4))
    if end < 0:
        return 0, 0, 0
    declared, num_bytes, _, comment_size = _END_RECORD.unpack_from(tail, end)[4:]
    if (behind := len(tail) - end - _END_RECORD.size) != comment_size:
        raise RefusedError(f"{behind:,} bytes follow its end record, which announces {comment_size:,}", DAMAGED)
    locator = end - _END_LOCATOR_64.size
    end_64 = locator - _END_RECORD_64.size
    if end_64 >= 0 and tail.startswith(b"PK\x06\x07", locator) and tail.startswith(b"PK\x06\x06", end_64):
        end, (declared, num_bytes) = end_64, _END_RECORD_64.unpack_from(tail, end_64)[7:9]
    start = tail_start + end - num_bytes  # whatever the record says of it
    return (declared, start, num_bytes) if start >= 0 else (0, 0, 0)


def _miscounted(declared: int, found: int) -> RefusedError:
    return RefusedError(f"its end record counts {declared:,} members, its directory has {found:,}", DAMAGED)


def _check_kind(info: zipfile.ZipInfo) -> None:
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise RefusedError(f"{_spell(info)} is a {'link' if stat.S_ISLNK(mode) else 'special file'}", REPACK)
    if info.flag_bits & ENCRYPTED_FLAG:
        raise RefusedError(f"{_spell(info)} is encrypted", "pack it again without a password")
    if info.compress_type not in (_STORED, _DEFLATED):
        raise RefusedError(f"{_spell(info)} is packed with method {info.compress_type}", f"{REPACK}, using deflate")


def _check_sizes(info: zipfile.ZipInfo, max_bytes: int) -> None:
    size, packed = info.file_size, info.compress_size
    if size > max_bytes:
        sizes = f"{_spell(info)} unpacks to {readable_size(size)}, over {readable_size(max_bytes)}"
        raise RefusedError(sizes, "leave it out, or raise data.max_member_bytes")
    if size > max(RATIO_FROM_BYTES, MAX_RATIO * packed):
        times = f"{size // max(packed, 1)} times its size, over {MAX_RATIO}"
        raise RefusedError(f"{_spell(info)} unpacks to {times}", REPACK)
    # Deflate grows what it cannot shrink by less than this; whatever is longer hides behind a smaller size.
    most = size + size // 1000 + 64 if info.compress_type == _DEFLATED else size
    if packed > most:
        raise RefusedError(f"{_spell(info)} claims {size} bytes but holds {packed} packed ones", DAMAGED)


def _spell(info: zipfile.ZipInfo) -> str:
    return f"member {info.orig_filename!r}"


def _name_size(info: zipfile.ZipInfo) -> int:
    name = info.orig_filename
    return len(name) if name.isascii() else len(name.encode("utf-8" if info.flag_bits & UTF8_FLAG else "cp437"))


def _find_ends(infos: Sequence[zipfile.ZipInfo], directory_start: int) -> dict[int, int]:
    """Give for each place at which a member begins where the next one, or the directory, does.

    Members that share bytes are refused: a few megabytes listed a thousand times unpack to gigabytes. So is what lies
    before, between or behind them, where another program may find other members.
    """
    ordered = sorted(infos, key=lambda info: info.header_offset)
    starts = [*(info.header_offset for info in ordered), directory_start]
    if starts[0] < 0:
        raise RefusedError("its directory names places before its beginning", DAMAGED)
    if starts[0]:
        raise RefusedError(f"{starts[0]:,} bytes lie before its first member", REPACK)
    for position, info in enumerate(ordered):
        gap = starts[position + 1] - starts[position] - HEADER.size - _name_size(info) - info.compress_size
        if 0 <= gap <= LONGEST_EXTRA + LONGEST_DESCRIPTOR:
            continue
        both = f"{_spell(info)} and {_spell(ordered[position + 1]) if info is not ordered[-1] else 'the directory'}"
        told = f"{both} overlap" if gap < 0 else f"{gap:,} bytes between {both} belong to neither"
        raise RefusedError(told, REPACK)
    return dict(pairwise(starts))


def _inflate(packed: bytes, size: int) -> bytes:
    """Unpack at most one byte more than announced: a bomb then costs nothing."""
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = engine.decompress(packed, size + 1)
    except zlib.error as error:
        raise RefusedError(f"damaged: {error}", DAMAGED) from error
    if len(data) <= size and (engine.unused_data or not engine.eof):
        raise RefusedError("its packed bytes end before or behind its content", DAMAGED)
    return data
