"""Sends waiting rows into MLflow, each exactly once however often it is tried.

Nothing here trusts that an earlier attempt ended: the run is looked for before it is made, metrics carry their recorded
times (MLflow keeps equal ones once), files are compared by size, and the row leaves the outbox only when all is there.
What the store refuses is the reason in the result, never an exception in the caller.
"""

import json
import math
import re
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from filelock import Timeout

from maskdepth.process.files import parse_json, replace_text
from maskdepth.tracking.address import DATA_EXPERIMENT, locate_store
from maskdepth.tracking.card import CARD_FILE, RUN_ID, read_numbers
from maskdepth.tracking.journal import (
    FINISHED,
    KILLED,
    RUNNING,
    SILENT_HOURS,
    JournalContents,
    Point,
    is_elsewhere,
    is_writer_alive,
    read_journal,
    silent_until,
)
from maskdepth.tracking.outbox import (
    FILES,
    JOURNAL_TAG,
    MODEL,
    TRAIN_TAG,
    Row,
    arrival_lock,
    read_row,
    row_lock,
    waiting_rows,
)
from maskdepth.tracking.runs import DETAILS
from maskdepth.tracking.sqlite import require_in_place
from maskdepth.tracking.store import NO_SERVER, Connection, Deadline, connect, explain, trouble
from maskdepth.tracking.tags import PARAMS_TAG, pack_tags, read_params, read_tags, set_internal, shorten

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Item = TypeVar("Item")

COMPLETE_TAG = "maskdepth.complete"
ROW_TAG = "maskdepth.row"
REUSED_TAG = "maskdepth.reused_because"
HOST_TAG, PROCESS_TAG = "host", "process"

# MLflow takes 1,000 metrics and 100 params or tags per call.
_METRICS_PER_CALL = 500
_PARAMS_PER_CALL = 100
_LEFT_TO_SENDER_SECONDS = 600.0
_PICTURES = {".png", ".jpg", ".jpeg"}
STILL_RUNNING = "still running"
NOT_SHOWN = ("train/seconds_", "val/loss_")
# Pictures of the same samples in every run are worth laying side by side.
_SIDE_BY_SIDE = "fixed"
_SENT_FILE = "sent.json"
_USUAL_THRESHOLD = 0.5


@dataclass(frozen=True)
class Sent:
    """What became of one waiting row.

    Args:
        name: The run's name.
        run_id: The MLflow run, "" when the store gave none.
        is_complete: Nothing of the row waits any more.
        reason: Why something waits, one line; "" when nothing does.
    """

    name: str
    run_id: str
    is_complete: bool
    reason: str


def mirror_rows(budget: float, own: Collection[str] | None = None) -> Iterator[tuple[str, Sent]]:
    """Send waiting rows.

    Args:
        budget: When to give up [s]; a call to a server that hangs ends then too.
        own: Keys of rows to send before all others, of which those that another process may be about to send are left
            to it; None sends all.

    Yields:
        The name of each row's folder, and what became of it; see `mirror_row`.
    """
    folders = waiting_rows() if own is None else waiting_rows(own, _LEFT_TO_SENDER_SECONDS)
    if not folders:
        return
    with Deadline(budget) as deadline:
        try:
            connection = _connect(deadline)
        except trouble() as error:
            # Asked once: a store that is away would take its full time for every row.
            yield from ((folder.name, row_waits(folder, explain(error))) for folder in folders)
            return
        for folder in folders:
            yield folder.name, _mirror(connection, folder, deadline)


def mirror_row(folder: Path, budget: float) -> Sent:
    """Send what one row has to say so far; a row whose journals have ended leaves the outbox.

    Args:
        folder: The row's folder in the outbox; one that is gone has been sent.
        budget: As for `mirror_rows`.

    Returns:
        What became of it; trouble with the store is told there and never raised.
    """
    with Deadline(budget) as deadline:
        try:
            connection = _connect(deadline)
        except trouble() as error:
            return row_waits(folder, explain(error))
        return _mirror(connection, folder, deadline)


def _connect(deadline: Deadline) -> Connection:
    store = locate_store()
    deadline.check()
    return connect(store)


def _mirror(connection: Connection, folder: Path, deadline: Deadline) -> Sent:
    try:
        deadline.check()
        row = read_row(folder)
        with row_lock(folder, row.key, deadline.left) as lock:
            sent = _mirror_locked(connection, folder, row, deadline)
            if not folder.is_dir():
                # Unlinked while it is held: whoever waits for it sees that and makes a fresh one.
                Path(lock.lock_file).unlink(missing_ok=True)
        return sent
    except Timeout:
        return row_waits(folder, "another process is sending it")
    except trouble() as error:
        return row_waits(folder, explain(error))


def _mirror_locked(connection: Connection, folder: Path, row: Row, deadline: Deadline) -> Sent:
    if not folder.is_dir():  # another process has sent it while this one waited for the lock
        run = find_row_run(connection, row)
        return Sent(row.name, run.info.run_id if run else "", is_complete=True, reason="")
    row = read_row(folder)
    sent = _send_row(connection, folder, row, deadline)
    with arrival_lock():
        # A killed training may have been taken up again meanwhile: then its row stays.
        if sent.is_complete and _overall_status(_read_journals(folder, row)) != RUNNING:
            shutil.rmtree(folder)
    return sent


def row_waits(folder: Path, reason: str) -> Sent:
    """Say that a row waits; one whose folder is gone was sent by another process meanwhile."""
    if not folder.is_dir():
        moved = "" if folder.parent.is_dir() else "the repository was moved away meanwhile; run again where it is now"
        return Sent(folder.name, "", is_complete=not moved, reason=moved)
    try:
        name = read_row(folder).name
    except (ValueError, OSError):
        name = folder.name
    return Sent(name, "", is_complete=False, reason=reason)


def explain_unfinished(folder: Path) -> str:
    """Say why a row cannot be complete yet, however well the store works; "" when it can."""
    try:
        journals = _read_journals(folder, read_row(folder))
    except (ValueError, OSError):  # damaged, or sent by another process meanwhile
        return ""
    return _explain_running(journals) if _overall_status(journals) == RUNNING else ""


def _explain_running(journals: list[JournalContents]) -> str:
    elsewhere = [journal for journal in journals if journal.status == RUNNING and is_elsewhere(journal)]
    if not elsewhere:
        return STILL_RUNNING
    until = time.strftime("%Y-%m-%d %H:%M", time.localtime(silent_until(elsewhere[0]) / 1000))
    return (
        f"whether it still runs on {elsewhere[0].host} cannot be seen from here; "
        f"if it writes nothing for {SILENT_HOURS} h, `maskdepth sync` ends it as KILLED from {until} on"
    )


def find_runs(connection: Connection, experiment: str, tags: dict[str, str]) -> "list[Run]":
    """List the active runs with all of these tags, a missing tag counting as "", oldest first."""
    # One tag is asked of the store and the rest compared here: a search cannot express "missing or empty".
    name, value = next(iter(tags.items()))
    found = connection.client.search_runs(
        [connection.experiments[experiment]], f"tags.`{name}` = '{value}'", max_results=1000
    )
    same = [run for run in found if all(read_tags(run).get(key, "") == tags[key] for key in tags)]
    return sorted(same, key=lambda run: (run.info.start_time, run.info.run_id))


def find_row_run(connection: Connection, row: Row) -> "Run | None":
    """Find the run that a row belongs to: tags as joined, claims equal or absent, no setting with another value."""
    fitting = [
        run
        for run in find_runs(connection, row.experiment, row.join)
        if all(read_tags(run).get(key, value) == value for key, value in row.claim.items())
        and all(read_params(run).get(key, value) == value for key, value in shorten(row.params).items())
    ]
    claimed = [run for run in fitting if row.claim.items() <= read_tags(run).items()]
    return next(iter(claimed + fitting), None)


def _send_row(connection: Connection, folder: Path, row: Row, deadline: Deadline) -> Sent:
    journals = _read_journals(folder, row)
    run = find_row_run(connection, row) or _create_run(connection, row, journals[0])
    run_id, name = run.info.run_id, run.info.run_name
    if run.data.tags.get(COMPLETE_TAG) == row.folder_name:
        return Sent(name, run_id, is_complete=True, reason="")
    points = [point for journal in journals for point in journal.points if _is_shown(point.name)]
    _send_facts(connection, run, row, journals)
    _send_points(connection.client, run_id, folder, points + list(row.points), deadline)
    _send_files(connection.client, run_id, folder / FILES, deadline)
    if (folder / MODEL).is_file():
        deadline.check()
        _send_network(connection, row, run_id, folder)
    require_in_place(connection.store)  # where else all that was sent may be now
    return _send_status(connection.client, run, row, journals)


def _send_status(client: "MlflowClient", run: "Run", row: Row, journals: list[JournalContents]) -> Sent:
    status = _overall_status(journals)
    run_id, name = run.info.run_id, run.info.run_name
    if status == RUNNING:
        if run.info.status != RUNNING:  # a training that was killed goes on
            client.update_run(run_id, RUNNING)
        return Sent(name, run_id, is_complete=False, reason=_explain_running(journals))
    ends = [journal.ended or journal.written for journal in journals]
    # A clock set back meanwhile must not make the run shorter than nothing.
    client.set_terminated(run_id, status, max(run.info.start_time, *ends))
    if row.kind != "live":  # the training of a live row may go on one day
        client.set_tag(run_id, COMPLETE_TAG, row.folder_name)
    return Sent(name, run_id, is_complete=True, reason="")


def _create_run(connection: Connection, row: Row, first: JournalContents) -> "Run":
    made_for = row.join | row.claim | {ROW_TAG: row.run_key}
    tags = made_for | {HOST_TAG: first.host, PROCESS_TAG: first.process}
    if row.kind == "report":  # else its training would have made the run
        tags[REUSED_TAG] = _explain_reuse(connection, row)
    client = connection.client
    client.create_run(connection.experiments[row.experiment], first.started, pack_tags(tags), row.name)
    # A server that did the work and lost its answer is asked again and has two runs: the first one stays.
    found = find_runs(connection, row.experiment, made_for)
    if not found:
        raise ValueError(NO_SERVER)
    run, *others = found
    for other in others:
        client.delete_run(other.info.run_id)
    return run


def _explain_reuse(connection: Connection, row: Row) -> str:
    trained = find_runs(connection, row.experiment, {TRAIN_TAG: row.join[TRAIN_TAG]})
    if trained:
        return f"same training as run {trained[0].info.run_name} ({trained[0].info.run_id})"
    return "the run of this training is not here: deleted, or made in another store"


def _send_facts(connection: Connection, run: "Run", row: Row, journals: list[JournalContents]) -> None:
    """Send params, tags and the data used; on a run that has them this changes nothing."""
    from mlflow.entities import Param, RunTag

    client, run_id = connection.client, run.info.run_id
    writer = {HOST_TAG: journals[-1].host, PROCESS_TAG: journals[-1].process}
    told = {key: value for journal in journals for key, value in journal.tags.items()}
    damaged = sum(journal.damaged for journal in journals)
    counted = {"maskdepth.damaged_records": str(damaged)} if damaged else {}
    settings = shorten(row.params)
    known = {PARAMS_TAG: json.dumps(read_params(run) | settings, sort_keys=True)} if row.shown is not None else {}
    tags = row.tags | row.join | row.claim | writer | told | counted | known | _linked_runs(connection, row)
    # What a run has of its own stands in the JSON tag beside what is sent now.
    packed = pack_tags(_internal(run) | {key: value.replace(RUN_ID, run_id) for key, value in tags.items()})
    changed = {key: value for key, value in packed.items() if run.data.tags.get(key) != value}
    shown = settings if row.shown is None else {key: settings[key] for key in row.shown}
    missing = {key: value for key, value in shown.items() if key not in run.data.params}
    for part in _batches(missing.items(), _PARAMS_PER_CALL):
        client.log_batch(run_id, params=[Param(key, value) for key, value in part])
    for tag_part in _batches(changed.items(), _PARAMS_PER_CALL):
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tag_part])
    _send_data(client, run_id, row)


def _internal(run: "Run") -> dict[str, str]:
    """Give the tags that stand in the JSON tag alone."""
    return {key: value for key, value in read_tags(run).items() if key not in run.data.tags}


def _linked_runs(connection: Connection, row: Row) -> dict[str, str]:
    """Name the data rows that a training row was made from, by stage."""
    return {
        f"maskdepth.data.{stage}": run.info.run_id
        for stage, journal_id in row.links.items()
        for run in find_runs(connection, DATA_EXPERIMENT, {JOURNAL_TAG: journal_id})[:1]
    }


def _send_data(client: "MlflowClient", run_id: str, row: Row) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    used = [
        DatasetInput(
            Dataset(v.name, v.digest, "dvc", v.source, profile=json.dumps({"num_rows": v.rows})),
            [InputTag("mlflow.data.context", v.name)],
        )
        for v in row.data
    ]
    if used:
        client.log_inputs(run_id, used)


def _is_shown(name: str) -> bool:
    """Tell whether a metric is for people: what an epoch's parts took, and terms on the validation split, are not."""
    return not name.startswith(NOT_SHOWN)


def _send_points(client: "MlflowClient", run_id: str, folder: Path, points: list[Point], deadline: Deadline) -> None:
    """Send metrics not sent yet. The note of how many were sent only saves work: MLflow keeps equal points once."""
    from mlflow.entities import Metric

    note = folder / _SENT_FILE
    done = _count_sent(note, run_id)
    for part in _batches(points[done:], _METRICS_PER_CALL):
        deadline.check()
        # MLflow would store an infinite value as a very large one.
        client.log_batch(run_id, [Metric(p.name, p.value, p.time, p.step) for p in part if not math.isinf(p.value)])
        done += len(part)
        replace_text(note, json.dumps({"run_id": run_id, "points": done}))


def _count_sent(note: Path, run_id: str) -> int:
    try:
        before = parse_json(note.read_text(encoding="utf-8"))
        return int(before["points"]) if before["run_id"] == run_id else 0
    except (FileNotFoundError, ValueError, TypeError, KeyError):  # none, or damaged
        return 0


def _send_files(client: "MlflowClient", run_id: str, folder: Path, deadline: Deadline) -> None:
    """Send files one by one, those that are there in full left out."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        deadline.check()
        name = path.relative_to(folder)
        shown_in = name.parent.as_posix() if name.parent.parts else None
        sizes = {Path(entry.path).name: entry.file_size for entry in client.list_artifacts(run_id, shown_in)}
        if sizes.get(path.name) != path.stat().st_size:
            client.log_artifact(run_id, str(path), shown_in)
        if path.suffix.lower() in _PICTURES and any(part.startswith(_SIDE_BY_SIDE) for part in name.parts):
            _show_picture(client, run_id, path, name.with_suffix("").as_posix())


def _show_picture(client: "MlflowClient", run_id: str, path: Path, key: str) -> None:
    """Put a picture where the web interface compares pictures of several runs, once."""
    from PIL import Image

    key = re.sub(r"[^a-zA-Z0-9_\-./ ]", "_", key)
    shown = [Path(entry.path).name for entry in client.list_artifacts(run_id, "images")]
    start = key.replace("/", "~") + "+step+0+"
    # A picture is stored in full and small; the small one comes last, so it tells that both are there.
    if not any(name.startswith(start) and "+compressed" in name for name in shown):
        with Image.open(path) as picture:
            client.log_image(run_id, picture.convert("RGB"), key=key, step=0)


def _send_network(connection: Connection, row: Row, run_id: str, folder: Path) -> None:
    from maskdepth.tracking.model import send_model

    card = folder / FILES / CARD_FILE
    outcome = send_model(
        connection,
        row.experiment,
        run_id,
        folder / MODEL,
        card if card.is_file() else None,
        _read_threshold(folder / FILES / DETAILS),
    )
    set_internal(connection.client, run_id, "model.export", outcome)
    if outcome != "ok":
        connection.client.log_artifact(run_id, str(folder / MODEL), "model")


def _read_threshold(details: Path) -> float:
    """Read at which probability the masks were measured; a half where nobody says."""
    try:
        return read_numbers(details.read_text(encoding="utf-8")).get("threshold", _USUAL_THRESHOLD)
    except (FileNotFoundError, ValueError):  # of an older version, or damaged
        return _USUAL_THRESHOLD


def _read_journals(folder: Path, row: Row) -> list[JournalContents]:
    return [read_journal(folder / name) for name in row.journals]


def _overall_status(journals: list[JournalContents]) -> str:
    statuses = [
        KILLED if journal.status == RUNNING and not is_writer_alive(journal) else journal.status for journal in journals
    ]
    return next((status for status in statuses if status != FINISHED), FINISHED)


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    everything = list(items)
    for start in range(0, len(everything), size):
        yield everything[start : start + size]
