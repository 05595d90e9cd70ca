"""What memory costs when it is freed: tables of tens of millions of rows must not leave more behind than they hold."""

import ctypes
import os

# As mallopt numbers it.
_MMAP_THRESHOLD = -3
# [bytes] Larger pieces go back to the system: columns of tables do, and what is smaller is used again.
_LARGE = 2**20


def give_back_freed_memory() -> None:
    """Give what is freed back to the system at once; results do not depend on it.

    glibc raises by itself the size from which it does so, to 32 MB, below which the columns of a table leave holes, and
    Arrow keeps what it has had: together as much as the tables themselves.
    """
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt:  # other C libraries have none
        mallopt(_MMAP_THRESHOLD, _LARGE)
