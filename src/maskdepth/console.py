"""What the user reads while a command runs: progress, one-line messages, exit codes."""

import errno
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TypeVar

Item = TypeVar("Item")

# Exit codes: 1 is left to bugs, which keep their traceback.
BAD_INPUT = 2
NO_RESOURCE = 3
CONFLICT = 4

# [s] between two progress lines where there is no terminal to draw a bar on.
_PLAIN_PROGRESS_SECONDS = 10.0


def say(text: str) -> None:
    """Print one line for the user."""
    print(text, flush=True)


def warn(text: str) -> None:
    """Print one line that wants attention, on stderr."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def run(main: Callable[..., Any]) -> None:
    """Run a Typer command function as the whole program.

    What a user can get wrong ends in one line and an exit code: 2 bad input, 3 no room (disk, memory), 4 a conflict
    with another process. MASKDEPTH_DEBUG=1 shows the traceback instead.
    """
    import typer

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    guard(app)


def guard(program: Callable[[], Any]) -> None:
    """Call `program`; turn what a user can mend into one line on stderr and an exit code."""
    from filelock import Timeout

    if os.environ.get("MASKDEPTH_DEBUG"):
        program()
        return
    try:
        program()
    except Timeout as error:
        _fail(f"{error.lock_file} is held by another process; wait for it to end", CONFLICT)
    except (FileNotFoundError, ValueError, FloatingPointError, NotADirectoryError, PermissionError) as error:
        _fail(str(error), BAD_INPUT)
    except MemoryError as error:
        _fail(f"out of memory: {error}", NO_RESOURCE)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        _fail(f"cannot write {error.filename or ''}: {error.strerror}; free some space and run again", NO_RESOURCE)


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
