"""Pictures of a store fetched before their batches: long ranges, each once an epoch, and no more at a time than fit.

The batches of an epoch are known when it begins. So are the first and the last that needs a range: it is fetched in the
order of the first, as soon as there is room, and dropped behind the last.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pandas as pd

from maskdepth.data.arrays.arrays import ShardedArray
from maskdepth.data.arrays.stored import StoredArray
from maskdepth.process.console import readable_size

CACHE_VARIABLE = "MASKDEPTH_CACHE"
_USUAL_GIGABYTES = 10.0
# Ranges that are on their way at a time.
_CONNECTIONS = 4


class Range(NamedTuple):
    """Neighbouring pictures that are fetched together.

    Attributes:
        begin: The first batch that needs one of them.
        last: The last batch that does.
        array: Where they are.
        first: Their first row.
        end: The row behind their last.
    """

    begin: int
    last: int
    array: StoredArray
    first: int
    end: int

    @property
    def num_bytes(self) -> int:
        """Size [bytes]."""
        return (self.end - self.first) * self.array.bytes_each


def plan_ranges(
    pictures: Sequence[ShardedArray], wanted: Sequence[np.ndarray], parts: Sequence[np.ndarray], block: int
) -> list[Range]:
    """List what the batches need of a store, in the order in which they need it.

    Args:
        pictures: All of each kind.
        wanted: The row of each sample in each of them.
        parts: The samples of each batch.
        block: Samples that lie together, and come in batches that are near to each other.
    """
    if not any(isinstance(part, StoredArray) for kind in pictures for part in kind.parts):
        return []
    positions = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    numbers = pd.Series(positions).groupby(np.concatenate([np.empty(0, int), *parts]) // block).agg(["min", "max"])
    found = []
    for kind, rows in zip(pictures, wanted, strict=True):
        # A picture that many samples share is kept from the first batch to the last.
        if len(np.unique(rows)) * 2 < len(rows):
            uses = [(0, len(parts) - 1, rows)]
        else:
            uses = [(*use, rows[number * block : (number + 1) * block]) for number, *use in numbers.itertuples()]
        for begin, last, some in uses:
            found += [Range(begin, last, *one) for one in _cut(kind, some)]
    return sorted(found, key=lambda one: one.begin)


def _cut(kind: ShardedArray, rows: np.ndarray) -> Iterator[tuple[StoredArray, int, int]]:
    """Cut rows of one kind into ranges of its shards that are in the store."""
    shards = np.searchsorted(kind.starts, rows, side="right") - 1
    for shard in np.unique(shards):
        part = kind.parts[shard]
        if isinstance(part, StoredArray):
            for first, end in part.cut(rows[shards == shard] - kind.starts[shard]):
                yield part, first, end


@contextmanager
def fetching(ranges: Sequence[Range]) -> Iterator[Callable[[int], None]]:
    """Fetch ranges ahead of the batches that need them.

    Yields:
        What has to be called with the number of each batch before it is read, in order; it waits for what is needed.

    Raises:
        ValueError: What one batch needs together does not fit, or MASKDEPTH_CACHE is no such number.
    """
    if not ranges:
        yield lambda number: None
        return
    room, most_files = _find_room()
    _require_room(ranges, room, most_files)
    waiting = deque(ranges)
    held: list[tuple[Range, Future[None]]] = []
    pool = ThreadPoolExecutor(_CONNECTIONS)

    def reach(number: int) -> None:
        nonlocal room, held
        for one, _ in held:
            if one.last < number:
                one.array.drop(one.first, one.end)
                room += one.num_bytes
        held = [(one, future) for one, future in held if one.last >= number]
        while waiting and waiting[0].num_bytes <= room and len(held) < most_files:
            one = waiting.popleft()
            room -= one.num_bytes
            held.append((one, pool.submit(one.array.hold, one.first, one.end)))
        for one, future in held:
            if one.begin <= number:
                future.result()

    try:
        yield reach
    finally:
        pool.shutdown(cancel_futures=True)
        for one, _ in held:
            one.array.drop(one.first, one.end)


def _require_room(ranges: Sequence[Range], room: int, most_files: int) -> None:
    """Make sure that all that any one batch needs can be held together."""
    begins = pd.DataFrame([(one.begin, one.num_bytes, 1) for one in ranges])
    ends = pd.DataFrame([(one.last + 1, -one.num_bytes, -1) for one in ranges])
    num_bytes, files = pd.concat([begins, ends]).groupby(0).sum().cumsum().max().tolist()
    if num_bytes > room:
        raise ValueError(
            f"{readable_size(num_bytes)} of the store's pictures are needed at a time, over the {room / 1e9:g} GB of "
            f"{CACHE_VARIABLE}; raise it, or lower train.shuffle_window"
        )
    if files > most_files:
        raise ValueError(
            f"{files:,} pieces of the store are needed at a time, and {most_files:,} files may be open for them; raise "
            "the limit (`ulimit -n`), or lower train.shuffle_window"
        )


def _find_room() -> tuple[int, int]:
    """Give how much may be held at a time: bytes, and files, half of all that may be open."""
    import resource  # which not every system has

    text = os.environ.get(CACHE_VARIABLE, "").strip()
    try:
        gigabytes = float(text) if text else _USUAL_GIGABYTES
    except ValueError:
        gigabytes = 0.0
    if not 0 < gigabytes < np.inf:
        raise ValueError(f"{CACHE_VARIABLE}={text}: expected how many GB of pictures are held on the disk at a time")
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return int(gigabytes * 1e9), sys.maxsize if files == resource.RLIM_INFINITY else files // 2
