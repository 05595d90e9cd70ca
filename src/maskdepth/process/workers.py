"""Work spread over processes: results come in the order of the work, and what waits in memory is bounded.

The process that asks works too: it would only wait otherwise, at first for the others to start.
"""

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

# Items that a worker has at a time: one that it does, and some more for while this process is at something else.
_EACH = 4


def usable_cores() -> int:
    """Count the cores that this process may use; a container often has fewer than its machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class WorkerPool(ProcessPoolExecutor):
    """Processes that help this one.

    Args:
        helpers: How many, 1 or more.
    """

    def __init__(self, helpers: int) -> None:
        # Started afresh, and not forked, so that threads of this process cannot leave a lock behind in a worker.
        super().__init__(helpers, multiprocessing.get_context("spawn"), prepare_worker)
        self.helpers = helpers


@contextmanager
def open_pool(workers: int) -> Iterator[WorkerPool | None]:
    """Start worker processes that end with this one, also when it is killed.

    Args:
        workers: How many, 1 or more; this process is one of them.

    Yields:
        What `map_in_order` takes.

    Raises:
        ChildProcessError: A worker died.
    """
    if workers == 1:
        yield None
        return
    pool = WorkerPool(workers - 1)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise _death() from error
    finally:
        pool.shutdown(cancel_futures=True)


def map_in_order(
    pool: WorkerPool | None,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: int,
    describe: Callable[[Item], str] | None = None,
) -> Iterator[Result]:
    """Yield `function(item)` of every item in order.

    A pool's own `map` would take all items at once and keep every result until it is asked for.

    Args:
        pool: As `open_pool` gives it.
        function: What to call, by its module and name.
        items: What to call it with.
        ahead: How many items may be under way, or their results waiting; some for each worker keep all of them busy.
        describe: Names an item for a person who is told that a worker died with it.

    Raises:
        ChildProcessError: A worker died.

    >>> list(map_in_order(None, abs, [-1, 2], ahead=1))
    [1, 2]
    """
    if pool is None:
        yield from map(function, items)
        return
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            under_way = sum(not future.done() for _, future in waiting)
            is_theirs = under_way < _EACH * pool.helpers
            waiting.append((item, pool.submit(function, item) if is_theirs else _do(function, item)))
            while waiting and (len(waiting) >= ahead or waiting[0][1].done()):
                yield waiting[0][1].result()
                waiting.popleft()
        while waiting:
            yield waiting[0][1].result()
            waiting.popleft()
    except BrokenProcessPool as error:
        # Work is handed out in order, so that the worker was at the first of what is left, or another soon after it.
        left = [item for item, future in waiting if not future.done() or future.exception()]
        raise _death(describe(left[0]) if describe and left else "") from error


def _death(item: str = "") -> ChildProcessError:
    where = f" while it was at {item}, or soon behind" if item else ""
    return ChildProcessError(f"a worker process was killed, perhaps for lack of memory, or crashed{where}; run again")


def _do(function: Callable[[Item], Result], item: Item) -> Future[Result]:
    """Do it here and now."""
    future: Future[Result] = Future()
    future.set_result(function(item))
    return future


def prepare_worker() -> None:
    """Leave Ctrl-C to the parent, and die with it even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        wait([parent.sentinel])
    os._exit(1)
