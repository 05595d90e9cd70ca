"""One process of a stage at a time in a workspace, and what to say about the other one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Where DVC keeps what is no output, in each of its workspaces.
_WORKING_FILES = Path(".dvc/tmp")
# [s] a stage waits for another process of itself, which may just be ending.
_LOCK_SECONDS = 3.0


class ConflictError(ValueError):
    """What is here and what is asked for cannot both be right; ends a command with exit code 4."""


@contextmanager
def only_one(stage: str) -> Iterator[None]:
    """Keep a second process of a stage out of this workspace: when DVC is killed, the stage it started goes on.

    DVC keeps two of itself apart, but knows nothing of such an orphan. Outside of a DVC workspace nothing is locked.

    Raises:
        ConflictError: The stage runs already; names its process.
    """
    from filelock import FileLock, Timeout

    if not _WORKING_FILES.parent.is_dir():
        yield
        return
    _WORKING_FILES.mkdir(exist_ok=True)
    lock = FileLock(_WORKING_FILES / f"maskdepth-{stage}.lock", timeout=_LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        raise ConflictError(
            f"{stage} runs here already, as {name_holder(lock.lock_file)}, perhaps left by a dvc that was killed; "
            "wait for it to end, or end it with `kill`, then run again"
        ) from None
    try:
        yield
    finally:
        lock.release()


def name_holder(locked: str) -> str:
    """Name the process that has locked a file or folder, as far as Linux tells."""
    try:
        inode = str(Path(locked).stat().st_ino)
        locks = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
    except OSError:
        return "another process"
    holders = [fields[4] for fields in locks if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == inode]
    return f"process {holders[0]}" if holders else "another process"
