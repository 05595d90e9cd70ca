"""What each archive will become: its members told by their names, and the key of all that its shard depends on.

Of every archive a few numbers are in memory, and what its members are called only while it is decoded.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
import pandas as pd

from maskdepth.data.archives.archive import Archive
from maskdepth.data.archives.listings import Listing
from maskdepth.data.archives.local_headers import Member
from maskdepth.data.archives.members import MEMBER_COLUMNS
from maskdepth.data.arrays.arrays import CHANNELS, ENCODED
from maskdepth.data.layouts.layout import NAME_COLUMNS, Layout
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.params import DataParams

UNKNOWN = "unknown"

# Another version of what decodes the pictures may change the arrays.
DECODERS = ("pillow", "simplejpeg")
# What the pictures of a shard depend on; `data.max_rejected`, for one, is for the index.
SETTINGS = {"store", "image_size", "depth_near", "depth_frame", "max_pixels"}
_ARCHIVE_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


class Demand(NamedTuple):
    """What an archive asks for.

    Attributes:
        counts: Number of pictures to decode, by kind.
        num_bytes: Size of the pictures in the shard [bytes].
        packed_bytes: Size of the members [bytes], as stored.
    """

    counts: dict[str, int]
    num_bytes: int
    packed_bytes: int


@dataclass(frozen=True)
class Contents:
    """The members of one archive, while it is decoded.

    Attributes:
        members: Its files; empty when it was refused.
        table: One row per member, `MEMBER_COLUMNS`; sizes and reasons of pictures are known after decoding.
    """

    members: list[Member]
    table: pd.DataFrame

    def pictures(self) -> list[tuple[Member, str]]:
        """Give the members that are pictures, in order, with their kinds."""
        found = zip(self.members, self.table["kind"], strict=False)  # a refused archive has a row and no member
        return [(member, kind) for member, kind in found if kind in CHANNELS]


@dataclass(frozen=True)
class ShardPlan:
    """What one archive will become.

    Attributes:
        archive: Where the pictures are.
        source: What lists its members, or why it was refused.
        layout: By which the names are read.
        params: How pictures are decoded and kept.
        key: Digest of everything that the shard depends on.
    """

    archive: Archive
    source: Listing | RefusedError
    layout: Layout
    params: DataParams
    key: str

    @cached_property
    def demand(self) -> Demand:
        """What it asks for; the archive's list is read for it."""
        members = [] if isinstance(self.source, RefusedError) else self.source.members()
        counts = Counter[str]()
        encoded_bytes = 0
        for member in members:
            found = self.layout.recognise(self.archive.path_of(member))
            if found and found.kind in CHANNELS:
                counts[found.kind] += 1
                encoded_bytes += member.size
        ordered = {kind: counts[kind] for kind in CHANNELS if counts[kind]}
        pixels_bytes = sum(math.prod(shape_of(kind, count, self.params)) for kind, count in ordered.items())
        num_bytes = encoded_bytes if self.params.store == ENCODED else pixels_bytes
        return Demand(ordered, num_bytes, sum(member.packed_size for member in members))

    @property
    def num_pictures(self) -> int:
        """Number of pictures to decode."""
        return sum(self.demand.counts.values())

    def read_contents(self) -> Contents:
        """Read the list of its members, and their names; pictures of a kind are numbered as they come."""
        if isinstance(self.source, RefusedError):
            return Contents([], name_refused(self.source))
        members = self.source.members()
        return Contents(members, read_names(self.archive, members, self.layout))


def plan_shard(
    archive: Archive, source: Listing | RefusedError, layout: Layout, params: DataParams, code: str
) -> ShardPlan:
    """Plan what an archive will become; of one that was refused, a shard without pictures that says why.

    Args:
        archive: Where the pictures are.
        source: What lists its members, or why it was refused.
        layout: By which the names are read.
        params: How pictures are decoded and kept.
        code: Digest of the code that decodes them.
    """
    return ShardPlan(archive, source, layout, params, key_of(archive, source, layout, params, code))


def decoding_settings(params: DataParams) -> set[str]:
    """Name the settings that make other shards, beside the layout; encoded pictures are decoded for every batch."""
    return SETTINGS - {"image_size"} if params.store == ENCODED else SETTINGS


def key_of(archive: Archive, source: Listing | RefusedError, layout: Layout, params: DataParams, code: str) -> str:
    """Hash all that a shard depends on; encoded pictures are the same for any size that they are decoded to."""
    content = f"{source.reason}; {source.cure}" if isinstance(source, RefusedError) else source.content
    settings = params.model_dump(include=decoding_settings(params))
    decoders = {library: version(library) for library in DECODERS}
    parts = [archive.name, content, layout.name, layout.definition, settings, code, decoders]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def shape_of(kind: str, count: int, params: DataParams) -> tuple[int, ...]:
    """Give the shape of so many pictures of a kind."""
    return (count, params.image_size, params.image_size, *CHANNELS[kind])


def read_names(archive: Archive, members: Iterable[Member], layout: Layout) -> pd.DataFrame:
    """Tell what each member of an archive is by its name; pictures of a kind are numbered as they come.

    Returns:
        One row per member, `MEMBER_COLUMNS` as text.
    """
    rows: Counter[str] = Counter()
    lines = []
    for member in members:
        found = layout.recognise(archive.path_of(member))
        kind, ids = found if found else (UNKNOWN, {})
        row = ""
        if kind in CHANNELS:
            row = str(rows[kind])
            rows[kind] += 1
        reason, cure = ("", "") if found else _why_unknown(member.name, layout)
        named = [ids.get(column, "") for column in NAME_COLUMNS]
        lines.append((kind, member.name, *named, "", "", _announced(member), row, reason, cure))
    return _member_table(lines)


def read_labels(archive: Archive, members: Sequence[Member], layout: Layout, table: pd.DataFrame) -> pd.DataFrame:
    """Read the rows of the archive's labels files; one that cannot be read becomes a rejected member.

    Args:
        archive: Where they are.
        members: Its files.
        layout: Names the columns.
        table: One row per member, as of `read_names`; reasons are added to it.

    Returns:
        The rows, columns as the layout names them; none if it does not use labels.
    """
    columns = list(layout.label_columns)
    positions = np.flatnonzero(table["kind"] == "labels").tolist() if columns else []
    if not positions:
        return pd.DataFrame(columns=columns, dtype=str)
    rows: list[list[str]] = []
    with archive.opened([members[position] for position in positions]) as read:
        for position in positions:
            try:
                rows += layout.read_labels(read(members[position]).decode())
            except RefusedError as error:
                table.loc[position, ["digest", "reason", "cure"]] = "", error.reason, error.cure
            except ValueError as error:
                table.loc[position, ["reason", "cure"]] = f"not the labels of this layout: {error}", "mend the file"
    return pd.DataFrame(rows, columns=columns, dtype=str)


def name_refused(error: RefusedError) -> pd.DataFrame:
    """Give the one row of a refused archive, `MEMBER_COLUMNS` as text: a member without a name, and why."""
    return _member_table([(UNKNOWN, "", *[""] * len(NAME_COLUMNS), "", "", "", "", error.reason, error.cure)])


def _member_table(lines: list[tuple[str, ...]]) -> pd.DataFrame:
    return pd.DataFrame(lines, columns=list(MEMBER_COLUMNS), dtype=str)


def _announced(member: Member) -> str:
    """Tell the bytes of a member from others before anybody has read them."""
    return f"{member.crc:08x}-{member.size}"


def _why_unknown(name: str, layout: Layout) -> tuple[str, str]:
    if name.lower().endswith(_ARCHIVE_SUFFIXES):
        return "only zip archives are opened, and none within another", "unpack it into the raw folder"
    return f"its name fits no pattern of layout {layout.name}", "remove it, or describe it in data.layout"
