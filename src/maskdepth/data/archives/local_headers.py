"""A member's own header: what a reader finds that goes from member to member and does not look at the directory.

Two programs must read one archive alike, or what was checked is not what is used: the two headers must say the same.
"""

import struct
import zipfile
import zlib
from typing import NamedTuple

from maskdepth.data.pictures.refusal import DAMAGED, RefusedError

# Time and date, two bytes each, are compared as one number.
HEADER = struct.Struct("<4s3H4I2H")
# A name and extra fields have lengths of two bytes; what follows a member has at most 24 bytes.
LONGEST_EXTRA = 0xFFFF
LONGEST_DESCRIPTOR = 24

ENCRYPTED_FLAG = 0x1
_DESCRIPTOR_FLAG = 0x8
UTF8_FLAG = 0x800
_ZIP64_FIELD, _UNICODE_PATH_FIELD = 0x0001, 0x7075
_IN_ZIP64 = 0xFFFFFFFF
# What both headers say of a member, in the order in which they are compared.
_FACTS = ("method", "encryption", "time", "CRC", "packed size", "size")


REPACK = "pack it again with an ordinary zip program"


class Member(NamedTuple):
    """One file of an archive.

    Attributes:
        name: Path inside the zip, or below the raw folder for loose files; "/" between folders.
        size: [bytes] when unpacked.
        crc: CRC-32 of the unpacked bytes.
        packed_size: [bytes] as stored.
        offset: [bytes] from the start of the zip to its header; 0 for loose files.
        method: How a zip stores it: 0 as it is, 8 deflated.
        end: [bytes] from the start of the zip to what follows it; 0 for loose files.
        changed: When it was last changed, in the four bytes of a zip; 0 for loose files.
    """

    name: str
    size: int
    crc: int
    packed_size: int
    offset: int = 0
    method: int = zipfile.ZIP_STORED
    end: int = 0
    changed: int = 0


def find_name(stored: str, extra: bytes) -> str:
    """Give the name of a member, "/" between folders: as stored, or as a field says that Info-ZIP writes beside it.

    Raises:
        RefusedError: The extra fields are damaged, or give another name to one that needs none.
    """
    name = _read_extra(extra).get(_UNICODE_PATH_FIELD, b"") if extra else b""
    # The field is of use as long as nobody changed the stored name; one in UTF-8 has its flag instead.
    if len(name) > 5 and name[0] == 1 and int.from_bytes(name[1:5], "little") == _crc_of(stored):
        told = name[5:].decode("utf-8", errors="replace")
        if stored.isascii() and told != stored:
            raise RefusedError(f"it is called {stored!r} and {told!r}", REPACK)
        stored = told
    # Some Windows programs separate folders by backslashes.
    return stored.replace("\\", "/")


def unwrap(record: bytes, member: Member) -> bytes:
    """Take the packed bytes of a member out of all that lies between its header and the next one.

    Raises:
        RefusedError: Its header, or what follows it, does not say what the directory says.
    """
    if len(record) < HEADER.size or not record.startswith(b"PK\x03\x04"):
        raise RefusedError("its header is not where the directory of the zip says", DAMAGED)
    _, _, flags, method, changed, crc, packed_size, size, name_size, extra_size = HEADER.unpack_from(record)
    name_end = HEADER.size + name_size
    begin = name_end + extra_size
    extra = record[name_end:begin]
    stored = record[HEADER.size : name_end].decode("utf-8" if flags & UTF8_FLAG else "cp437", errors="replace")
    if find_name(stored, extra) != member.name:
        raise RefusedError(f"its header calls it {stored!r}, the directory of the zip does not", DAMAGED)
    told = (method, flags & ENCRYPTED_FLAG, changed, crc, *_read_sizes(packed_size, size, extra))
    announced = (member.method, 0, member.changed, member.crc, member.packed_size, member.size)
    if told != announced:
        # A program that cannot go back writes zeros first, and the truth behind the member.
        later = (False, False, False, *[bool(flags & _DESCRIPTOR_FLAG)] * 3)
        facts = zip(_FACTS, told, announced, later, strict=True)
        if wrong := [fact for fact, found, right, is_later in facts if found != right and (found or not is_later)]:
            raise RefusedError(f"its header and the directory of the zip differ in {' and '.join(wrong)}", DAMAGED)
    packed, behind = record[begin : begin + member.packed_size], record[begin + member.packed_size :]
    if behind not in (_list_descriptors(member) if flags & _DESCRIPTOR_FLAG else [b""]):
        raise RefusedError("what lies behind it is neither its end nor the next member", DAMAGED)
    return packed


def _crc_of(name: str) -> int:
    return zlib.crc32(name.encode("cp437", errors="replace"))


def _read_extra(extra: bytes) -> dict[int, bytes]:
    """Take the extra fields of a header apart; a few zeros may fill up the rest, to align what follows."""
    fields: dict[int, bytes] = {}
    place = 0
    while extra[place:].strip(b"\0"):
        kind, size = struct.unpack_from("<2H", extra.ljust(place + 4, b"\0"), place)
        begin, place = place + 4, place + 4 + size
        if place > len(extra):
            raise RefusedError("its header has damaged extra fields", DAMAGED)
        if kind in fields and kind in (_ZIP64_FIELD, _UNICODE_PATH_FIELD):
            raise RefusedError("its header says twice how large it is, or what it is called", DAMAGED)
        fields[kind] = extra[begin:place]
    return fields


def _read_sizes(packed_size: int, size: int, extra: bytes) -> tuple[int, int]:
    """Give packed and unpacked size [bytes], which stand in an extra field if they are, or could be, over 4 GB."""
    if _IN_ZIP64 not in (packed_size, size):
        return packed_size, size
    wide = _read_extra(extra).get(_ZIP64_FIELD, b"")
    numbers = iter(struct.unpack_from(f"<{len(wide) // 8}Q", wide))
    # In the field their order is the other one.
    size = next(numbers, size) if size == _IN_ZIP64 else size
    return next(numbers, packed_size) if packed_size == _IN_ZIP64 else packed_size, size


def _list_descriptors(member: Member) -> list[bytes]:
    """List the ways to write CRC and sizes behind a member: sizes of four bytes or eight, with a mark before or not."""
    bare = [struct.pack(form, member.crc, member.packed_size, member.size) for form in ("<3I", "<I2Q")]
    return bare + [b"PK\x07\x08" + descriptor for descriptor in bare]
