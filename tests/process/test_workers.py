"""Proves that work is done in order by any number of processes, and that no more is taken on than may wait."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from itertools import count

import pytest

from maskdepth.process.workers import map_in_order, open_pool


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_work_is_taken_on_as_results_are_taken(workers: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for taken in range(1, 21):
            yield -taken

    with open_pool(workers) as pool:
        results = map_in_order(pool, abs, items(), ahead=4)
        assert next(results) == 1
        assert taken <= 4
        assert [*results] == list(range(2, 21))


def name_process(_: int) -> int:
    time.sleep(0.01)
    return os.getpid()


def die_in_a_worker(_: int) -> None:
    if multiprocessing.parent_process():
        os._exit(1)
    time.sleep(0.01)


def test_the_process_that_asks_works_too() -> None:
    with open_pool(2) as pool:
        found: set[int] = set()
        for process in map_in_order(pool, name_process, count(), ahead=8):
            found.add(process)
            if len(found) == 2:  # however long the helper takes to start
                break
    assert os.getpid() in found


def test_a_killed_worker_is_told() -> None:
    with pytest.raises(ChildProcessError, match="a worker process was killed"), open_pool(2) as pool:
        list(map_in_order(pool, die_in_a_worker, count(), ahead=8))
