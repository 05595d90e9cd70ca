"""Proves that a zip is read whole or refused with a reason: never cut, renamed, or half read without a word."""

import errno
import io
import os
import random
import resource
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskdepth.data.archives import zips
from maskdepth.data.archives.zips import MAX_MEMBER_BYTES, list_zip, read_zipped
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.process.console import printable

NOISE = random.Random(0).randbytes(3000)
# Where the fields of a directory entry lie.
FLAGS, SIZE, OFFSET, NAME = 8, 24, 42, 46


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
    "bomb by size": (too_large, "'a.jpg' unpacks to 256.0 MB, over 256.0 MB"),
    "bomb by ratio": (lambda path: write(path, "a.jpg", data=bytes(2**21)), "unpacks to 10.. times its size, over 200"),
    "lying size": (too_small_a_size, "'a.jpg' claims 10 bytes but holds 3005 packed ones"),
    "overlap": (overlapping, "members 'a.jpg' and 'b.jpg' overlap"),
    "same name": (same_name_twice, "members 'a.jpg' and 'a.jpg' have the same name"),
    "letter case": (lambda path: write(path, "a.jpg", "A.JPG"), "members 'a.jpg' and 'A.JPG' have the same name"),
    "two forms of a letter": (lambda path: write(path, "\u00e9.jpg", "e\u0301.jpg"), "have the same name"),
    "NUL": (with_nul, r"'a\\x00b.jpg' has unprintable characters"),
    "escape code": (lambda path: write(path, "a\x1b[31m.jpg"), r"'a\\x1b\[31m.jpg' has unprintable characters"),
    "long name": (lambda path: write(path, "a" * 2000), "has a name of 2000 characters, over 1024"),
    "method": (lambda path: write(path, "a.jpg", method=zipfile.ZIP_LZMA), "'a.jpg' is packed with method 14"),
    "count": (vanished_member, "its end record counts 7 members, its directory has 1"),
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


def test_a_flipped_bit_is_told_by_the_crc(tmp_path: Path) -> None:
    path = tmp_path / "flipped.zip"
    write(path, "a.jpg", method=zipfile.ZIP_STORED)
    replace_bytes(path, NOISE[:100], bytes([NOISE[0] ^ 1]) + NOISE[1:100])
    (member,) = list_zip(path)
    with path.open("rb") as file, pytest.raises(RefusedError, match="CRC differs"):
        read_zipped(file, member)


def test_a_member_longer_than_it_claims_is_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "cut.zip"
    write(path, "a.jpg", data=bytes(1000))
    patch_entry(path, 0, SIZE, "<I", 999)
    (member,) = list_zip(path)
    with path.open("rb") as file, pytest.raises(RefusedError, match="not the 999 bytes"):
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
        with pytest.raises(RefusedError, match=r"damaged|its size is not"):
            read_zipped(file, second)


def test_text_for_people_stays_on_its_line():
    assert printable("a\nb\x1b[31m\udcff \u5bb6") == "a\\nb\\x1b[31m\\udcff \u5bb6"
