"""What a stage has to say about itself, as one append-only file: parameters, metrics with their times, pictures.

The files are the truth and a tracking store is their mirror, so nothing here talks to one. A line is the CRC-32 of a
JSON record, a blank and the record: a line torn by a kill or damaged later is skipped and counted, never misread. Times
are in the records, so sending a journal twice sends the same thing twice.
"""

import json
import os
import re
import socket
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic brings it; it takes those of the library from Python 3.12 on

from maskdepth.params import flatten

RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"

# After so long [h] without a record a process of another host counts as gone. An epoch may take hours.
SILENT_HOURS = 24

# What names a file or a row must be nothing but a number, whatever wrote it.
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Time = Annotated[int, Field(ge=0, lt=10**13)]  # [ms] since 1970; a calendar ends somewhere
Step = Annotated[int, Field(ge=-(2**63), lt=2**63)]  # as a database holds it
PROCESS = re.compile(r"^[0-9]{1,9}( |$)")


class _Start(TypedDict):
    kind: Literal["start"]
    id: Id
    stage: str
    host: str
    process: Annotated[str, Field(pattern=PROCESS)]
    time: Time


class _Params(TypedDict):
    kind: Literal["params"]
    values: dict[str, str]
    time: Time


class _Metrics(TypedDict):
    kind: Literal["metrics"]
    values: dict[str, float]
    step: Step
    time: Time


class _Artifact(TypedDict):
    kind: Literal["artifact"]
    path: str
    folder: str
    time: Time


class _Tag(TypedDict):
    kind: Literal["tag"]
    name: str
    value: str
    time: Time


class _End(TypedDict):
    kind: Literal["end"]
    status: Literal["FINISHED", "FAILED", "KILLED"]
    time: Time


_Record = _Start | _Params | _Metrics | _Artifact | _Tag | _End
_RECORD: TypeAdapter[_Record] = TypeAdapter(Annotated[_Record, Field(discriminator="kind")])


@dataclass(frozen=True)
class Point:
    """One value of one metric."""

    name: str
    value: float
    time: Time
    step: Step


@dataclass(frozen=True)
class Artifact:
    """One file that belongs to the run, and the folder it is shown in."""

    path: str
    folder: str


@dataclass(frozen=True)
class JournalContents:
    """All that a journal says, sessions merged.

    `status` is RUNNING while the last session has no end record; `is_writer_alive` says whether somebody still writes.
    """

    id: str
    stage: str
    host: str
    process: str
    started: int  # [ms] since 1970, of the first session
    written: int  # [ms] since 1970, of the last record
    ended: int | None  # [ms] since 1970, None while RUNNING
    status: str
    params: dict[str, str]
    points: tuple[Point, ...]
    artifacts: tuple[Artifact, ...]
    tags: dict[str, str]
    damaged: int


class Journal:
    """Writer of one journal file; every call appends one record and waits until the disk has it.

    Args:
        path: The file; its folder must exist. An existing journal is continued, not replaced.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, stage: str) -> str:
        """Begin a session of `stage`; return the journal's id, which later sessions in the same file keep."""
        known = _records(self.path)[0] if self.path.is_file() else []
        journal_id = next((r["id"] for r in known if r["kind"] == "start"), uuid.uuid4().hex)
        process = describe_process(os.getpid())
        # A session begins with a line break: a line that the last session left torn then damages nothing but itself.
        self._append(
            {"kind": "start", "id": journal_id, "stage": stage, "host": socket.gethostname(), "process": process}, "\n"
        )
        return journal_id

    def params(self, values: Mapping[str, Any]) -> None:
        """Record settings; nested mappings become dotted keys."""
        self._append({"kind": "params", "values": flatten(values)})

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Record numbers of one moment under the names that a tracking store shows, such as `val/mask_iou`."""
        self._append(
            {"kind": "metrics", "values": {name: float(value) for name, value in values.items()}, "step": step}
        )

    def artifact(self, path: Path, folder: str) -> None:
        """Record a file, by its path relative to the repository, and the folder to show it in."""
        self._append({"kind": "artifact", "path": path.as_posix(), "folder": folder})

    def tag(self, name: str, value: str) -> None:
        """Record a fact that is neither a setting nor a number."""
        self._append({"kind": "tag", "name": name, "value": value})

    def end(self, status: str) -> None:
        """End the session as FINISHED, FAILED or KILLED."""
        assert status in (FINISHED, FAILED, KILLED), status
        self._append({"kind": "end", "status": status})

    def _append(self, record: dict[str, Any], before: str = "") -> None:
        text = json.dumps(record | {"time": time.time_ns() // 1_000_000})
        try:
            with self.path.open("a", encoding="ascii") as file:
                file.write(f"{before}{zlib.crc32(text.encode()):08x} {text}\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            error.filename = str(self.path)  # Python names the file of a failed open, not of a failed write
            raise


@contextmanager
def open_journal(path: Path, stage: str) -> Iterator[Journal]:
    """Write a new journal for one run of `stage`, replacing an older file, and end it as the block ends.

    Args:
        path: The journal file; its folder is made.
        stage: Name of the stage.

    Yields:
        The started journal; it ends FINISHED, FAILED when the block raises, KILLED on an interrupt.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # not opened for writing: DVC leaves outputs read-only and linked to its cache
    journal = Journal(path)
    journal.start(stage)
    status = FAILED
    try:
        yield journal
        status = FINISHED
    except KeyboardInterrupt:
        status = KILLED
        raise
    finally:
        journal.end(status)


def read_journal(path: Path) -> JournalContents:
    """Read a journal, also one that is being written.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: No intact start record is left.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no journal here; the stage that writes it has not run: `dvc repro`")
    records, damaged = _records(path)
    sessions: list[_Start] = [record for record in records if record["kind"] == "start"]
    if not sessions:
        raise ValueError(
            f"{path}: no readable start record ({damaged} damaged lines); run the stage that writes it again"
        )
    last = [record for record in records if record["kind"] == "start" or record["kind"] == "end"][-1]
    return JournalContents(
        id=sessions[0]["id"],
        stage=sessions[0]["stage"],
        host=sessions[-1]["host"],
        process=sessions[-1]["process"],
        started=sessions[0]["time"],
        written=records[-1]["time"],
        ended=last["time"] if last["kind"] == "end" else None,
        status=last["status"] if last["kind"] == "end" else RUNNING,
        params={key: value for r in records if r["kind"] == "params" for key, value in r["values"].items()},
        points=_points(records),
        artifacts=tuple(dict.fromkeys(Artifact(r["path"], r["folder"]) for r in records if r["kind"] == "artifact")),
        tags={r["name"]: r["value"] for r in records if r["kind"] == "tag"},
        damaged=damaged,
    )


def is_writer_alive(contents: JournalContents) -> bool:
    """Tell whether the process of the last session still runs.

    Another host, as each container is one, cannot be asked: there it counts as alive until it has been silent for long.
    """
    if is_elsewhere(contents):
        return time.time_ns() // 1_000_000 < silent_until(contents)
    return describe_process(int(contents.process.split()[0])) == contents.process


def is_elsewhere(contents: JournalContents) -> bool:
    """Tell whether the last session was started on another host."""
    return contents.host != socket.gethostname()


def silent_until(contents: JournalContents) -> int:
    """Give the time from which a process of another host that writes nothing more counts as gone, [ms] since 1970."""
    return contents.written + SILENT_HOURS * 3_600_000


def describe_process(pid: int) -> str:
    """Name a process so that its number, used again for another one, is not mistaken for it.

    Returns:
        The process number, its start time [ticks] and the boot it belongs to; the bare number where the system does not
        tell; the number and "gone" when there is no such process.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return f"{pid} gone"
    except PermissionError:
        pass  # it exists and belongs to somebody else
    stat = Path(f"/proc/{pid}/stat")
    if not stat.is_file():
        return str(pid)
    fields = stat.read_text().rpartition(")")[2].split()  # the name before the bracket may hold blanks
    if fields[0] == "Z":
        return f"{pid} gone"  # ended, and its parent has not looked yet
    return f"{pid} {fields[19]} {Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"


def _points(records: list[_Record]) -> tuple[Point, ...]:
    # A resumed training may do its last epoch again: the first record of a step stays, it may have been sent already.
    points: dict[tuple[str, int], Point] = {}
    for record in records:
        if record["kind"] == "metrics":
            for name, value in record["values"].items():
                points.setdefault((name, record["step"]), Point(name, value, record["time"], record["step"]))
    return tuple(points.values())


def _records(path: Path) -> tuple[list[_Record], int]:
    """Read the whole records, and count the lines that are none: torn, damaged, or not of this version."""
    lines = [line for line in path.read_bytes().split(b"\n") if line]
    records = [record for line in lines if (record := _read_record(line)) is not None]
    return records, len(lines) - len(records)


def _read_record(line: bytes) -> _Record | None:
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        return _RECORD.validate_json(text, strict=True)
    except ValidationError:
        return None
