"""Proves that a stage hands back what its tables have left: neither Arrow nor glibc keeps it."""

import pyarrow as pa
import pytest

from maskdepth.process.memory import give_back_freed_memory


@pytest.fixture(autouse=True)
def _as_before():
    pool = pa.default_memory_pool()
    yield
    pa.set_memory_pool(pool)


def test_arrow_takes_its_memory_from_the_system():
    give_back_freed_memory()
    assert pa.default_memory_pool().backend_name == "system"
    table = pa.array(range(100_000))
    assert pa.system_memory_pool().bytes_allocated() >= table.nbytes
