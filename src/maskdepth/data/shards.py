"""Archives to shards: every picture decoded by all cores straight into memory-mapped arrays, never through files.

A shard is written beside its place and renamed when it is complete. It keeps the key of what it was made from, so an
archive that did not change is not decoded again.
"""

import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from filelock import Timeout

from maskdepth.data.archives import Archive, content_digest
from maskdepth.data.arrays import CARD_FILE, CHANNELS, LABELS_FILE, MEMBER_COLUMNS, MEMBERS_FILE, read_card
from maskdepth.data.framed import COLOUR_MAPS_FILE
from maskdepth.data.layouts import NAME_COLUMNS, Layout
from maskdepth.data.pictures import decode_picture
from maskdepth.data.tables import write_table
from maskdepth.data.zips import Member, RefusedError
from maskdepth.params import DataParams
from maskdepth.worker_pool import map_in_order, open_pool

UNKNOWN = "unknown"

_PARTIAL = ".partial-"
# A change in one of these may change the arrays.
_CODE = ("archives.py", "arrays.py", COLOUR_MAPS_FILE, "framed.py", "layouts.py", "pictures.py", "shards.py", "zips.py")
_ARCHIVE_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
# Enough work to be worth a message between processes, little enough for smooth progress.
_CHUNK = 64
_CHUNKS_PER_WORKER = 4  # under way at a time
# Starting processes takes about as long as decoding this many pictures.
_FEW_PICTURES = 1000
_READ_BYTES = 2**20


@dataclass(frozen=True)
class ShardPlan:
    """What one archive will become.

    Attributes:
        archive: Where the pictures are.
        members: Its files; empty when it was refused.
        table: One row per member, `MEMBER_COLUMNS`; sizes and reasons of pictures are known after decoding.
        layout: By which the names were read.
        params: Size, depth direction, and what to do with depth maps that have a frame.
        key: Digest of everything that the shard depends on.
    """

    archive: Archive
    members: list[Member]
    table: pd.DataFrame
    layout: Layout
    params: DataParams
    key: str

    @property
    def counts(self) -> dict[str, int]:
        """Number of pictures to decode, by kind."""
        found = Counter(self.table["kind"])
        return {kind: found[kind] for kind in CHANNELS if found[kind]}

    @property
    def num_pictures(self) -> int:
        """Number of pictures to decode."""
        return sum(self.counts.values())


class _Outcome(NamedTuple):
    """What came of one picture, as texts of `MEMBER_COLUMNS`: its size [px] as stored, or why it was rejected."""

    width: str
    height: str
    reason: str
    cure: str


class _Chunk(NamedTuple):
    """Work for one process: pictures of one archive, with kind and row of each."""

    archive: Archive
    folder: Path
    params: DataParams
    pictures: list[tuple[Member, str, int]]


def plan_shard(archive: Archive, members: list[Member], layout: Layout, params: DataParams) -> ShardPlan:
    """Read the names of an archive and number the pictures of each kind."""
    key = _digest(archive.name, content_digest(members), layout, params)
    return ShardPlan(archive, members, read_names(archive, members, layout), layout, params, key)


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
        lines.append((kind, member.name, *named, "", "", f"{member.crc:08x}", row, reason, cure))
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
    with archive.opened() as read:
        for position in positions:
            try:
                rows += layout.read_labels(read(members[position]).decode())
            except RefusedError as error:
                table.loc[position, ["reason", "cure"]] = error.reason, error.cure
            except ValueError as error:
                table.loc[position, ["reason", "cure"]] = f"not the labels of this layout: {error}", "mend the file"
    return pd.DataFrame(rows, columns=columns, dtype=str)


def plan_refused(archive: Archive, error: RefusedError, layout: Layout, params: DataParams) -> ShardPlan:
    """Make a shard without pictures, in which a refused archive says why."""
    line = (UNKNOWN, "", *[""] * len(NAME_COLUMNS), "", "", "", "", error.reason, error.cure)
    key = _digest(archive.name, f"{error.reason}; {error.cure}", layout, params)
    return ShardPlan(archive, [], _member_table([line]), layout, params, key)


def is_current(arrays_dir: Path, plan: ShardPlan) -> bool:
    """Say whether the shard is there already, whole, and made from the same archive in the same way."""
    folder = arrays_dir / plan.archive.shard
    try:
        card = read_card(folder)
    except (FileNotFoundError, ValueError):
        return False
    return bool(card["key"] == plan.key and card["checksums"] == _checksums(folder))


@contextmanager
def locked(arrays_dir: Path) -> Iterator[None]:
    """Keep other processes from writing shards meanwhile: when DVC is killed, the stage that it started goes on.

    The folder itself is locked, as a lock file in it would become part of the output.

    Raises:
        Timeout: Another process writes.
    """
    handle = os.open(arrays_dir, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Timeout(str(arrays_dir)) from None
        yield
    finally:
        os.close(handle)


def remove_stale(arrays_dir: Path, plans: Iterable[ShardPlan]) -> None:
    """Remove the shards of archives that are gone, and what an interrupted run left behind."""
    wanted = {plan.archive.shard for plan in plans}
    for card in arrays_dir.glob(f"*/{CARD_FILE}"):
        if card.parent.name not in wanted:
            shutil.rmtree(card.parent)
    for folder in arrays_dir.glob(f"{_PARTIAL}*/"):
        shutil.rmtree(folder)


def usable_cores() -> int:
    """Count the cores that this process may use; a container often has fewer than its machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write_shards(arrays_dir: Path, plans: Sequence[ShardPlan], workers: int) -> Iterator[None]:
    """Decode the archives one after the other, each by all workers, and yield once per picture.

    A picture that cannot be used becomes a rejected member; its row stays black and nothing refers to it.

    Args:
        arrays_dir: Where the shards go.
        plans: What to write.
        workers: Processes to decode with; a few pictures are decoded in this one.

    Raises:
        OSError: The disk is too full.
        MemoryError: A worker was killed.
    """
    _check_space(arrays_dir, sum(map(_num_bytes, plans)))
    is_little = sum(plan.num_pictures for plan in plans) <= _FEW_PICTURES
    with open_pool(1 if is_little else workers) as pool:
        for plan in plans:
            yield from _write_shard(arrays_dir, plan, pool, ahead=_CHUNKS_PER_WORKER * workers)


def _write_shard(arrays_dir: Path, plan: ShardPlan, pool: ProcessPoolExecutor | None, ahead: int) -> Iterator[None]:
    folder = arrays_dir / plan.archive.shard
    staging = arrays_dir / f"{_PARTIAL}{plan.archive.shard}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    for kind in plan.counts:
        np.lib.format.open_memmap(staging / f"{kind}.npy", "w+", np.uint8, _shape(plan, kind))
    outcomes = []
    for chunk_outcomes in map_in_order(pool, _decode_chunk, _chunks(plan, staging), ahead):
        outcomes += chunk_outcomes
        yield from [None] * len(chunk_outcomes)
    table = _add_outcomes(plan.table, outcomes)
    labels = read_labels(plan.archive, plan.members, plan.layout, table)
    if not labels.empty:
        write_table(staging / LABELS_FILE, labels)
    write_table(staging / MEMBERS_FILE, table)
    _write_card(staging / CARD_FILE, plan, table)
    _publish(staging, folder)


def _chunks(plan: ShardPlan, folder: Path) -> Iterator[_Chunk]:
    lines = zip(plan.members, plan.table["kind"], plan.table["row"], strict=False)
    pictures = [(member, kind, int(row)) for member, kind, row in lines if kind in CHANNELS]
    for start in range(0, len(pictures), _CHUNK):
        chosen = pictures[start : start + _CHUNK]
        yield _Chunk(plan.archive, folder, plan.params, chosen)


def _decode_chunk(chunk: _Chunk) -> list[_Outcome]:
    kinds = {kind for _, kind, _ in chunk.pictures}
    arrays = {kind: np.lib.format.open_memmap(chunk.folder / f"{kind}.npy", "r+") for kind in kinds}
    outcomes = []
    size, near, frame = chunk.params.image_size, chunk.params.depth_near, chunk.params.depth_frame
    with chunk.archive.opened() as read:
        for member, kind, row in chunk.pictures:
            try:
                picture = decode_picture(read(member), kind, size, near, frame)
            except RefusedError as error:
                outcomes.append(_Outcome("", "", error.reason, error.cure))
            else:
                arrays[kind][row] = picture.pixels
                outcomes.append(_Outcome(str(picture.width), str(picture.height), "", ""))
    return outcomes


def _add_outcomes(table: pd.DataFrame, outcomes: Sequence[_Outcome]) -> pd.DataFrame:
    table = table.copy()
    columns = list(_Outcome._fields)
    is_picture = table["kind"].isin(list(CHANNELS))
    table.loc[is_picture, columns] = pd.DataFrame(outcomes, columns=columns, dtype=str).to_numpy()
    table.loc[table["reason"] != "", "row"] = ""
    return table


def _write_card(path: Path, plan: ShardPlan, table: pd.DataFrame) -> None:
    card = {
        "archive": plan.archive.name,
        "layout": plan.layout.name,
        "definition": plan.layout.definition,
        "image_size": plan.params.image_size,
        "depth_near": plan.params.depth_near,
        "depth_frame": plan.params.depth_frame,
        "key": plan.key,
        "checksums": _checksums(path.parent),
        "counts": plan.counts,
        "pictures": int((table["row"] != "").sum()),
        "rejected": int((table["reason"] != "").sum()),
    }
    path.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def _checksums(folder: Path) -> dict[str, str]:
    """CRC-32 of every file but the card: whoever keeps a shard must know that nobody touched it."""
    return {path.name: _crc_of(path) for path in sorted(folder.iterdir()) if path.name != CARD_FILE}


def _crc_of(path: Path) -> str:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            crc = zlib.crc32(block, crc)
    return f"{crc:08x}"


def _publish(staging: Path, folder: Path) -> None:
    """Put a complete shard in its place, on the disk first so that a power cut leaves none that only looks whole."""
    for path in [*staging.iterdir(), staging]:
        _sync(path)
    if folder.exists():
        shutil.rmtree(folder)
    staging.rename(folder)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_space(folder: Path, needed: int) -> None:
    """Stop before the work begins; a full disk under a mapped file would kill the worker without a word."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        problem = f"needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        raise OSError(errno.ENOSPC, problem, str(folder))


def _num_bytes(plan: ShardPlan) -> int:
    return sum(math.prod(_shape(plan, kind)) for kind in plan.counts)


def _shape(plan: ShardPlan, kind: str) -> tuple[int, ...]:
    size = plan.params.image_size
    return (plan.counts[kind], size, size, *CHANNELS[kind])


def _member_table(lines: list[tuple[str, ...]]) -> pd.DataFrame:
    return pd.DataFrame(lines, columns=list(MEMBER_COLUMNS), dtype=str)


def _why_unknown(name: str, layout: Layout) -> tuple[str, str]:
    if name.lower().endswith(_ARCHIVE_SUFFIXES):
        return "only zip archives are opened, and none within another", "unpack it into the raw folder"
    return f"its name fits no pattern of layout {layout.name}", "remove it, or describe it in data.layout"


def _digest(name: str, content: str, layout: Layout, params: DataParams) -> str:
    """Hash all that a shard depends on; `data.max_rejected` is for the index."""
    code = [(Path(__file__).parent / file).read_text(encoding="utf-8") for file in _CODE]
    settings = params.model_dump(include={"image_size", "depth_near", "depth_frame"})
    parts = [name, content, layout.name, layout.definition, settings, code]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
