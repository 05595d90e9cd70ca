"""Archives to shards: every picture decoded by all cores straight into its row of an array, never through files.

Where the encoded pictures are kept instead, each is decoded all the same: what cannot be used must be known at once.

A shard is written beside its place and renamed when it is complete. It keeps the key of what it was made from, so an
archive that did not change is not decoded again: the key holds all that could make another shard of it, but not the
bytes, as no file is read only to know whether it must be. So a shard of which some bytes were not those that its
archive announces, or could not be read, is made again in every run: the archive may have been mended since.
"""

import errno
import hashlib
import json
import math
import os
import shutil
import socket
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from maskdepth.data.archives.archive import Archive, content_digest
from maskdepth.data.archives.local_headers import Member
from maskdepth.data.archives.members import LABELS_FILE, MEMBER_COLUMNS, write_members
from maskdepth.data.arrays.arrays import CARD_FILE, CHANNELS, ENCODED, encoded_file, pixels_file, read_card, spans_file
from maskdepth.data.arrays.encoded import Spans, lay_out
from maskdepth.data.layouts.layout import NAME_COLUMNS, Layout
from maskdepth.data.pictures.decoding import decode_picture
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.data.tables import write_table
from maskdepth.params import DataParams
from maskdepth.process.cluster import Cluster, open_cluster
from maskdepth.process.code import digest_code
from maskdepth.process.files import PARTIAL, replace_text, sync
from maskdepth.process.workers import map_in_order, open_pool

UNKNOWN = "unknown"

# Of the code that runs, which a machine of a cluster has a clone of, too.
_ROOT = Path(__file__).resolve().parents[4]

# Another version of what decodes the pictures may change the arrays.
_DECODERS = ("pillow", "simplejpeg")
# What the pictures of a shard depend on; `data.max_rejected`, for one, is for the index.
_SETTINGS = {"store", "image_size", "depth_near", "depth_frame", "max_pixels"}
_ARCHIVE_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
# Enough work to be worth a message between processes, little enough for smooth progress.
_CHUNK = 64
# Chunks that are under way, or done and waiting for one before: what one process does while another starts.
_AHEAD = 128
# Decoding this many bytes of pictures takes about three times as long as starting a process.
_LITTLE_BYTES = 30_000_000
_READ_BYTES = 2**20
# No two pictures share so long a digest by chance, as one data set in a hundred of 10,000 pictures has it with CRC-32.
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class ShardPlan:
    """What one archive will become.

    Attributes:
        archive: Where the pictures are.
        members: Its files; empty when it was refused.
        table: One row per member, `MEMBER_COLUMNS`; sizes and reasons of pictures are known after decoding.
        layout: By which the names were read.
        params: How pictures are decoded and kept.
        key: Digest of everything that the shard depends on.
    """

    archive: Archive
    members: list[Member]
    table: pd.DataFrame
    layout: Layout
    params: DataParams
    key: str

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of pictures to decode, by kind."""
        found = Counter(kind for _, kind in self.pictures)
        return {kind: found[kind] for kind in CHANNELS if found[kind]}

    @property
    def num_pictures(self) -> int:
        """Number of pictures to decode."""
        return len(self.pictures)

    @cached_property
    def pictures(self) -> list[tuple[Member, str]]:
        """The members that are pictures, in order, with their kinds."""
        found = zip(self.members, self.table["kind"], strict=False)  # a refused archive has a row and no member
        return [(member, kind) for member, kind in found if kind in CHANNELS]

    @property
    def packed_bytes(self) -> int:
        """Size of the members [bytes], as stored."""
        return sum(member.packed_size for member in self.members)


class _Outcome(NamedTuple):
    """What came of one picture, as texts of `MEMBER_COLUMNS`: its size [px] as stored, or why it was rejected."""

    width: str
    height: str
    digest: str
    reason: str
    cure: str


class _Chunk(NamedTuple):
    """Work for one process: pictures of one archive, with kind and place [bytes] in the file of that kind."""

    archive: Archive
    files: dict[str, Path]
    params: DataParams
    pictures: list[tuple[Member, str, int]]


def plan_shard(archive: Archive, members: list[Member], layout: Layout, params: DataParams, code: str) -> ShardPlan:
    """Read the names of an archive and number the pictures of each kind.

    Args:
        archive: Where they are.
        members: Its files.
        layout: By which the names are read.
        params: How pictures are decoded and kept.
        code: Digest of the code that decodes them.
    """
    table = read_names(archive, members, layout)
    return ShardPlan(archive, members, table, layout, params, _key(archive, members, layout, params, code))


def _key(archive: Archive, members: list[Member], layout: Layout, params: DataParams, code: str) -> str:
    return _digest(archive.name, content_digest(members), layout, params, code)


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


def plan_refused(archive: Archive, error: RefusedError, layout: Layout, params: DataParams, code: str) -> ShardPlan:
    """Make a shard without pictures, in which a refused archive says why."""
    key = _digest(archive.name, f"{error.reason}; {error.cure}", layout, params, code)
    return ShardPlan(archive, [], name_refused(error), layout, params, key)


def name_refused(error: RefusedError) -> pd.DataFrame:
    """Give the one row of a refused archive, `MEMBER_COLUMNS` as text: a member without a name, and why."""
    return _member_table([(UNKNOWN, "", *[""] * len(NAME_COLUMNS), "", "", "", "", error.reason, error.cure)])


def is_current(arrays_dir: Path, plan: ShardPlan) -> bool:
    """Say whether the shard is there already, whole, and what the archive would give if it were read again."""
    folder = arrays_dir / plan.archive.shard
    try:
        card = read_card(folder)
    except (FileNotFoundError, ValueError):
        return False
    is_whole = all(type(card.get(name)) is int for name in ("pictures", "rejected")) and card.get("unread") == 0
    return is_whole and card.get("key") == plan.key and card.get("checksums") == _checksums(folder)


def update_size(arrays_dir: Path, plan: ShardPlan) -> None:
    """Note in the card of a current shard the size that its pictures are to be decoded to."""
    path = arrays_dir / plan.archive.shard / CARD_FILE
    card = read_card(path.parent)
    if card["image_size"] != plan.params.image_size:
        replace_text(path, json.dumps(card | {"image_size": plan.params.image_size}, indent=2) + "\n")


def remove_stale(arrays_dir: Path, plans: Iterable[ShardPlan]) -> None:
    """Remove the shards of archives that are gone, and what an interrupted run left behind."""
    wanted = {plan.archive.shard for plan in plans}
    for card in arrays_dir.glob(f"*/{CARD_FILE}"):
        if card.parent.name not in wanted:
            shutil.rmtree(card.parent)
    _remove_staging(arrays_dir, ignore_errors=False)


def write_shards(arrays_dir: Path, plans: Sequence[ShardPlan], workers: int) -> Iterator[None]:
    """Decode the archives in order, by all workers, and yield once per picture.

    A picture that cannot be used becomes a rejected member; its row stays black and nothing refers to it. Where this
    fails or is given up, the shards that are complete stay and nothing else.

    Args:
        arrays_dir: Where the shards go.
        plans: What to write.
        workers: Processes to decode with; a few pictures are decoded in this one.

    Raises:
        OSError: The disk is too full.
        ChildProcessError: A worker died; names what it was decoding, or what came shortly before.
    """
    if not plans:
        return
    _check_space(arrays_dir, sum(map(_num_bytes, plans)))
    try:
        with open_cluster() as cluster:
            if cluster:
                yield from _write_on(cluster, arrays_dir.resolve(), plans)
            else:
                yield from _write_shards(arrays_dir, plans, workers)
    finally:  # no worker is left that could write to it, or one of another machine whose work nobody waits for
        _remove_staging(arrays_dir, ignore_errors=True)


def _remove_staging(arrays_dir: Path, *, ignore_errors: bool) -> None:
    for folder in arrays_dir.glob(f"{PARTIAL}*/"):
        shutil.rmtree(folder, ignore_errors=ignore_errors)


def _write_on(cluster: Cluster, arrays_dir: Path, plans: Sequence[ShardPlan]) -> Iterator[None]:
    """Give each archive to one machine as a whole: what several write into one file, a network's disk may mix up."""
    here = [replace(plan, archive=replace(plan.archive, raw_dir=plan.archive.raw_dir.resolve())) for plan in plans]
    futures = [cluster.executor.submit(write_shard, arrays_dir, plan) for plan in here]
    try:
        for plan, future in zip(plans, futures, strict=True):
            cluster.result(future, plan.archive.printable_name)
            yield from [None] * plan.num_pictures
    finally:
        for future in futures:
            future.cancel()


def write_shard(arrays_dir: Path, plan: ShardPlan) -> None:
    """Decode one archive alone, on whichever machine; what does it again, at once or later, changes nothing.

    Raises:
        ValueError: This machine would make another shard of it: its code or its decoders are others.
    """
    code = digest_code(_ROOT, "unzip")
    if plan.members and plan.key != _key(plan.archive, plan.members, plan.layout, plan.params, code):
        raise ValueError(
            f"{socket.gethostname()} has other code in {_ROOT}, or other versions of {' or '.join(_DECODERS)}, than "
            "the machine that asks it; give both the same environment and start the cluster again"
        )
    if is_current(arrays_dir, plan):
        return
    staging = arrays_dir / f"{PARTIAL}{plan.archive.shard}-{uuid.uuid4().hex}"
    try:
        outcomes = chain.from_iterable(map(_decode_chunk, _start_shard(staging, plan)))
        _finish_shard(staging, arrays_dir / plan.archive.shard, plan, [*outcomes])
    except FileExistsError:  # another one that does the same was sooner
        if not is_current(arrays_dir, plan):
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_shards(arrays_dir: Path, plans: Sequence[ShardPlan], workers: int) -> Iterator[None]:
    is_little = sum(plan.packed_bytes for plan in plans) <= _LITTLE_BYTES
    chunks = chain.from_iterable(_start_shard(_staging(arrays_dir, plan), plan) for plan in plans if plan.num_pictures)
    # To finish a shard is mostly to wait for the disk: a thread does, while others decode the next one.
    with open_pool(1 if is_little else workers) as pool, ThreadPoolExecutor(1) as finisher:
        outcomes = map_in_order(pool, _decode_chunk, chunks, _AHEAD, _describe_chunk)
        finishing: Future[None] | None = None
        for plan in plans:
            found: list[_Outcome] = []
            if not plan.num_pictures:
                _start_shard(_staging(arrays_dir, plan), plan)  # gives no work, on the way to which it would be started
            while len(found) < plan.num_pictures:
                some = next(outcomes)
                found += some
                yield from [None] * len(some)
            if finishing:
                finishing.result()
            places = _staging(arrays_dir, plan), arrays_dir / plan.archive.shard
            finishing = finisher.submit(_finish_shard, *places, plan, found)
        if finishing:
            finishing.result()


def _start_shard(staging: Path, plan: ShardPlan) -> list[_Chunk]:
    """Make empty arrays beside the place of the shard, and cut the work of filling them."""
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    files = {kind: staging / _file_of(plan, kind) for kind in plan.counts}
    places = {}
    for kind, path in files.items():
        with _naming(path):
            places[kind] = iter(_make_places(plan, kind, path))
    pictures = [(member, kind, next(places[kind])) for member, kind in plan.pictures]
    cuts = range(0, len(pictures), _CHUNK)
    return [_Chunk(plan.archive, files, plan.params, pictures[cut : cut + _CHUNK]) for cut in cuts]


def _make_places(plan: ShardPlan, kind: str, path: Path) -> list[int]:
    """Make a file of zeros, which take no room on the disk yet; give the place of each picture in it [bytes]."""
    if plan.params.store == ENCODED:
        spans = _lay_out(plan, kind)
        with path.open("wb") as file:
            file.truncate(int(spans.sum(1)[-1]))
        return [int(start) for start in spans[:, 0]]
    shape = _shape(plan, kind)
    first = int(np.lib.format.open_memmap(path, "w+", np.uint8, shape).offset)
    return [first + row * math.prod(shape[1:]) for row in range(shape[0])]


def _finish_shard(staging: Path, folder: Path, plan: ShardPlan, outcomes: Sequence[_Outcome]) -> None:
    table = _add_outcomes(plan.table, outcomes)
    if plan.params.store == ENCODED:
        for kind in plan.counts:
            is_used = (table.loc[table["kind"] == kind, "row"] != "").to_numpy()
            spans = _lay_out(plan, kind)
            spans[~is_used, 1] = 0
            with _naming(staging / spans_file(kind)):
                np.save(staging / spans_file(kind), spans)
    labels = read_labels(plan.archive, plan.members, plan.layout, table)
    if not labels.empty:
        write_table(staging / LABELS_FILE, labels)
    write_members(staging, table)
    _write_card(staging / CARD_FILE, plan, table)
    _publish(staging, folder)


def _staging(arrays_dir: Path, plan: ShardPlan) -> Path:
    return arrays_dir / f"{PARTIAL}{plan.archive.shard}"


def _decode_chunk(chunk: _Chunk) -> list[_Outcome]:
    outcomes = []
    params, is_encoded = chunk.params, chunk.params.store == ENCODED
    decoding = (params.image_size, params.depth_near, params.depth_frame, params.max_pixels)
    members = [member for member, _, _ in chunk.pictures]
    with chunk.archive.opened(members) as read, ExitStack() as stack:
        # Written and not mapped: a full disk is then an error, and no signal that kills.
        files = {kind: stack.enter_context(path.open("r+b", buffering=0)) for kind, path in chunk.files.items()}
        for member, kind, place in chunk.pictures:
            digest = ""
            try:
                data = read(member)
                digest = hashlib.blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()
                picture = decode_picture(data, kind, *decoding)
            except RefusedError as error:
                outcomes.append(_Outcome("", "", digest, error.reason, error.cure))
            else:
                with _naming(chunk.files[kind]):
                    _write_at(files[kind].fileno(), place, data if is_encoded else picture.pixels.tobytes())
                outcomes.append(_Outcome(str(picture.width), str(picture.height), digest, "", ""))
    return outcomes


def _describe_chunk(chunk: _Chunk) -> str:
    (first, *_), (last, *_) = chunk.pictures[0], chunk.pictures[-1]
    return f"{chunk.archive.printable_name}: {first.name} to {last.name}"


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say which file an error is about: neither NumPy nor the calls on open files do."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write_at(handle: int, place: int, content: bytes) -> None:
    while content:  # a disk that becomes full takes a part, and then none
        written = os.pwrite(handle, content, place)
        place, content = place + written, content[written:]


def _add_outcomes(table: pd.DataFrame, outcomes: Sequence[_Outcome]) -> pd.DataFrame:
    table = table.copy()
    columns = list(_Outcome._fields)
    is_picture = table["kind"].isin(list(CHANNELS))
    table.loc[is_picture, columns] = pd.DataFrame(outcomes, columns=columns, dtype=str).to_numpy()
    table.loc[table["reason"] != "", "row"] = ""
    return table


def _write_card(path: Path, plan: ShardPlan, table: pd.DataFrame) -> None:
    card = {
        "archive": plan.archive.printable_name,
        "layout": plan.layout.name,
        "definition": plan.layout.definition,
        **plan.params.model_dump(include=_SETTINGS),
        "key": plan.key,
        "checksums": _checksums(path.parent),
        "counts": plan.counts,
        "pictures": int((table["row"] != "").sum()),
        "rejected": int((table["reason"] != "").sum()),
        "unread": int((table["member"].ne("") & table["digest"].eq("")).sum()),
    }
    replace_text(path, json.dumps(card, indent=2) + "\n")


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
        with _naming(path):
            sync(path)
    if folder.exists():
        shutil.rmtree(folder)
    try:
        staging.rename(folder)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise FileExistsError(errno.EEXIST, "another one appeared there", str(folder)) from error
        raise
    sync(folder.parent)


def _check_space(folder: Path, needed: int) -> None:
    """Stop before the work begins: hours of it would be in vain."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        problem = f"needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        raise OSError(errno.ENOSPC, problem, str(folder))


def _num_bytes(plan: ShardPlan) -> int:
    if plan.params.store == ENCODED:
        return sum(member.size for member, _ in plan.pictures)
    return sum(math.prod(_shape(plan, kind)) for kind in plan.counts)


def _lay_out(plan: ShardPlan, kind: str) -> Spans:
    return lay_out([member.size for member, its_kind in plan.pictures if its_kind == kind])


def _file_of(plan: ShardPlan, kind: str) -> str:
    return encoded_file(kind) if plan.params.store == ENCODED else pixels_file(kind)


def _shape(plan: ShardPlan, kind: str) -> tuple[int, ...]:
    size = plan.params.image_size
    return (plan.counts[kind], size, size, *CHANNELS[kind])


def _member_table(lines: list[tuple[str, ...]]) -> pd.DataFrame:
    return pd.DataFrame(lines, columns=list(MEMBER_COLUMNS), dtype=str)


def _announced(member: Member) -> str:
    """Tell the bytes of a member from others before anybody has read them."""
    return f"{member.crc:08x}-{member.size}"


def _why_unknown(name: str, layout: Layout) -> tuple[str, str]:
    if name.lower().endswith(_ARCHIVE_SUFFIXES):
        return "only zip archives are opened, and none within another", "unpack it into the raw folder"
    return f"its name fits no pattern of layout {layout.name}", "remove it, or describe it in data.layout"


def _digest(name: str, content: str, layout: Layout, params: DataParams, code: str) -> str:
    """Hash all that a shard depends on; encoded pictures are the same for any size that they are decoded to."""
    settings = params.model_dump(include=_SETTINGS - ({"image_size"} if params.store == ENCODED else set()))
    decoders = {library: version(library) for library in _DECODERS}
    parts = [name, content, layout.name, layout.definition, settings, code, decoders]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
