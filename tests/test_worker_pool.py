"""Proves that work is done in order by any number of processes, and that no more is taken on than may wait."""

import os
from collections.abc import Iterator

import pytest

from maskdepth.worker_pool import map_in_order, open_pool


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


def test_a_killed_worker_is_told() -> None:
    with pytest.raises(MemoryError, match="a worker process was killed"), open_pool(2) as pool:
        list(map_in_order(pool, os._exit, [1], ahead=1))
