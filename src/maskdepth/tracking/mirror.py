"""Sends waiting rows into MLflow, each exactly once however often it is tried.

Nothing here trusts that an earlier attempt ended: the run is looked for before it is made, metrics carry their recorded
times (MLflow keeps equal ones once), files are compared by size, and the row leaves the outbox only when all is there.
What the store refuses is the reason in the result, never an exception in the caller.
"""

import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import Timeout

from maskdepth.tracking.address import locate_store
from maskdepth.tracking.journal import (
    FINISHED,
    KILLED,
    RUNNING,
    SILENT_HOURS,
    JournalContents,
    is_elsewhere,
    is_writer_alive,
    read_journal,
    silent_until,
)
from maskdepth.tracking.outbox import (
    FILES,
    MODEL,
    TRAIN_TAG,
    Row,
    arrival_lock,
    read_row,
    row_lock,
    waiting_rows,
)
from maskdepth.tracking.sqlite import require_in_place
from maskdepth.tracking.store import NO_SERVER, Connection, Deadline, connect, explain, find_runs, trouble
from maskdepth.tracking.tags import pack_tags, read_params, read_tags, shorten
from maskdepth.tracking.upload import HOST_TAG, PROCESS_TAG, is_shown, send_facts, send_files, send_network, send_points

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

COMPLETE_TAG = "maskdepth.complete"
ROW_TAG = "maskdepth.row"
REUSED_TAG = "maskdepth.reused_because"
STILL_RUNNING = "still running"
_LEFT_TO_SENDER_SECONDS = 600.0


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
    points = [point for journal in journals for point in journal.points if is_shown(point.name)]
    send_facts(connection, run, row, journals)
    send_points(connection.client, run_id, folder, points + list(row.points), deadline)
    send_files(connection.client, run_id, folder / FILES, deadline)
    if (folder / MODEL).is_file():
        deadline.check()
        send_network(connection, row, run_id, folder)
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


def _read_journals(folder: Path, row: Row) -> list[JournalContents]:
    return [read_journal(folder / name) for name in row.journals]


def _overall_status(journals: list[JournalContents]) -> str:
    statuses = [
        KILLED if journal.status == RUNNING and not is_writer_alive(journal) else journal.status for journal in journals
    ]
    return next((status for status in statuses if status != FINISHED), FINISHED)
