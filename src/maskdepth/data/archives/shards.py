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
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from maskdepth.data.archives.archive import Archive
from maskdepth.data.archives.local_headers import Member
from maskdepth.data.archives.members import LABELS_FILE, write_members
from maskdepth.data.archives.planning import (
    DECODERS,
    SETTINGS,
    Contents,
    ShardPlan,
    key_of,
    read_labels,
    shape_of,
)
from maskdepth.data.arrays.arrays import CARD_FILE, CHANNELS, ENCODED, encoded_file, pixels_file, read_card, spans_file
from maskdepth.data.arrays.encoded import Spans, lay_out
from maskdepth.data.pictures.decoding import decode_picture
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.data.tables import write_table
from maskdepth.params import DataParams
from maskdepth.process.cluster import Cluster, open_cluster
from maskdepth.process.code import digest_code
from maskdepth.process.files import PARTIAL, replace_text, sync
from maskdepth.process.workers import map_in_order, open_pool

# Of the code that runs, which a machine of a cluster has a clone of, too.
_ROOT = Path(__file__).resolve().parents[4]

# Enough work to be worth a message between processes, little enough for smooth progress.
_CHUNK = 64
# Chunks that are under way, or done and waiting for one before: what one process does while another starts.
_AHEAD = 128
# Decoding this many bytes of pictures takes about three times as long as starting a process.
_LITTLE_BYTES = 30_000_000
_READ_BYTES = 2**20
# No two pictures share so long a digest by chance, as one data set in a hundred of 10,000 pictures has it with CRC-32.
_DIGEST_BYTES = 16

# Members that are pictures, with their kinds.
_Pictures = Sequence[tuple[Member, str]]


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


def remove_stale(arrays_dir: Path, archives: Iterable[Archive]) -> None:
    """Remove the shards of archives that are gone, and what an interrupted run left behind."""
    wanted = {archive.shard for archive in archives}
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
    _check_space(arrays_dir, sum(plan.demand.num_bytes for plan in plans))
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
    key = key_of(plan.archive, plan.source, plan.layout, plan.params, digest_code(_ROOT, "unzip"))
    if plan.key != key:
        raise ValueError(
            f"{socket.gethostname()} has other code in {_ROOT}, or other versions of {' or '.join(DECODERS)}, than "
            "the machine that asks it; give both the same environment and start the cluster again"
        )
    if is_current(arrays_dir, plan):
        return
    staging = arrays_dir / f"{PARTIAL}{plan.archive.shard}-{uuid.uuid4().hex}"
    try:
        contents = plan.read_contents()
        outcomes = chain.from_iterable(map(_decode_chunk, _start_shard(staging, plan, contents)))
        _finish_shard(staging, arrays_dir / plan.archive.shard, plan, contents, [*outcomes])
    except FileExistsError:  # another one that does the same was sooner
        if not is_current(arrays_dir, plan):
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_shards(arrays_dir: Path, plans: Sequence[ShardPlan], workers: int) -> Iterator[None]:
    is_little = sum(plan.demand.packed_bytes for plan in plans) <= _LITTLE_BYTES
    started: deque[tuple[ShardPlan, Contents]] = deque()

    def start_all() -> Iterator[_Chunk]:
        """Start an archive when those before have no more work to give: few are in memory at a time."""
        for plan in plans:
            started.append((plan, plan.read_contents()))
            yield from _start_shard(_staging(arrays_dir, plan), *started[-1])

    # To finish a shard is mostly to wait for the disk: a thread does, while others decode the next one.
    with open_pool(1 if is_little else workers) as pool, ThreadPoolExecutor(1) as finisher:
        finishing: Future[None] | None = None
        found: list[_Outcome] = []
        for some in map_in_order(pool, _decode_chunk, start_all(), _AHEAD, _describe_chunk):
            found += some
            yield from [None] * len(some)
            if len(found) == (plan := started[0][0]).num_pictures:
                if finishing:
                    finishing.result()
                places = _staging(arrays_dir, plan), arrays_dir / plan.archive.shard
                finishing = finisher.submit(_finish_shard, *places, *started.popleft(), found)
                found = []
        if finishing:
            finishing.result()


def _start_shard(staging: Path, plan: ShardPlan, contents: Contents) -> Iterator[_Chunk]:
    """Make empty arrays beside the place of the shard, and cut the work of filling them: one chunk at least."""
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    pictures = contents.pictures()
    files = {kind: staging / _file_of(plan, kind) for kind in plan.demand.counts}
    places = {}
    for kind, path in files.items():
        with _naming(path):
            places[kind] = iter(_make_places(plan, pictures, kind, path))
    for cut in range(0, max(1, len(pictures)), _CHUNK):
        some = [(member, kind, next(places[kind])) for member, kind in pictures[cut : cut + _CHUNK]]
        yield _Chunk(plan.archive, files, plan.params, some)


def _make_places(plan: ShardPlan, pictures: _Pictures, kind: str, path: Path) -> Iterable[int]:
    """Make a file of zeros, which take no room on the disk yet; give the place of each picture in it [bytes]."""
    if plan.params.store == ENCODED:
        spans = _lay_out(pictures, kind)
        with path.open("wb") as file:
            file.truncate(int(spans.sum(1)[-1]))
        return map(int, spans[:, 0])
    shape = shape_of(kind, plan.demand.counts[kind], plan.params)
    first, each = int(np.lib.format.open_memmap(path, "w+", np.uint8, shape).offset), math.prod(shape[1:])
    return range(first, first + math.prod(shape), each)


def _finish_shard(
    staging: Path, folder: Path, plan: ShardPlan, contents: Contents, outcomes: Sequence[_Outcome]
) -> None:
    table = _add_outcomes(contents.table, outcomes)
    if plan.params.store == ENCODED:
        pictures = contents.pictures()
        for kind in plan.demand.counts:
            is_used = (table.loc[table["kind"] == kind, "row"] != "").to_numpy()
            spans = _lay_out(pictures, kind)
            spans[~is_used, 1] = 0
            with _naming(staging / spans_file(kind)):
                np.save(staging / spans_file(kind), spans)
    labels = read_labels(plan.archive, contents.members, plan.layout, table)
    if not labels.empty:
        write_table(staging / LABELS_FILE, labels)
    write_members(staging, table)
    _write_card(staging / CARD_FILE, plan, table)
    _publish(staging, folder)


def _staging(arrays_dir: Path, plan: ShardPlan) -> Path:
    return arrays_dir / f"{PARTIAL}{plan.archive.shard}"


def _decode_chunk(chunk: _Chunk) -> list[_Outcome]:
    if not chunk.pictures:  # nor, perhaps, an archive that can be opened
        return []
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
    names = [member.name for member, _, _ in chunk.pictures]
    return f"{chunk.archive.printable_name}: {names[0]} to {names[-1]}" if names else chunk.archive.printable_name


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
        **plan.params.model_dump(include=SETTINGS),
        "key": plan.key,
        "checksums": _checksums(path.parent),
        "counts": plan.demand.counts,
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


def _lay_out(pictures: _Pictures, kind: str) -> Spans:
    return lay_out([member.size for member, its_kind in pictures if its_kind == kind])


def _file_of(plan: ShardPlan, kind: str) -> str:
    return encoded_file(kind) if plan.params.store == ENCODED else pixels_file(kind)
