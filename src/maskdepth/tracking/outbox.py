"""What waits to be sent: one folder per MLflow row, with all that the row needs, so that the workspace may go.

A row is found again by what it is made of, not by a remembered run number: the numbers of runs do not survive a clone,
a deleted run or a DVC run-cache hit. `join` holds the tags that an MLflow run must have to be this row's; `claim` the
tags that it must have or lack.
"""

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock
from pydantic import Field, TypeAdapter, ValidationError

from maskdepth.process.workspace import state_dir
from maskdepth.tracking.journal import Id, Point

ROW_FILE = "row.json"
FILES = "files"
MODEL = "model.safetensors"
LIVE_JOURNAL = "train.jsonl"

JOURNAL_TAG = "maskdepth.journal"
EXPERIMENT_TAG = "dvc.exp.name"
TRAIN_TAG = "maskdepth.train"
EVALUATE_TAG = "maskdepth.evaluate"

# [s] for another process that holds a lock: a pass of the one that mirrors a training has at most 70.
_PATIENCE_SECONDS = 90.0
_FileName = Annotated[str, Field(pattern=r"^\w+\.jsonl$")]


@dataclass(frozen=True)
class DataVersion:
    """One data set that a training used, by a hash of what it was made of."""

    name: str
    digest: str
    source: str
    rows: int


@dataclass(frozen=True)
class Row:
    """One MLflow run to be.

    Args:
        key: The journal id that rows which may share a run have in common; one is sent at a time.
        kind: "data", "live" (a training that may still run) or "report" (a complete experiment).
        experiment: The MLflow experiment.
        name: The run's name.
        join: Tags that a run must have to be this row.
        claim: Tags that a run must have or lack to be this row.
        tags: Further tags.
        params: Settings; a run with another value of one of them is not this row.
        shown: Keys of those that MLflow shows in its lists; None shows all.
        journals: Journal files in the row's folder.
        points: Metrics that stand in no journal.
        data: Files that the run used.
        links: Journal ids of the data stages by stage.
    """

    key: Id
    kind: Literal["data", "live", "report"]
    experiment: str
    name: str
    join: dict[str, str]
    claim: dict[str, str]
    tags: dict[str, str]
    params: dict[str, str]
    journals: tuple[_FileName, ...]
    points: tuple[Point, ...] = ()
    data: tuple[DataVersion, ...] = ()
    links: dict[str, str] = field(default_factory=dict)
    shown: tuple[str, ...] | None = None

    @property
    def folder_name(self) -> str:
        """Name of the row's folder: the same for the same row, sorted so that a row comes after those it refers to."""
        return f"{self.kind}-{self.key}-{_digest([self.join, self.claim])}"

    @property
    def run_key(self) -> str:
        """What the run made for this row is tagged with: the row and its settings."""
        return f"{self.folder_name}-{_digest([self.params])}"


_ROW = TypeAdapter(Row)


def outbox_dir() -> Path:
    """The folder of waiting rows; made when missing."""
    folder = state_dir() / "outbox"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def waiting_rows(own: Collection[str] = (), older: float = 0) -> list[Path]:
    """The folders of rows that wait, in the order in which to send them.

    Args:
        own: Keys of rows that come before all others.
        older: How long the others must have waited to be taken [s].
    """
    folders = [path.parent for path in outbox_dir().glob(f"[!.]*/{ROW_FILE}")]
    is_own = {folder: any(key in folder.name.split("-") for key in own) for folder in folders}
    taken = [folder for folder in folders if is_own[folder] or _put_time(folder) <= time.time() - older]
    return sorted(taken, key=lambda folder: (not is_own[folder], folder.name))


def _put_time(folder: Path) -> float:
    """Say when a row was put here [s]; of one that another process has just sent, that it is not old enough."""
    try:
        return (folder / ROW_FILE).stat().st_mtime
    except FileNotFoundError:
        return math.inf


def row_lock(folder: Path, key: str, seconds: float) -> FileLock:
    """Lock all rows of one key; used as a context it raises `filelock.Timeout` after so many seconds [s]."""
    return FileLock(folder.parent / f"{key}.lock", timeout=seconds)


def arrival_lock() -> FileLock:
    """Lock what makes live rows and removes sent ones, so that none is removed as it comes back.

    The lock of a row would be held while a store is asked, and a training that goes on must not wait for a store.
    """
    return FileLock(state_dir() / "outbox.lock", timeout=_PATIENCE_SECONDS)


def read_row(folder: Path) -> Row:
    """Read the row of a folder.

    Raises:
        ValueError: The file is damaged.
    """
    path = folder / ROW_FILE
    try:
        return _ROW.validate_json(path.read_bytes(), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        found = ".".join(map(str, first["loc"])) + ": " + first["msg"]
        raise ValueError(f"{path} is damaged ({found}); delete its folder and run `dvc repro -f -s report`") from error


def put_row(row: Row, files: Mapping[str, Path]) -> Path:
    """Put a complete row into the outbox with copies of its files, replacing an older form of the same row.

    Args:
        row: The row.
        files: Files to copy, by their path in the row's folder.

    Returns:
        The row's folder.

    Raises:
        Timeout: Another process holds the row; names the lock.
    """
    folder = outbox_dir() / row.folder_name
    partial = folder.with_name(f".{folder.name}")
    with row_lock(folder, row.key, _PATIENCE_SECONDS):
        shutil.rmtree(partial, ignore_errors=True)  # left by a process killed here
        partial.mkdir()
        for name, source in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, partial / name)
        (partial / ROW_FILE).write_text(json.dumps(asdict(row)), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    return folder


def put_live_row(row: Row, journal_path: Path) -> Path:
    """Put the row of a training that runs into the outbox; its journal is shared with the writer, not copied.

    The hard link keeps the records when the writer's folder is cleared, or the training never comes back.
    """
    folder = outbox_dir() / row.folder_name
    with arrival_lock():
        folder.mkdir(exist_ok=True)
        linked = folder / LIVE_JOURNAL
        linked.unlink(missing_ok=True)
        linked.hardlink_to(journal_path)
        partial = folder / f"{ROW_FILE}.{os.getpid()}"
        partial.write_text(json.dumps(asdict(row)), encoding="utf-8")
        partial.replace(folder / ROW_FILE)
    return folder


def _digest(values: list[dict[str, str]]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
