"""What the user reads while a command runs: progress, one-line messages, exit codes."""

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

Item = TypeVar("Item")

# Exit codes: 1 is left to bugs, which keep their traceback.
BAD_INPUT = 2
NO_RESOURCE = 3
CONFLICT = 4

# What the system refuses, with the cure, and paths that it cannot take.
_NO_RESOURCE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "free some space",
    errno.EROFS: "make it writable",
    errno.EIO: "check the disk",
    errno.EMFILE: "allow more open files (ulimit -n)",
}
_BAD_PATH = (errno.ENAMETOOLONG, errno.EISDIR, errno.ELOOP, errno.EEXIST)

# How the libraries put it; on a CPU torch raises a plain RuntimeError, and cuDNN and cuBLAS have words of their own.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "bad_alloc", "ALLOC_FAILED")

# Where DVC keeps what is no output, in each of its workspaces.
_WORKING_FILES = Path(".dvc/tmp")
# [s] a stage waits for another process of itself, which may just be ending.
_LOCK_SECONDS = 3.0

# [s] between two progress lines where there is no terminal to draw a bar on.
_PLAIN_PROGRESS_SECONDS = 10.0


class ConflictError(ValueError):
    """What is here and what is asked for cannot both be right; ends a command with exit code 4."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, whatever its class.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    True
    """
    return isinstance(error, MemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY)


def say(text: str) -> None:
    """Print one line for the user."""
    print(text, flush=True)


def warn(text: str) -> None:
    """Print one line that wants attention, on stderr."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def run(main: Callable[..., Any]) -> None:
    """Run the Typer command function of a stage as the whole program, unless it runs in this workspace already.

    What a user can get wrong ends in one line and an exit code: 2 bad input, 3 no room (disk, memory), 4 a conflict
    with another process. MASKDEPTH_DEBUG=1 shows the traceback instead.
    """
    import typer

    # Ctrl-C ends a stage that is still loading at once; from here on a stage may have something to finish.
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)

    def run_alone() -> None:
        with only_one(Path(sys.argv[0]).stem):
            app()

    guard(run_alone)


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
            f"{stage} runs here already, as {_name_holder(lock.lock_file)}, perhaps left by a dvc that was killed; "
            "wait for it to end, or end it with `kill`, then run again"
        ) from None
    try:
        yield
    finally:
        lock.release()


def guard(program: Callable[[], Any]) -> None:
    """Call `program`; turn what a user can mend into one line on stderr and an exit code."""
    from filelock import Timeout

    if os.environ.get("MASKDEPTH_DEBUG"):
        program()
        return
    try:
        program()
    except Timeout as error:
        _fail(f"{error.lock_file} is held by {_name_holder(error.lock_file)}; wait for it to end", CONFLICT)
    except ConflictError as error:
        _fail(str(error), CONFLICT)
    except (FileNotFoundError, ValueError, FloatingPointError, NotADirectoryError, PermissionError) as error:
        _fail(str(error), BAD_INPUT)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        _fail(f"out of memory: {str(error).partition(chr(10))[0]}", NO_RESOURCE)
    except ChildProcessError as error:
        _fail(str(error), NO_RESOURCE)
    except OSError as error:
        if error.errno in _NO_RESOURCE:
            cure = _NO_RESOURCE[error.errno]
            _fail(f"cannot write {error.filename or ''}: {error.strerror}; {cure} and run again", NO_RESOURCE)
        if error.errno not in _BAD_PATH:
            raise
        _fail(f"{error.filename or ''}: {error.strerror}; choose another name", BAD_INPUT)


def _name_holder(locked: str) -> str:
    """Name the process that has locked a file or folder, as far as Linux tells."""
    try:
        inode = str(Path(locked).stat().st_ino)
        locks = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
    except OSError:
        return "another process"
    holders = [fields[4] for fields in locks if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == inode]
    return f"process {holders[0]}" if holders else "another process"


def _fail(text: str, code: int) -> None:
    print(f"error: {text}", file=sys.stderr, flush=True)
    sys.exit(code)


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield `items`, showing how far it is: a bar on a terminal, a line every ten seconds elsewhere.

    Args:
        items: What to go through.
        description: What is being done, in a word or two.
        total: How many there are; asked of `items` when not given.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as rich_track

        yield from rich_track(items, description, total=total, console=Console(stderr=True), transient=True)
        return
    began = last = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - last > _PLAIN_PROGRESS_SECONDS:
            last = time.monotonic()
            print(f"{description}: {done}/{total or '?'} after {last - began:.0f} s", file=sys.stderr, flush=True)
        yield item
