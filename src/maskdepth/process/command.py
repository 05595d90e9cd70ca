"""How a command ends: what a user can mend becomes one line and an exit code."""

import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from maskdepth.device import is_out_of_memory, name_device_failure
from maskdepth.process.alone import ConflictError, name_holder, only_one
from maskdepth.process.launch import find_rank, is_started_by_us
from maskdepth.process.secrets import hiding_secrets

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
# `make repro` ends with it: DVC's own last line says which stage failed, and not why.
_LAST_ERROR = Path(".dvc/tmp/maskdepth-error.txt")
_BAD_PATH = (errno.ENAMETOOLONG, errno.EISDIR, errno.ELOOP, errno.EEXIST)


def run(main: Callable[..., Any]) -> None:
    """Run the Typer command function of a stage as the whole program, unless it runs in this workspace already.

    What a user can get wrong ends in one line and an exit code: 2 bad input, 3 no room (disk, memory) or a device that
    fails, 4 a conflict with another process. MASKDEPTH_DEBUG=1 shows the traceback instead.
    """
    import typer

    # Ctrl-C ends a stage that is still loading at once; from here on a stage may have something to finish.
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)

    def run_alone() -> None:
        # Of several ranks one holds the workspace for all: the process that started them, or else the first.
        rank, _ = find_rank()
        with nullcontext() if rank or is_started_by_us() else only_one(Path(sys.argv[0]).stem):
            app()

    guard(run_alone)


def guard(program: Callable[[], Any]) -> None:
    """Call `program`; turn what a user can mend into one line on stderr and an exit code."""
    with hiding_secrets():
        _guard(program)


def _guard(program: Callable[[], Any]) -> None:
    from filelock import Timeout

    if os.environ.get("MASKDEPTH_DEBUG"):
        program()
        return
    try:
        program()
    except Timeout as error:
        _fail(f"{error.lock_file} is held by {name_holder(error.lock_file)}; wait for it to end", CONFLICT)
    except ConflictError as error:
        _fail(str(error), CONFLICT)
    except (FileNotFoundError, ValueError, FloatingPointError, NotADirectoryError, PermissionError) as error:
        _fail(str(error), BAD_INPUT)
    except (MemoryError, RuntimeError) as error:
        if failure := name_device_failure(error):
            _fail(f"the CUDA device failed ({failure}); run again, or on the CPU: MASKDEPTH_DEVICE=cpu", NO_RESOURCE)
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


def _fail(text: str, code: int) -> None:
    rank, _ = find_rank()
    print(f"error: rank {rank}: {text}" if rank else f"error: {text}", file=sys.stderr, flush=True)
    with suppress(OSError):  # what cannot be noted has been said
        # Of several ranks the first to fail knows why; it ends the others.
        if _LAST_ERROR.parent.is_dir() and not (rank and _LAST_ERROR.exists()):
            _LAST_ERROR.write_text(f"error: {text}\n", encoding="utf-8")
    sys.exit(code)
