"""Work spread over processes: results come in the order of the work, and what waits in memory is bounded."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def open_pool(workers: int) -> Iterator[ProcessPoolExecutor | None]:
    """Start worker processes that end with this one, also when it is killed; one worker is this process itself.

    Args:
        workers: How many, 1 or more.

    Yields:
        What `map_in_order` takes.

    Raises:
        MemoryError: A worker was killed.
    """
    if workers == 1:
        yield None
        return
    # Started afresh, and not forked, so that threads of this process cannot leave a lock behind in a worker.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _prepare_worker)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise MemoryError("a worker process was killed, most likely for lack of memory; run again") from error
    finally:
        pool.shutdown(cancel_futures=True)


def map_in_order(
    pool: ProcessPoolExecutor | None, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Yield `function(item)` of every item in order.

    A pool's own `map` would take all items at once and keep every result until it is asked for.

    Args:
        pool: As `open_pool` gives it.
        function: What to call, by its module and name.
        items: What to call it with.
        ahead: How many items may be under way, or their results waiting; some for each worker keep all of them busy.

    >>> list(map_in_order(None, abs, [-1, 2], ahead=1))
    [1, 2]
    """
    if pool is None:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _prepare_worker() -> None:
    """Leave Ctrl-C to the parent, and die with it even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        wait([parent.sentinel])
    os._exit(1)
