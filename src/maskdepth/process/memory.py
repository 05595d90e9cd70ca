"""What becomes of memory that is freed: kept for the next tensors, or given back so that tables leave no holes."""

import ctypes
import os

# What is asked of glibc's `mallopt`, by its numbers (malloc.h), and the most bytes that it takes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MOST_BYTES = -1, -3, 2**31 - 1
# [bytes] Larger pieces go back to the system: columns of tables do, and what is smaller is used again.
_LARGE = 2**20


def keep_freed_memory() -> None:
    """Let the memory of tensors that are gone serve the next ones; results do not depend on it.

    glibc gives large pieces back to the system and has every new page of the next batch zeroed again: with batches of
    a few MB this decides, from process to process, whether normalising them takes four times as long.
    """
    _tune({_MMAP_THRESHOLD: _MOST_BYTES, _TRIM_THRESHOLD: _MOST_BYTES})


def give_back_freed_memory() -> None:
    """Give what is freed back to the system at once; results do not depend on it.

    glibc raises by itself the size from which it does so, to 32 MB, below which the columns of a table leave holes, and
    Arrow keeps what it has had: together as much as the tables themselves.
    """
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    _tune({_MMAP_THRESHOLD: _LARGE})


def _tune(bounds: dict[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt:  # other C libraries have none
        for name, size in bounds.items():
            mallopt(name, size)
