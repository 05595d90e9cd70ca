"""Proves that freed memory serves the next tensors, and that a stage hands back what its tables have left."""

import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from maskdepth.process.memory import give_back_freed_memory

SOURCE = Path(__file__).parents[2] / "src"


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


FAULTS = """
import resource, sys
from maskdepth.process.memory import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    b"1" * 40_000_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_serves_what_comes_next():
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    bare["PYTHONPATH"] = str(SOURCE)
    freed, kept = (
        int(subprocess.run([sys.executable, "-c", FAULTS, word], env=bare, stdout=-1, check=True).stdout)
        for word in ("", "keep")
    )
    assert kept < 2 * 40_000_000 / resource.getpagesize() < freed / 2
