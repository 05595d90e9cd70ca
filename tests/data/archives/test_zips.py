"""Proves that a zip is read whole or refused with a reason: never cut, renamed, or half read without a word."""

import errno
import io
import os
import random
import re
import resource
import shutil
import stat
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.settings import SHIPPED_PARAMS

from maskdepth.data.archives import zips
from maskdepth.data.archives.local_headers import Member, find_name, unwrap
from maskdepth.data.archives.zips import (
    MAX_MEMBER_BYTES,
    check_content,
    check_names,
    find_name_fault,
    list_zip,
    read_zipped,
)
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.params import load_params
from maskdepth.process.console import printable

NOISE = random.Random(0).randbytes(3000)
# Where the fields of a directory entry lie, and those of a member's own header.
FLAGS, TIME, SIZE, COMMENT_SIZE, OFFSET, NAME = 8, 12, 24, 32, 42, 46
OWN_FLAGS, OWN_METHOD, OWN_TIME, OWN_DATE, OWN_CRC, OWN_PACKED_SIZE, OWN_SIZE, OWN_NAME = 6, 8, 10, 12, 14, 18, 22, 30


def write(path: Path, *names: str, data: bytes = NOISE, method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w") as opened:
        for name in names:
            opened.writestr(zipfile.ZipInfo(name), data, method)


def patch_entry(path: Path, number: int, field: int, form: str, value: int | bytes) -> None:
    """Overwrite one field of the `number`-th directory entry."""
    data = bytearray(path.read_bytes())
    start = -1
    for _ in range(number + 1):
        start = data.index(b"PK\x01\x02", start + 1)
    struct.pack_into(form, data, start + field, value)
    path.write_bytes(data)


def patch_header(path: Path, field: int, form: str, value: int | bytes) -> None:
    """Overwrite one field of the header of the first member."""
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, field, value)
    path.write_bytes(data)


class Raw(NamedTuple):
    """A stored member as some program writes it: extra fields of its own header and of the directory, and flags."""

    name: bytes
    own_extra: bytes = b""
    extra: bytes = b""
    flags: int = 0
    is_wide: bool = False
    has_mark: bool = True


def write_raw(path: Path, *members: Raw, data: bytes = NOISE) -> None:
    """Write an archive byte by byte; with flag 8, CRC and sizes stand behind a member and not before it."""
    content, directory = b"", b""
    for member in members:
        is_late = bool(member.flags & 8)
        crc, size = zlib.crc32(data), len(data)
        told = (0, 0, 0) if is_late else (crc, size, size)
        lengths = len(member.name), len(member.own_extra)
        header = struct.pack("<4s5H3I2H", b"PK\3\4", 20, member.flags, 0, 0, 33, *told, *lengths)
        behind = struct.pack("<I2Q" if member.is_wide else "<3I", crc, size, size) if is_late else b""
        behind = b"PK\7\x08" * (is_late and member.has_mark) + behind
        entry = (20, 20, member.flags, 0, 0, 33, crc, size, size, len(member.name), len(member.extra))
        directory += struct.pack("<4s6H3I5H2I", b"PK\1\2", *entry, 0, 0, 0, 0, len(content))
        directory += member.name + member.extra
        content += header + member.name + member.own_extra + data + behind
    end = (0, 0, len(members), len(members), len(directory), len(content), 0)
    path.write_bytes(content + directory + struct.pack("<4s4H2IH", b"PK\5\6", *end))


def unicode_path(stored: bytes, name: str) -> bytes:
    """Give the extra field by which Info-ZIP adds a name in UTF-8 to one in another encoding."""
    text = struct.pack("<BI", 1, zlib.crc32(stored)) + name.encode()
    return struct.pack("<2H", 0x7075, len(text)) + text


def replace_bytes(path: Path, old: bytes, new: bytes) -> None:
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))


def special_file(path: Path, mode: int) -> None:
    info = zipfile.ZipInfo("odd.jpg")
    info.external_attr = (mode | 0o644) << 16
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr(info, b"target")


def encrypted(path: Path) -> None:
    write(path, "a.jpg")
    patch_entry(path, 0, FLAGS, "<H", 1)


def truncated(path: Path) -> None:
    write(path, "a.jpg", "b.jpg")
    path.write_bytes(path.read_bytes()[:-100])


def too_large(path: Path) -> None:
    write(path, "a.jpg")
    patch_entry(path, 0, SIZE, "<I", MAX_MEMBER_BYTES + 1)


def too_small_a_size(path: Path) -> None:
    write(path, "a.jpg")
    patch_entry(path, 0, SIZE, "<I", 10)


def overlapping(path: Path) -> None:
    write(path, "a.jpg", "b.jpg")
    patch_entry(path, 1, OFFSET, "<I", 0)


def with_nul(path: Path) -> None:
    write(path, "aXb.jpg")
    replace_bytes(path, b"aXb.jpg", b"a\0b.jpg")


def same_name_twice(path: Path) -> None:
    write(path, "a.jpg", "b.jpg")
    replace_bytes(path, b"b.jpg", b"a.jpg")


def vanished_member(path: Path) -> None:
    write(path, "a.jpg")
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, data.rindex(b"PK\x05\x06") + 10, 7)
    path.write_bytes(data)


def hidden_members(path: Path) -> None:
    """Let the end record count one member of a thousand."""
    write(path, *(f"{number}.jpg" for number in range(1000)), data=b"")
    data = bytearray(path.read_bytes())
    struct.pack_into("<2H", data, data.rindex(b"PK\x05\x06") + 8, 1, 1)
    path.write_bytes(data)


def with_a_program_before(path: Path) -> None:
    write(path, "a.jpg")
    path.write_bytes(b"#!/bin/sh\nexec unzip $0\n" + path.read_bytes())


def with_bytes_behind(path: Path) -> None:
    write(path, "a.jpg")
    path.write_bytes(path.read_bytes() + b"junk")


def with_a_long_comment(path: Path) -> None:
    write(path, "a.jpg")
    path.write_bytes(path.read_bytes()[:-2] + b"\5\0")


def with_a_long_comment_of_a_member(path: Path, length: int) -> None:
    """Let the comment of the last member go on behind the directory."""
    write(path, "a.jpg", "b.jpg")
    patch_entry(path, 1, COMMENT_SIZE, "<H", length)


def hide_a_member(path: Path) -> None:
    """Take the middle one of three out of the directory; who goes from member to member still finds it."""
    write(path, "a.jpg", "b.jpg", "c.jpg", data=random.Random(1).randbytes(100_000))
    data = path.read_bytes()
    starts = [place.start() for place in re.finditer(b"PK\1\2", data)]
    end = data.rindex(b"PK\5\6")
    size = end - starts[0] - (starts[2] - starts[1])
    record = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, size, starts[0], 0)
    path.write_bytes(data[: starts[1]] + data[starts[2] : end] + record)


BAD_ZIPS: dict[str, tuple[Callable[[Path], object], str]] = {
    "traversal": (lambda path: write(path, "../../evil.jpg"), r"'\.\./\.\./evil\.jpg' leads out of the archive"),
    "inner traversal": (lambda path: write(path, "a/../../x.jpg"), "leads out of the archive"),
    "backslash traversal": (lambda path: write(path, "..\\x.jpg"), "leads out of the archive"),
    "absolute": (lambda path: write(path, "/etc/x.jpg"), "absolute path"),
    "drive": (lambda path: write(path, "C:\\x.jpg"), "absolute path"),
    "share": (lambda path: write(path, "\\\\server\\x.jpg"), "absolute path"),
    "link": (lambda path: special_file(path, stat.S_IFLNK), "'odd.jpg' is a link"),
    "pipe": (lambda path: special_file(path, stat.S_IFIFO), "'odd.jpg' is a special file"),
    "encrypted": (encrypted, "'a.jpg' is encrypted; pack it again without a password"),
    "truncated": (truncated, r"truncated or damaged: .*bytes are here\); download or copy it again"),
    "web page": (lambda path: path.write_bytes(b"\n<!DOCTYPE html><html>quota"), r"web page \(27 bytes\), not a zip"),
    "empty": (lambda path: path.write_bytes(b""), "the file is empty; download"),
    "another format": (lambda path: path.write_bytes(b"Rar!" + NOISE), r"not a zip file \(3,004 bytes\)"),
    "bomb by size": (too_large, "'a.jpg' unpacks to 244.1 MB, over 244.1 MB"),
    "bomb by ratio": (lambda path: write(path, "a.jpg", data=bytes(2**21)), "unpacks to 10.. times its size, over 200"),
    "lying size": (too_small_a_size, "'a.jpg' claims 10 bytes but holds 3005 packed ones"),
    "overlap": (overlapping, "member 'a.jpg' and member 'b.jpg' overlap"),
    "same name": (same_name_twice, "members 'a.jpg' and 'a.jpg' have the same name"),
    "letter case": (lambda path: write(path, "a.jpg", "A.JPG"), "members 'a.jpg' and 'A.JPG' have the same name"),
    "two forms of a letter": (lambda path: write(path, "\u00e9.jpg", "e\u0301.jpg"), "have the same name"),
    "NUL": (with_nul, r"'a\\x00b.jpg' has unprintable characters"),
    "escape code": (lambda path: write(path, "a\x1b[31m.jpg"), r"'a\\x1b\[31m.jpg' has unprintable characters"),
    "long name": (lambda path: write(path, "a" * 2000), "has a name of 2000 characters, over 1024"),
    "method": (lambda path: write(path, "a.jpg", method=zipfile.ZIP_LZMA), "'a.jpg' is packed with method 14"),
    "count": (vanished_member, "its end record counts 7 members, its directory has 1"),
    "a program before it": (with_a_program_before, "24 bytes lie before its first member; pack it again"),
    "bytes behind it": (with_bytes_behind, "4 bytes follow its end record, which announces 0; download"),
    "a comment that is cut": (with_a_long_comment, "0 bytes follow its end record, which announces 5; download"),
    "a comment of a member that is cut": (
        lambda path: with_a_long_comment_of_a_member(path, 0xFFFF),
        "the last entry of its directory would end 65,535 bytes behind it; download",
    ),
    "a comment of a member of which a byte is cut": (
        lambda path: with_a_long_comment_of_a_member(path, 1),
        "would end 1 bytes behind it; download",
    ),
    "a hidden member": (hide_a_member, r"100,\d{3} bytes between member 'a.jpg' and member 'c.jpg' belong to neither"),
    "two names in one entry": (
        lambda path: write_raw(path, Raw(b"a.jpg", extra=unicode_path(b"a.jpg", "b.jpg"))),
        "member 'a.jpg': it is called 'a.jpg' and 'b.jpg'",
    ),
    "hidden members": (hidden_members, "its end record counts 1 members, its directory has 1,000"),
}


@pytest.mark.parametrize("name", BAD_ZIPS)
def test_a_bad_zip_is_refused_with_its_reason(name: str, tmp_path: Path) -> None:
    make, message = BAD_ZIPS[name]
    make(tmp_path / "bad.zip")
    with pytest.raises(RefusedError, match=message):
        list_zip(tmp_path / "bad.zip")


def test_members_come_back_in_the_order_of_the_zip(tmp_path: Path) -> None:
    path = tmp_path / "good.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.mkdir("b")
        opened.writestr("b/stored.jpg", NOISE, zipfile.ZIP_STORED)
        opened.writestr("a\\deflated.jpg", NOISE[:500] * 3, zipfile.ZIP_DEFLATED)
    members = list_zip(path)
    assert [(member.name, member.size) for member in members] == [("b/stored.jpg", 3000), ("a/deflated.jpg", 1500)]
    with path.open("rb") as file:
        assert [read_zipped(file, member) for member in members] == [NOISE, NOISE[:500] * 3]


def test_the_64_bit_end_record_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)  # the writer then needs the record for three members
    write(tmp_path / "many.zip", "a.jpg", "b.jpg", "c.jpg")
    assert b"PK\x06\x06" in (tmp_path / "many.zip").read_bytes()
    assert len(list_zip(tmp_path / "many.zip")) == 3


def test_a_member_renamed_in_the_directory_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "renamed.zip"
    write(path, "bg_1.jpg")
    patch_entry(path, 0, NAME + 3, "<c", b"3")
    (member,) = list_zip(path)
    with path.open("rb") as file, pytest.raises(RefusedError, match=r"its header calls it 'bg_1\.jpg'"):
        read_zipped(file, member)


def insert(path: Path, mark: bytes, extra: bytes) -> None:
    """Push bytes between the members and the directory, and let the end record know where that is now."""
    data = path.read_bytes()
    place, end = data.index(mark), data.rindex(b"PK\5\6")
    (start,) = struct.unpack_from("<I", data, end + 16)
    path.write_bytes(data[:place] + extra + data[place : end + 16] + struct.pack("<IH", start + len(extra), 0))


def stuff(path: Path) -> None:
    """Let a deflated member be followed by bytes that count as its own, but belong to nothing."""
    deflater = zlib.compressobj(wbits=-15)
    packed = deflater.compress(NOISE) + deflater.flush() + b"12345"
    sizes = zlib.crc32(NOISE), len(packed), len(NOISE)
    header = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 33, *sizes, 5, 0) + b"a.jpg"
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 33, *sizes, 5, 0, 0, 0, 0, 0, 0) + b"a.jpg"
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(entry), len(header + packed), 0)
    path.write_bytes(header + packed + entry + end)


INCONSISTENT: dict[str, tuple[Callable[[Path], object], str]] = {
    "method": (lambda path: patch_header(path, OWN_METHOD, "<H", 0), "differ in method"),
    "time": (lambda path: patch_header(path, OWN_TIME, "<H", 1), "differ in time"),
    "date": (lambda path: patch_header(path, OWN_DATE, "<H", 34), "differ in time"),
    "no time, where sizes stand behind it": (
        lambda path: write_raw(path, Raw(b"a.jpg", flags=8)) or patch_header(path, OWN_DATE, "<H", 0),
        "differ in time",
    ),
    "CRC": (lambda path: patch_header(path, OWN_CRC, "<I", 7), "differ in CRC"),
    "packed size": (lambda path: patch_header(path, OWN_PACKED_SIZE, "<I", 7), "differ in packed size"),
    "size": (lambda path: patch_header(path, OWN_SIZE, "<I", 7), "differ in size"),
    "encryption": (lambda path: patch_header(path, OWN_FLAGS, "<H", 1), "differ in encryption"),
    "name": (lambda path: patch_header(path, OWN_NAME, "<c", b"b"), r"its header calls it 'b\.jpg'"),
    "sizes behind it that are not there": (
        lambda path: patch_header(path, OWN_FLAGS, "<H", 8),
        "what lies behind it is neither its end nor the next member",
    ),
    "bytes between it and the directory": (
        lambda path: write_raw(path, Raw(b"a.jpg"), data=NOISE) or insert(path, b"PK\1\2", b"0123456789"),
        "what lies behind it is neither its end nor the next member",
    ),
    "a name of its own in an extra field": (
        lambda path: write_raw(path, Raw(b"a.jpg", own_extra=unicode_path(b"a.jpg", "b.jpg"))),
        "it is called 'a.jpg' and 'b.jpg'",
    ),
    "a name in an extra field of its own alone": (
        lambda path: write_raw(path, Raw(b"\x82.jpg", own_extra=unicode_path(b"\x82.jpg", "x.jpg"))),
        "its header calls it",
    ),
    "one extra field twice": (
        lambda path: write_raw(path, Raw(b"a.jpg", own_extra=2 * unicode_path(b"a.jpg", "a.jpg"))),
        "its header says twice",
    ),
    "extra fields that are cut": (
        lambda path: write_raw(path, Raw(b"a.jpg", own_extra=b"UT\x09\0\3")),
        "its header has damaged extra fields",
    ),
    "bytes behind its end within it": (stuff, "its packed bytes end before or behind its content"),
}


@pytest.mark.parametrize("case", INCONSISTENT)
def test_a_member_that_two_programs_would_read_differently_is_rejected(case: str, tmp_path: Path) -> None:
    path = tmp_path / "two_faced.zip"
    write(path, "a.jpg")
    INCONSISTENT[case][0](path)
    (member,) = list_zip(path)
    with path.open("rb") as file, pytest.raises(RefusedError, match=INCONSISTENT[case][1]):
        read_zipped(file, member)


TIMES, OWN_TIMES = b"UT\5\0\3abcd" + b"ux\x0b\0\1\4abcd\4efgh", b"UT\x09\0\3abcdefgh" + b"ux\x0b\0\1\4abcd\4efgh"
WIDE = struct.pack("<2H2Q", 1, 16, 0, 0)
CONSISTENT = {
    "plain": Raw(b"a.jpg"),
    "times of Info-ZIP": Raw(b"a.jpg", OWN_TIMES, TIMES),
    "sizes behind it": Raw(b"a.jpg", flags=8),
    "sizes behind it without a mark": Raw(b"a.jpg", flags=8, has_mark=False),
    "sizes of eight bytes behind it": Raw(b"a.jpg", WIDE, flags=8, is_wide=True),
    "as macOS writes it": Raw(b"a.jpg", b"UX\x0c\0abcdefghijkl", b"UX\x08\0abcdefgh", flags=8),
    "aligned by zeros": Raw(b"a.jpg", b"\0\0\0"),
    "a name in UTF-8": Raw("\u00e9.jpg".encode(), flags=0x800),
    "a name in UTF-8 beside another": Raw(
        b"\x82.jpg", unicode_path(b"\x82.jpg", "\u00e9.jpg"), unicode_path(b"\x82.jpg", "\u00e9.jpg")
    ),
    "a name in UTF-8 of a file that was renamed": Raw(b"a.jpg", *[unicode_path(b"b.jpg", "\u00e9.jpg")] * 2),
}


@pytest.mark.parametrize("case", CONSISTENT)
def test_what_ordinary_programs_write_is_read(case: str, tmp_path: Path) -> None:
    path, member = tmp_path / "good.zip", CONSISTENT[case]
    write_raw(path, member, member._replace(name=b"2" + member.name, own_extra=b"", extra=b""))
    assert_reads(path, {"\u00e9.jpg" if "UTF-8" in case and "renamed" not in case else "a.jpg"})


def assert_reads(path: Path, names: set[str]) -> None:
    members = list_zip(path)
    assert names <= {member.name for member in members}
    with path.open("rb") as file:
        assert all(read_zipped(file, member) == NOISE for member in members)


def test_what_python_writes_for_sizes_over_4_gb_is_read(tmp_path: Path) -> None:
    path = tmp_path / "wide.zip"
    with zipfile.ZipFile(path, "w") as opened, opened.open(zipfile.ZipInfo("a.jpg"), "w", force_zip64=True) as member:
        member.write(NOISE)
    assert_reads(path, {"a.jpg"})


@pytest.mark.parametrize("changed", [0, 0x21_0000, 0x5C9B_7D1E, 2**32 - 1])
def test_a_member_may_be_of_any_time_also_of_one_that_never_was(changed: int, tmp_path: Path) -> None:
    path = tmp_path / "good.zip"
    write_raw(path, Raw(b"a.jpg"), data=NOISE)
    patch_header(path, OWN_TIME, "<I", changed)
    patch_entry(path, 0, TIME, "<I", changed)
    assert_reads(path, {"a.jpg"})


@pytest.mark.skipif(not shutil.which("zip"), reason="Info-ZIP is not installed")
@pytest.mark.parametrize("options", ["", "-0", "-fz", "-X", "-fd", "-z"])
def test_what_info_zip_writes_is_read(options: str, tmp_path: Path) -> None:
    (tmp_path / "folder \u00e9").mkdir()
    for name in ("a.jpg", "folder \u00e9/b \u5bb6.jpg"):
        (tmp_path / name).write_bytes(NOISE)
    command = ["zip", "-q", "-r", *options.split(), "good.zip", "a.jpg", "folder \u00e9"]
    subprocess.run(command, cwd=tmp_path, input=b"from us", check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert len(list_zip(tmp_path / "good.zip")) == 2  # some builds do not say in which encoding their names are
    assert_reads(tmp_path / "good.zip", {"a.jpg"})


def test_a_flipped_bit_is_told_by_the_crc(tmp_path: Path) -> None:
    path = tmp_path / "flipped.zip"
    write(path, "a.jpg", method=zipfile.ZIP_STORED)
    replace_bytes(path, NOISE[:100], bytes([NOISE[0] ^ 1]) + NOISE[1:100])
    (member,) = list_zip(path)
    with path.open("rb") as file, pytest.raises(RefusedError, match="CRC differs"):
        read_zipped(file, member)


@pytest.mark.parametrize(("size", "claimed"), [(1000, 999), (2**20, 5000)])
def test_a_member_longer_than_it_claims_is_not_cut(tmp_path: Path, size: int, claimed: int) -> None:
    path = tmp_path / "cut.zip"
    write(path, "a.jpg", data=bytes(size))
    patch_entry(path, 0, SIZE, "<I", claimed)
    patch_header(path, OWN_SIZE, "<I", claimed)
    (member,) = list_zip(path)
    with path.open("rb") as file, pytest.raises(RefusedError, match=f"its size is not the {claimed} bytes"):
        read_zipped(file, member)


def test_no_random_damage_goes_unnoticed(tmp_path: Path) -> None:
    """Flip a byte, cut a stretch out or cut the end off: members are the same, or somebody says why not."""
    path = tmp_path / "good.zip"
    write(path, "a.jpg", "folder/b.jpg", "c.png")
    good, chance, num_refused = path.read_bytes(), random.Random(1), 0
    expected = {name: NOISE for name in ("a.jpg", "folder/b.jpg", "c.png")}
    for _ in range(200):
        data, place = bytearray(good), chance.randrange(len(good))
        # Half of the damages hit the directory, which is a small part of the file.
        place = place if chance.random() < 0.5 else len(good) - 1 - chance.randrange(250)
        match chance.randrange(3):
            case 0:
                data[place] ^= 1 << chance.randrange(8)
            case 1:
                del data[place : place + chance.randrange(1, 20)]
            case 2:
                del data[place:]
        path.write_bytes(data)
        try:
            members = list_zip(path)
            with path.open("rb") as file:
                found = {member.name: read_zipped(file, member) for member in members}
        except RefusedError:
            num_refused += 1
        else:
            assert found == expected
    assert num_refused > 150


def test_how_large_a_member_may_be_is_said_by_who_asks(tmp_path: Path) -> None:
    write(tmp_path / "a.zip", "a.jpg")
    assert len(list_zip(tmp_path / "a.zip", len(NOISE))) == 1
    with pytest.raises(RefusedError, match=r"'a\.jpg' unpacks to 3,000 bytes, over 2,999 .*; .*data\.max_member_bytes"):
        list_zip(tmp_path / "a.zip", len(NOISE) - 1)


def write_entries(path: Path, num_entries: int, declared: int) -> None:
    """Write a directory of many entries of which the end record counts fewer."""
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * num_entries
    path.write_bytes(directory + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, declared, declared, len(directory), 0, 0))


def test_entries_are_counted_before_anything_is_made_of_them(tmp_path: Path) -> None:
    write_entries(tmp_path / "many.zip", 300_000, declared=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RefusedError, match="counts 1 members, its directory has 300,000"):
        list_zip(tmp_path / "many.zip")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 40_000  # [KB] zipfile would take 150,000


def test_more_members_than_any_data_set_has_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "many.zip", "a.jpg", "b.jpg", "c.jpg")
    monkeypatch.setattr(zips, "MAX_DIRECTORY_BYTES", 100)
    with pytest.raises(RefusedError, match="its directory has 153 bytes, over 100 bytes; split it into several zips"):
        list_zip(tmp_path / "many.zip")
    monkeypatch.setattr(zips, "MAX_MEMBERS", 2)
    with pytest.raises(RefusedError, match="it has 3 members, over 2; split it into several zips"):
        list_zip(tmp_path / "many.zip")


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "odd.zip")
    with pytest.raises(RefusedError, match="it is not a regular file; remove it"):
        list_zip(tmp_path / "odd.zip")


class BrokenDisk(io.FileIO):
    """A file of which the bytes in front of `bad_until` cannot be read."""

    bad_until = 0

    def readinto(self, buffer: Any) -> int | None:
        self.check()
        return super().readinto(buffer)

    def readall(self) -> bytes:
        self.check()
        return super().readall()

    def check(self) -> None:
        if self.tell() < self.bad_until:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def break_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, int], None]:
    """Let the first bytes of a file be unreadable from now on."""

    def break_file(path: Path, bad_until: int) -> None:
        opening = io.open

        def open_broken(name: Any, *mode: Any, **options: Any) -> Any:
            if Path(name) != path:
                return opening(name, *mode, **options)
            raw = BrokenDisk(name)
            raw.bad_until = bad_until
            return io.BufferedReader(raw)

        monkeypatch.setattr(io, "open", open_broken)

    return break_file


def test_a_zip_that_the_disk_cannot_read_is_refused(tmp_path: Path, break_disk: Callable[[Path, int], None]) -> None:
    write(tmp_path / "a.zip", "a.jpg")
    break_disk(tmp_path / "a.zip", 2**30)
    with pytest.raises(RefusedError, match="cannot be read: Input/output error; check its permissions and its disk"):
        list_zip(tmp_path / "a.zip")


def test_a_page_that_the_disk_can_only_read_the_end_of_is_refused(
    tmp_path: Path, break_disk: Callable[[Path, int], None]
) -> None:
    """To say what it is instead of a zip, its beginning is looked at."""
    (tmp_path / "a.zip").write_bytes(bytes(200_000))
    break_disk(tmp_path / "a.zip", 1000)
    with pytest.raises(RefusedError, match="cannot be read: Input/output error"):
        list_zip(tmp_path / "a.zip")


def test_a_member_that_the_disk_cannot_read_is_rejected(
    tmp_path: Path, break_disk: Callable[[Path, int], None]
) -> None:
    path = tmp_path / "a.zip"
    write(path, *(f"{number}.jpg" for number in range(50)))
    break_disk(path, 1000)
    first, *_, last = list_zip(path)
    with path.open("rb") as file:
        with pytest.raises(RefusedError, match="cannot be read: Input/output error"):
            read_zipped(file, first)
        assert read_zipped(file, last) == NOISE


def test_a_zip_cut_after_it_was_listed_gives_rejected_members(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write(path, "a.jpg", "b.jpg")
    first, second = list_zip(path)
    path.write_bytes(path.read_bytes()[: second.offset + 100])
    with path.open("rb") as file:
        assert read_zipped(file, first) == NOISE
        with pytest.raises(RefusedError, match="its packed bytes end before or behind its content"):
            read_zipped(file, second)


@pytest.mark.parametrize("sign", [chr(code) for code in (0, 31, 127, 159, *range(0x202A, 0x202F), 0x2066, 0x2069)])
def test_a_sign_that_garbles_a_terminal_is_no_part_of_a_name(sign: str) -> None:
    assert find_name_fault(f"a{sign}.jpg") == "has unprintable characters in its name"


@pytest.mark.parametrize("name", ["\ud800", "\udfff", "\x80", "\u2067"])
def test_halves_of_signs_are_no_part_of_a_name(name: str) -> None:
    assert find_name_fault(name) == "has unprintable characters in its name"


@pytest.mark.parametrize(
    "name",
    [
        *("a b", "~", "\xa0", "\u2029", "\u202f", "\u2065", "\u206a", "\ud7ff", "\ue000", "\u5bb6"),
        *("1:", "ab:c", "a/C:", "..a", "a..", "...", "a/b..c/d", "a//b", "x" * 1024),
    ],
)
def test_any_other_name_is_one(name: str) -> None:
    assert find_name_fault(name) == ""


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "has no name"),
        ("x" * 1025, "has a name of 1025 characters, over 1024"),
        ("/", "has an absolute path"),
        ("z:", "has an absolute path"),
        ("A:x", "has an absolute path"),
        ("..", "leads out of the archive"),
        ("a/..", "leads out of the archive"),
    ],
)
def test_a_name_that_is_none_is_told_why(name: str, fault: str) -> None:
    assert find_name_fault(name) == fault
    with pytest.raises(RefusedError) as error:
        check_names(["a", name])
    assert str(error.value) == f"member {name!r} {fault}; pack it again with an ordinary zip program"


def test_names_are_told_as_they_are_stored() -> None:
    check_names(["a\\b.jpg", "a/c.jpg", "stra\u00dfe"])
    with pytest.raises(RefusedError) as error:
        check_names(["x", "a\\B.jpg", "y", "a/b.jpg"])
    told = r"members 'a\\B.jpg' and 'a/b.jpg' have the same name; pack it again with an ordinary zip program"
    assert str(error.value) == told
    with pytest.raises(RefusedError, match="have the same name"):
        check_names(["STRASSE", "stra\u00dfe"])


@pytest.mark.parametrize(("content", "told"), [(b"abcd", "its size is not the 3 bytes"), (b"ab", "its size is not")])
def test_content_of_another_size_is_not_whole(content: bytes, told: str) -> None:
    with pytest.raises(RefusedError, match=told) as error:
        check_content(content, Member("a", 3, zlib.crc32(content), 3))
    assert str(error.value).endswith(" the 3 bytes that its archive announced; download or copy it again")


def test_content_of_another_crc_is_not_whole() -> None:
    assert check_content(b"abc", Member("a", 3, zlib.crc32(b"abc"), 3)) == b"abc"
    with pytest.raises(RefusedError) as error:
        check_content(b"abd", Member("a", 3, zlib.crc32(b"abc"), 3))
    assert str(error.value) == "its CRC differs from the one in its archive; download or copy it again"


def refusal(path: Path) -> str:
    with pytest.raises(RefusedError) as error:
        list_zip(path)
    return str(error.value)


def test_the_bounds_of_sizes_are_the_last_that_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write(path, "a.jpg", data=bytes(2**20))  # shrinks a thousand times, as a small blank picture may
    assert list_zip(path)[0].packed_size < 2**20 // 200
    write(path, "a.jpg", data=bytes(2**20 + 1))
    assert refusal(path) == (
        "member 'a.jpg' unpacks to 1015 times its size, over 200; pack it again with an ordinary zip program"
    )
    packed = len(NOISE)
    for size, is_taken in ((200 * 3 * packed, True), (200 * 3 * packed + 1, False)):
        write(path, "a.jpg", data=3 * NOISE, method=zipfile.ZIP_STORED)
        patch_entry(path, 0, SIZE, "<I", size)
        if is_taken:
            assert list_zip(path)[0].size == size
        else:
            assert "unpacks to 200 times its size, over 200" in refusal(path)


@pytest.mark.parametrize(
    ("method", "size", "is_taken"),
    [(8, 2934, True), (8, 2933, False), (0, 3000, True), (0, 2999, False)],
)
def test_packed_bytes_may_be_more_than_the_content_by_what_deflate_adds(
    tmp_path: Path, method: int, size: int, is_taken: bool
) -> None:
    path = tmp_path / "a.zip"
    write(path, "a.jpg", method=zipfile.ZIP_STORED)  # 3,000 bytes: 2,934 and a thousandth of it and 64
    patch_entry(path, 0, 10, "<H", method)
    patch_entry(path, 0, SIZE, "<I", size)
    if is_taken:
        assert len(list_zip(path)) == 1
    else:
        told = f"member 'a.jpg' claims {size} bytes but holds 3000 packed ones; download or copy it again"
        assert refusal(path) == told


def test_as_much_as_extra_fields_and_a_descriptor_take_may_lie_between_members(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for extra, is_taken in ((0xFFFF + 24, True), (0xFFFF + 25, False)):
        write_raw(path, Raw(b"a.jpg"))
        insert(path, b"PK\1\2", bytes(extra))
        if is_taken:
            (member,) = list_zip(path)
            assert member.end == HEADER_SIZE + 5 + 3000 + extra
        else:
            assert refusal(path) == (
                "65,560 bytes between member 'a.jpg' and the directory belong to neither; "
                "pack it again with an ordinary zip program"
            )


def test_members_may_lie_in_another_order_than_they_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write_raw(path, Raw(b"a.jpg"), Raw(b"b.jpg"))
    second = HEADER_SIZE + 5 + 3000
    replace_bytes(path, b"a.jpg", b"X.jpg")
    replace_bytes(path, b"b.jpg", b"a.jpg")
    replace_bytes(path, b"X.jpg", b"b.jpg")
    patch_entry(path, 0, OFFSET, "<I", second)
    patch_entry(path, 1, OFFSET, "<I", 0)
    patch_entry(path, 0, NAME, "<c", b"a")
    patch_entry(path, 1, NAME, "<c", b"b")
    members = list_zip(path)
    assert [(member.name, member.offset) for member in members] == [("a.jpg", second), ("b.jpg", 0)]
    with path.open("rb") as file:
        assert [read_zipped(file, member) for member in members] == [NOISE, NOISE]


HEADER_SIZE = 30


def test_a_directory_that_begins_before_its_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write_raw(path, Raw(b"a.jpg"))
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, len(data) - 6, 10_000)
    path.write_bytes(data)
    assert refusal(path) == "its directory names places before its beginning; download or copy it again"


def test_an_archive_of_folders_and_one_of_nothing_have_no_members(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.mkdir("b")
    assert list_zip(path) == []
    with zipfile.ZipFile(path, "w"):
        pass
    assert list_zip(path) == []


@pytest.mark.parametrize("mode", [0, stat.S_IFREG])
def test_what_is_no_file_of_unix_is_taken(tmp_path: Path, mode: int) -> None:
    special_file(tmp_path / "a.zip", mode)
    assert [member.name for member in list_zip(tmp_path / "a.zip")] == ["odd.jpg"]


LOG_IN = "not a zip; log in or confirm there, and download it again"
PAGES = {
    b"\xef\xbb\xbf <!doctype html>": f"it is a web page (19 bytes), {LOG_IN}",
    b"\r\n\t<HTML>": f"it is a web page (9 bytes), {LOG_IN}",
    b"<?xml?>": f"it is a web page (7 bytes), {LOG_IN}",
    b"<head>": f"it is a web page (6 bytes), {LOG_IN}",
    b"PK\3\4": "truncated or damaged: File is not a zip file (4 bytes are here); download or copy it again",
    b"X<html>": "not a zip file (7 bytes); download or copy it again",
    b"GIF": "not a zip file (3 bytes); download or copy it again",
    b"": "the file is empty; download or copy it again",
}


@pytest.mark.parametrize("content", PAGES)
def test_what_is_no_zip_is_told_apart(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    assert refusal(tmp_path / "a.zip") == PAGES[content]


WHOLE_SENTENCES = {
    "special": (
        lambda path: special_file(path, stat.S_IFCHR),
        "member 'odd.jpg' is a special file; pack it again with an ordinary zip program",
    ),
    "link": (
        lambda path: special_file(path, stat.S_IFLNK),
        "member 'odd.jpg' is a link; pack it again with an ordinary zip program",
    ),
    "encrypted": (encrypted, "member 'a.jpg' is encrypted; pack it again without a password"),
    "method": (
        lambda path: write(path, "a.jpg", method=zipfile.ZIP_BZIP2),
        "member 'a.jpg' is packed with method 12; pack it again with an ordinary zip program, using deflate",
    ),
    "count": (vanished_member, "its end record counts 7 members, its directory has 1; download or copy it again"),
    "overlap": (
        overlapping,
        "member 'a.jpg' and member 'b.jpg' overlap; pack it again with an ordinary zip program",
    ),
    "before": (
        with_a_program_before,
        "24 bytes lie before its first member; pack it again with an ordinary zip program",
    ),
    "behind": (with_bytes_behind, "4 bytes follow its end record, which announces 0; download or copy it again"),
    "names": (
        BAD_ZIPS["two names in one entry"][0],
        "member 'a.jpg': it is called 'a.jpg' and 'b.jpg'; pack it again with an ordinary zip program",
    ),
}


@pytest.mark.parametrize("case", WHOLE_SENTENCES)
def test_a_refusal_is_one_whole_sentence_with_its_cure(case: str, tmp_path: Path) -> None:
    WHOLE_SENTENCES[case][0](tmp_path / "bad.zip")
    assert refusal(tmp_path / "bad.zip") == WHOLE_SENTENCES[case][1]


def test_a_comment_of_any_length_may_follow(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for comment in (b"short", b"PK\5\6" * 3, b"x" * 0xFFFF):
        with zipfile.ZipFile(path, "w") as opened:
            opened.writestr("a.jpg", NOISE)
            opened.comment = comment
        if comment.startswith(b"PK"):
            refusal(path)  # which of the two is the end record nobody can say
        else:
            assert_reads(path, {"a.jpg"})


def test_a_64_bit_end_record_says_how_much_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    path = tmp_path / "many.zip"
    write(path, "a.jpg", "b.jpg", "c.jpg")
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\6\6")
    struct.pack_into("<2Q", data, start + 24, 2, 2)
    path.write_bytes(data)
    assert refusal(path) == "its end record counts 2 members, its directory has 3; download or copy it again"


def test_an_end_record_that_announces_more_than_there_is_names_no_members(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write_raw(path, Raw(b"a.jpg"))
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, len(data) - 10, len(data))
    path.write_bytes(data)
    assert refusal(path).startswith("truncated or damaged: ")


def record_of(path: Path) -> tuple[bytes, Member]:
    (member,) = list_zip(path)
    return path.read_bytes()[member.offset : member.end], member


@pytest.mark.parametrize("length", [0, 29, 30])
def test_a_header_that_is_cut_or_elsewhere_is_told(tmp_path: Path, length: int) -> None:
    write_raw(tmp_path / "a.zip", Raw(b"a.jpg"))
    record, member = record_of(tmp_path / "a.zip")
    assert unwrap(record, member) == NOISE
    with pytest.raises(RefusedError) as error:
        unwrap(record[:length] if length < 30 else b"PK\1\2" + record[4:], member)
    assert str(error.value) == "its header is not where the directory of the zip says; download or copy it again"


def test_all_that_differs_in_a_header_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write_raw(path, Raw(b"a.jpg"))
    for field, form in ((OWN_METHOD, "<H"), (OWN_CRC, "<I"), (OWN_PACKED_SIZE, "<I"), (OWN_SIZE, "<I")):
        patch_header(path, field, form, 7)
    patch_header(path, OWN_FLAGS, "<H", 1)
    record, member = record_of(path)
    with pytest.raises(RefusedError) as error:
        unwrap(record, member)
    assert str(error.value) == (
        "its header and the directory of the zip differ in method and encryption and CRC and packed size and size; "
        "download or copy it again"
    )


@pytest.mark.parametrize("field", [OWN_CRC, OWN_PACKED_SIZE, OWN_SIZE])
def test_what_stands_behind_a_member_may_be_missing_before_it_but_not_differ(tmp_path: Path, field: int) -> None:
    path = tmp_path / "a.zip"
    write_raw(path, Raw(b"a.jpg", flags=8))
    assert_reads(path, {"a.jpg"})
    patch_header(path, field, "<I", 7)
    record, member = record_of(path)
    with pytest.raises(RefusedError, match=r"differ in (CRC|packed size|size);"):
        unwrap(record, member)
    (right,) = struct.unpack_from("<I", record, len(record) - 12 + 4 * (field - OWN_CRC) // 4)
    patch_header(path, field, "<I", right)  # both before and behind it
    assert_reads(path, {"a.jpg"})


def test_sizes_over_4_gb_stand_in_an_extra_field_in_the_other_order(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    wide = struct.pack("<2H2Q", 1, 16, 3000, 3000)
    write_raw(path, Raw(b"a.jpg", own_extra=wide))
    record, member = record_of(path)
    large = bytearray(record)
    struct.pack_into("<2I", large, OWN_PACKED_SIZE, 0xFFFFFFFF, 0xFFFFFFFF)
    assert unwrap(bytes(large), member) == NOISE
    for packed_size, size in ((3000, 0xFFFFFFFF), (0xFFFFFFFF, 3000)):
        struct.pack_into("<2I", large, OWN_PACKED_SIZE, packed_size, size)
        assert unwrap(bytes(large), member) == NOISE
    # The unpacked size comes first, and one that stands in the header has no place in the field.
    struct.pack_into("<2I", large, OWN_PACKED_SIZE, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<2Q", large, 30 + 5 + 4, 7, 3000)
    with pytest.raises(RefusedError, match="differ in size;"):
        unwrap(bytes(large), member)
    struct.pack_into("<2Q", large, 30 + 5 + 4, 3000, 7)
    with pytest.raises(RefusedError, match="differ in packed size;"):
        unwrap(bytes(large), member)


@pytest.mark.parametrize(
    ("stored", "extra", "name"),
    [
        ("a\\b.jpg", b"", "a/b.jpg"),
        ("\u00e9.jpg", unicode_path("\u00e9.jpg".encode("cp437"), "x\\y.jpg"), "x/y.jpg"),
        ("\u00e9.jpg", unicode_path(b"other", "x.jpg"), "\u00e9.jpg"),
        ("\u00e9.jpg", struct.pack("<2HBI", 0x7075, 5, 1, zlib.crc32(b"\x82.jpg")), "\u00e9.jpg"),
        ("\u00e9.jpg", unicode_path(b"\x82.jpg", "x.jpg").replace(b"\1", b"\2", 1), "\u00e9.jpg"),
        ("\u5bb6.jpg", unicode_path(b"?.jpg", "x.jpg"), "x.jpg"),
        ("a.jpg", b"UT\1\0x" + b"UT\1\0y" + unicode_path(b"a.jpg", "a.jpg"), "a.jpg"),
        ("a.jpg", b"\0" * 3, "a.jpg"),
    ],
)
def test_a_name_is_the_stored_one_or_the_one_beside_it(stored: str, extra: bytes, name: str) -> None:
    assert find_name(stored, extra) == name


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (b"U", "its header has damaged extra fields; download or copy it again"),
        (b"UT\1\0", "its header has damaged extra fields; download or copy it again"),
        (2 * b"\1\0\0\0", "its header says twice how large it is, or what it is called; download or copy it again"),
        (unicode_path(b"a", "b"), "it is called 'a' and 'b'; pack it again with an ordinary zip program"),
    ],
)
def test_extra_fields_that_mislead_are_told(extra: bytes, told: str) -> None:
    with pytest.raises(RefusedError) as error:
        find_name("a", extra)
    assert str(error.value) == told


def test_packed_bytes_that_are_none_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write(path, "a.jpg")
    (member,) = list_zip(path)
    patch_header(path, 35, "<8s", b"\xff" * 8)
    with path.open("rb") as file, pytest.raises(RefusedError) as error:
        read_zipped(file, member)
    assert (
        str(error.value) == "damaged: Error -3 while decompressing data: invalid block type; download or copy it again"
    )


def test_a_loose_file_is_a_stored_member_at_its_beginning() -> None:
    assert Member("a", 3, 7, 3)[4:] == (0, zipfile.ZIP_STORED, 0, 0)


def test_a_name_that_cannot_be_decoded_is_told_by_what_can_be(tmp_path: Path) -> None:
    stored = b"\x82.jpg"
    beside = struct.pack("<2HBI", 0x7075, 6, 1, zlib.crc32(stored)) + b"\xff"
    assert find_name("\u00e9.jpg", beside) == "\ufffd"
    write_raw(tmp_path / "a.zip", Raw("\u00e9.jpg".encode(), flags=0x800))
    record, member = record_of(tmp_path / "a.zip")
    told = "its header calls it '\ufffd\ufffd.jpg', the directory of the zip does not; download or copy it again"
    with pytest.raises(RefusedError) as error:
        unwrap(record.replace("\u00e9".encode(), b"\xff\xff"), member)
    assert str(error.value) == told


def refusal_of_header(path: Path, **fields: int) -> str:
    """Say why a member is rejected of whose own header some fields are other numbers."""
    record, member = record_of(path)
    changed = bytearray(record)
    places = {"flags": (6, "<H"), "crc": (14, "<I"), "packed_size": (18, "<I"), "size": (22, "<I")}
    for name, value in fields.items():
        struct.pack_into(places[name][1], changed, places[name][0], value)
    with pytest.raises(RefusedError) as error:
        unwrap(bytes(changed), member)
    return str(error.value)


def test_zeros_stand_for_what_is_behind_only_where_the_header_says_so(tmp_path: Path) -> None:
    path, told = tmp_path / "a.zip", "its header and the directory of the zip differ in"
    write_raw(path, Raw(b"a.jpg"))
    assert refusal_of_header(path, crc=0) == f"{told} CRC; download or copy it again"
    assert refusal_of_header(path, crc=0, flags=1) == f"{told} encryption and CRC; download or copy it again"
    assert refusal_of_header(path, size=0xFFFFFFFF) == f"{told} size; download or copy it again"
    assert refusal_of_header(path, packed_size=0xFFFFFFFF) == f"{told} packed size; download or copy it again"
    write_raw(path, Raw(b"\x82.jpg"))
    assert refusal_of_header(path, flags=1) == f"{told} encryption; download or copy it again"


def test_a_size_over_4_gb_is_the_one_that_the_header_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for numbers, packed_size, size in (((3000,), 2**32 - 1, 3000), ((3000, 7), 3000, 2**32 - 1)):
        wide = struct.pack(f"<2H{len(numbers)}Q", 1, 8 * len(numbers), *numbers)
        write_raw(path, Raw(b"a.jpg", own_extra=wide))
        record, member = record_of(path)
        large = bytearray(record)
        struct.pack_into("<2I", large, OWN_PACKED_SIZE, packed_size, size)
        assert unwrap(bytes(large), member) == NOISE


def test_extra_fields_may_be_long_and_of_any_kind() -> None:
    assert find_name("a", struct.pack("<2H", 0x9999, 0x8000) + bytes(0x8000)) == "a"
    with pytest.raises(RefusedError, match="damaged extra fields"):
        find_name("a", b"X")


def test_a_checksum_of_any_size_may_stand_behind(tmp_path: Path) -> None:
    data = next(data for number in range(100) if zlib.crc32(data := bytes([number]) * 9) >= 2**31)
    for is_wide in (False, True):
        write_raw(tmp_path / "a.zip", Raw(b"a.jpg", flags=8, is_wide=is_wide), data=data)
        record, member = record_of(tmp_path / "a.zip")
        assert unwrap(record, member) == data


def test_what_lies_behind_a_member_is_told_with_its_cure(tmp_path: Path) -> None:
    write_raw(tmp_path / "a.zip", Raw(b"a.jpg"))
    insert(tmp_path / "a.zip", b"PK\1\2", b"x")
    assert refusal_of_header(tmp_path / "a.zip") == (
        "what lies behind it is neither its end nor the next member; download or copy it again"
    )
    stuff(tmp_path / "b.zip")
    (member,) = list_zip(tmp_path / "b.zip")
    with (tmp_path / "b.zip").open("rb") as file, pytest.raises(RefusedError) as error:
        read_zipped(file, member)
    assert str(error.value) == "its packed bytes end before or behind its content; download or copy it again"


def test_an_archive_may_be_as_large_as_the_bounds_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.zip", "a.jpg", "b.jpg", "c.jpg")
    monkeypatch.setattr(zips, "MAX_DIRECTORY_BYTES", 153)
    monkeypatch.setattr(zips, "MAX_MEMBERS", 3)
    assert len(list_zip(tmp_path / "a.zip")) == 3
    assert refusal_of_size(tmp_path / "a.zip", 10) == (
        "member 'a.jpg' unpacks to 3,000 bytes, over 10 bytes; leave it out, or raise data.max_member_bytes"
    )


def refusal_of_size(path: Path, max_member_bytes: int) -> str:
    with pytest.raises(RefusedError) as error:
        list_zip(path, max_member_bytes)
    return str(error.value)


def test_the_last_end_record_counts(tmp_path: Path) -> None:
    write_raw(tmp_path / "a.zip", Raw(b"a.jpg"), data=b"PK\5\6" * 10 + NOISE)
    (member,) = list_zip(tmp_path / "a.zip")
    assert member.size == 40 + len(NOISE)


def test_a_64_bit_end_record_is_found_before_the_longest_comment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as opened:
        for name in ("a.jpg", "b.jpg", "c.jpg"):
            opened.writestr(zipfile.ZipInfo(name), NOISE)
        opened.comment = b"x" * 0xFFFF
    data = bytearray(path.read_bytes())
    struct.pack_into("<2H", data, data.rindex(b"PK\5\6") + 8, 0xFFFF, 0xFFFF)  # it stands in the other record
    path.write_bytes(data)
    assert len(list_zip(path)) == 3


def test_letters_of_every_script_take_the_bytes_that_their_encoding_has(tmp_path: Path) -> None:
    write_raw(tmp_path / "a.zip", Raw("\u5bb6.jpg".encode(), flags=0x800), Raw(b"\x82.jpg"))
    assert_reads(tmp_path / "a.zip", {"\u5bb6.jpg", "\u00e9.jpg"})


def test_bytes_behind_the_last_of_several_members_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write_raw(path, Raw(b"a.jpg"), Raw(b"b.jpg"), Raw(b"c.jpg"))
    insert(path, b"PK\1\2", bytes(70_000))
    assert refusal(path).startswith("70,000 bytes between member 'c.jpg' and the directory belong to neither; ")
    write(path, "a.jpg", "b.jpg", "c.jpg")
    patch_entry(path, 2, OFFSET, "<I", list_zip(path)[1].offset + 5)
    assert refusal(path).startswith("member 'b.jpg' and member 'c.jpg' overlap; ")


def test_text_for_people_stays_on_its_line():
    assert printable("a\nb\x1b[31m\udcff \u5bb6") == "a\\nb\\x1b[31m\\udcff \u5bb6"


def test_the_largest_member_is_the_shipped_one() -> None:
    assert load_params(SHIPPED_PARAMS).data.max_member_bytes == MAX_MEMBER_BYTES
