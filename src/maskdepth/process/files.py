"""Files that change in one step: whoever reads one finds the old file or the whole new one, at any instant."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# Begins the name of everything that is not complete yet.
PARTIAL = ".partial-"


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a path to write a file at; the file takes its place when the block ends, and is deleted when that fails.

    A link at `path` is replaced, and what it leads to left alone: DVC links outputs to its cache.

    Args:
        path: The file to replace or to make; its folder is made.
        durable: Whether to wait until the disk has it, for what must outlive a power cut.

    Yields:
        A path beside it, where nothing lies.

    Raises:
        OSError: It cannot be written; names `path`.
    """
    partial = path.with_name(PARTIAL + path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)  # left by a process killed here, or a link laid to be written through
        yield partial
        if durable:
            sync(partial)
        partial.replace(path)
        if durable:
            sync(path.parent)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError) and error.filename2 is None:
            error.filename = str(path)  # not the one beside it; a failed write names none
        raise


def replace_text(path: Path, text: str) -> None:
    """Write a text file in one step, making its folder."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def digest_file(path: Path, algorithm: str) -> str:
    """Give the digest of what a file holds, in hexadecimal; `algorithm` as hashlib names it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def parse_json(text: str) -> Any:
    """Parse JSON that may come from anywhere.

    Raises:
        ValueError: It is none, or is nested deeper than anything of ours.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def sync(path: Path) -> None:
    """Wait until the disk has what was written to a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
