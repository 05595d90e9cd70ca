"""What is put right after the fact: rows that wait, rows of dead processes, renamed experiments, a moved repository."""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from maskdepth.process.files import parse_json
from maskdepth.process.git import ask_git
from maskdepth.tracking.address import EXPERIMENT, locate_store
from maskdepth.tracking.journal import KILLED, PROCESS, RUNNING, describe_process
from maskdepth.tracking.mirror import STILL_RUNNING, explain_unfinished, mirror_rows
from maskdepth.tracking.outbox import EXPERIMENT_TAG, waiting_rows
from maskdepth.tracking.sqlite import check_database, check_room, holds_something
from maskdepth.tracking.store import Connection, connect, explain, require_right_to_write, trouble
from maskdepth.tracking.tags import read_tags
from maskdepth.tracking.upload import HOST_TAG, PROCESS_TAG

if TYPE_CHECKING:
    from mlflow.entities import Run

_EXPERIMENT_REF = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(?P<name>.+)")
_RUN_ID = re.compile(r"[0-9a-f]{32}")


def sync(budget: float, row_file: Path) -> Iterator[str]:
    """Send what waits, end rows of dead processes, give rows the new names of renamed DVC experiments.

    Args:
        budget: Time for sending [s].
        row_file: The file in which each experiment's commit names its MLflow run.

    Yields:
        One line for everything that was done or could not be done.

    Raises:
        ValueError: The address of the store is one that we refuse; see `locate_store`.
    """
    store = locate_store()
    for folder, sent in mirror_rows(budget):
        yield f"{sent.name or folder}: {'sent' if sent.is_complete else f'waits: {sent.reason}'}"
    try:
        connection = connect(store)
        yield from (f"{run.info.run_name}: ended as KILLED, its process is gone" for run in end_dead_runs(connection))
        yield from rename_runs(connection, row_file)
    except trouble() as error:
        yield f"{store.address}: {explain(error)}"


def end_dead_runs(connection: Connection) -> "list[Run]":
    """End the runs that are RUNNING although their process on this host is gone; return them.

    Of other hosts only those can be ended whose row waits here; see `is_writer_alive`.
    """
    dead = _dead_runs(connection)
    for run in dead:
        now = time.time_ns() // 1_000_000
        connection.client.set_terminated(run.info.run_id, KILLED, max(run.info.start_time, now))
    return dead


def rename_runs(connection: Connection, row_file: Path) -> list[str]:
    """Rename the runs of DVC experiments that `dvc exp rename` has renamed; return one line for each."""
    experiments = _experiment_runs(row_file)
    nameless = [name for name, run_id in experiments.items() if run_id is None]
    lines = []
    if nameless:
        lines.append(
            f"{len(nameless)} experiments name no run in their {row_file}, such as {nameless[0]}: reported without a "
            "store, or by another version; a run of theirs keeps its name"
        )
    for name, run_id in experiments.items():
        if run_id is None:
            continue
        found = connection.client.search_runs([connection.experiments[EXPERIMENT]], f"attributes.run_id = '{run_id}'")
        before = found[0].data.tags.get(EXPERIMENT_TAG, "") if found else ""
        # An experiment that changed nothing names the run of the one before it, whose name is still in use.
        if before and before not in experiments:
            # A run is named by what it is; only one that is called as its experiment was goes by the new name.
            if found[0].info.run_name == before:
                connection.client.update_run(run_id, name=name)
            connection.client.set_tag(run_id, EXPERIMENT_TAG, name)
            lines.append(f"{before}: renamed to {name}")
    return lines


def check_store() -> list[str]:
    """Look for what is wrong with the tracking store; return one line with the cure for each, none when all is well."""
    findings = _check_outbox()
    try:
        store = locate_store()
        if store.database is not None:
            if not holds_something(store.database):  # nothing has been tracked yet; looking makes no store
                return findings
            problems = check_room(store.database) or check_database(store.database, store.root)
            if problems:
                return problems + findings
        connection = connect(store)
        if store.database is None:
            require_right_to_write(connection)
        dead = len(_dead_runs(connection))
    except trouble() as error:
        return [f"the tracking store does not work: {explain(error)}", *findings]
    return findings + ([f"{dead} rows are RUNNING without a process; `maskdepth sync` ends them"] if dead else [])


def _check_outbox() -> list[str]:
    unfinished = {folder.name: explain_unfinished(folder) for folder in waiting_rows()}
    waiting = sum(reason == "" for reason in unfinished.values())
    findings = [f"{waiting} rows wait to be sent; `maskdepth sync` sends them"] if waiting else []
    # A training that runs here is no finding: its row is being sent.
    return findings + [f"{name}: {reason}" for name, reason in unfinished.items() if reason not in ("", STILL_RUNNING)]


def _dead_runs(connection: Connection) -> "list[Run]":
    running = connection.client.search_runs(
        list(connection.experiments.values()), f"attributes.status = '{RUNNING}'", max_results=1000
    )
    return [run for run in running if _is_dead(read_tags(run))]


def _is_dead(tags: dict[str, str]) -> bool:
    process = tags.get(PROCESS_TAG, "")
    if not PROCESS.match(process) or tags.get(HOST_TAG) != socket.gethostname():
        return False
    return describe_process(int(process.split()[0])) != process


def _experiment_runs(row_file: Path) -> dict[str, str | None]:
    """Read which MLflow run each DVC experiment names in its commit; None where its file names none."""
    runs = {}
    for ref in ask_git("for-each-ref", "--format=%(refname)", "refs/exps").splitlines():
        named = _EXPERIMENT_REF.fullmatch(ref)
        text = ask_git("show", f"{ref}:{row_file.as_posix()}") if named else ""
        if named and text:
            runs[named["name"]] = _read_run_id(text)
    return runs


def _read_run_id(text: str) -> str | None:
    try:
        run_id = str(parse_json(text)["mlflow"]["run_id"])
    except (ValueError, LookupError, TypeError):
        return None
    return run_id if _RUN_ID.fullmatch(run_id) else None
