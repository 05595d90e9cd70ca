"""What the user reads while a command runs: progress and one-line messages; of several ranks from the first alone."""

import difflib
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Sized
from typing import TypeVar

from maskdepth.process.launch import find_rank


def printable(text: str) -> str:
    r"""Spell out what would garble a terminal or a table: line breaks, controls, bytes that are no text.

    >>> printable("a\nb.zip")
    'a\\nb.zip'
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def readable_size(num_bytes: int) -> str:
    """Say a number of bytes as a person would.

    >>> readable_size(1536), readable_size(3 * 2**20)
    ('1,536 bytes', '3.0 MB')
    """
    return f"{num_bytes / 2**20:,.1f} MB" if num_bytes >= 2**20 else f"{num_bytes:,} bytes"


def count(number: int, kind: str) -> str:
    """Say a number of things.

    >>> count(1, "runs"), count(1200, "runs")
    ('1 run', '1,200 runs')
    """
    return f"{number:,} {kind.removesuffix('s') if number == 1 else kind}"


Item = TypeVar("Item")

# [s] between two progress lines where there is no terminal to draw a bar on.
_PLAIN_PROGRESS_SECONDS = 10.0


def suggest(name: str, known: Collection[str]) -> str:
    """Say what is known in place of an unknown name, and which of it is spelled most like it: the end of a message.

    >>> suggest("u-net", ["dsunet", "unet"]), suggest("x", ["dsunet"])
    ('did you mean unet? known: dsunet, unet', 'known: dsunet')
    """
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return (f"did you mean {near[0]}? " if near else "") + f"known: {', '.join(known)}"


def say(text: str) -> None:
    """Print one line for the user."""
    if find_rank()[0] == 0:
        print(text, flush=True)


def warn(text: str) -> None:
    """Print one line that wants attention, on stderr."""
    if find_rank()[0] == 0:
        print(f"warning: {text}", file=sys.stderr, flush=True)


def mention(text: str) -> None:
    """Print one line for whoever waits, on stderr."""
    print(text, file=sys.stderr, flush=True)


def progress(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
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
            left = f", about {(last - began) / done * (total - done):.0f} s left" if total and done else ""
            mention(f"{description}: {done}/{total or '?'} after {last - began:.0f} s{left}")
        yield item
