"""What `maskdepth sync` mends after the fact, and what `maskdepth doctor` says until then."""

import json
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from support.stored import MLFLOW_WARNINGS, ROW_FILE, name_experiment, put_row, runs_of, send, sync, train_id
from support.tracked import write_training

from maskdepth.params import load_params
from maskdepth.tracking import repair
from maskdepth.tracking.address import locate_store
from maskdepth.tracking.journal import read_journal
from maskdepth.tracking.mirror import mirror_row
from maskdepth.tracking.outbox import put_live_row
from maskdepth.tracking.runs import live_row
from maskdepth.tracking.store import connect

pytestmark = MLFLOW_WARNINGS


def test_sync_ends_runs_whose_process_is_gone(experiment):
    (experiment / "journals" / "train.jsonl").unlink()
    journal = write_training(experiment / "journals" / "train.jsonl", epochs=1)
    folder = put_live_row(live_row(train_id(experiment), load_params()), journal.path)
    mirror_row(folder, 60)
    shutil.rmtree(folder)  # the row was lost with its machine's disk
    (run,) = runs_of(train_id(experiment))
    assert not any("KILLED" in line for line in sync())
    connect(locate_store()).client.set_tag(run.info.run_id, "process", "1 0 another-boot")
    assert repair.check_store() == ["1 rows are RUNNING without a process; `maskdepth sync` ends them"]
    assert [line for line in sync() if "KILLED" in line]
    assert runs_of(train_id(experiment))[0].info.status == "KILLED"
    assert repair.check_store() == []


def test_sync_and_doctor_say_the_same_of_a_training_left_by_another_container(experiment, monkeypatch):
    (experiment / "journals" / "train.jsonl").unlink()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "a-container")
        journal = write_training(experiment / "journals" / "train.jsonl", epochs=1)
    folder = put_live_row(live_row(train_id(experiment), load_params()), journal.path)
    reason = (
        r"whether it still runs on a-container cannot be seen from here; .* 24 h, `maskdepth sync` ends it as KILLED"
    )
    (told,) = sync()
    assert re.search(f": waits: {reason} from 20", told)
    (found,) = repair.check_store()
    assert re.match(f"{folder.name}: {reason} from 20", found)
    tomorrow = time.time_ns() + 25 * 3600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: tomorrow)
    assert repair.check_store() == ["1 rows wait to be sent; `maskdepth sync` sends them"]
    assert sync()[0].endswith(": sent")
    (run,) = runs_of(train_id(experiment))
    assert (run.info.status, run.info.end_time) == ("KILLED", read_journal(journal.path).written)
    assert repair.check_store() == []


def test_a_training_that_runs_here_is_no_finding_of_the_doctor(experiment):
    (experiment / "journals" / "train.jsonl").unlink()
    journal = write_training(experiment / "journals" / "train.jsonl", epochs=1)
    put_live_row(live_row(train_id(experiment), load_params()), journal.path)
    assert repair.check_store() == []


def git(folder: Path, *arguments: str) -> str:
    login = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(["git", *login, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_a_renamed_experiment_renames_its_run(experiment, monkeypatch):
    name_experiment(monkeypatch, "before")
    run = send(put_row(experiment))
    git(experiment, "init", "-q")
    ROW_FILE.write_text(json.dumps({"mlflow": {"run_id": run.info.run_id}}))
    git(experiment, "add", str(ROW_FILE))
    git(experiment, "commit", "-qm", "experiment")
    for name in ("before", "unchanged"):  # the second changed nothing and names the run of the first
        git(experiment, "update-ref", f"refs/exps/ab/{'c' * 38}/{name}", "HEAD")
    assert sync() == []
    git(experiment, "update-ref", "-d", f"refs/exps/ab/{'c' * 38}/unchanged")
    git(experiment, "update-ref", "-d", f"refs/exps/ab/{'c' * 38}/before")
    git(experiment, "update-ref", f"refs/exps/ab/{'c' * 38}/after", "HEAD")
    assert sync() == ["before: renamed to after"]
    (renamed,) = runs_of(train_id(experiment))
    assert (renamed.info.run_name, renamed.data.tags["dvc.exp.name"]) == ("bce|l1-s0", "after")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 100_000, "[]", "{}", '{"mlflow": "a"}', '{"run_id": "a"}', '{"mlflow": {"run_id": "x"}}'],
)
def test_an_experiment_of_another_version_is_named_and_the_others_are_renamed(experiment, monkeypatch, text):
    name_experiment(monkeypatch, "before")
    run = send(put_row(experiment))
    git(experiment, "init", "-q")
    for name, row in (("after", json.dumps({"mlflow": {"run_id": run.info.run_id}})), ("old", text + "\n")):
        ROW_FILE.write_text(row)
        git(experiment, "add", str(ROW_FILE))
        git(experiment, "commit", "-qm", name)
        git(experiment, "update-ref", f"refs/exps/ab/{'c' * 38}/{name}", "HEAD")
    told = sync()
    if text:  # an empty file says nothing, as none does
        assert told.pop(0).startswith("1 experiments name no run in their metrics/mlflow.json, such as old: ")
    assert told == ["before: renamed to after"]


def test_a_damaged_store_is_named_with_the_cure(fresh):
    (fresh / "mlflow.db").write_bytes(b"SQLite format 3\0" + bytes(4000))
    (finding,) = repair.check_store()
    assert finding.startswith(f"{fresh}/mlflow.db is damaged (file is not a database): move it away, and mlflow.db-wal")
