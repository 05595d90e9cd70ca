"""Whatever happens to a store, a process or a run, each row ends up in MLflow complete and once."""

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from faults.doors import drip, false_server, whole_answer
from mlflow import MlflowClient
from support.tracked import set_param, write_epoch, write_evaluation, write_experiment, write_training, write_weights
from support.waiting import patience, wait_until
from torch import nn

import maskdepth.process.git
import maskdepth.tracking.store
from maskdepth.models.prediction import Prediction
from maskdepth.params import load_params
from maskdepth.process.git import ask_git
from maskdepth.tracking import repair
from maskdepth.tracking.address import EXPERIMENT, locate_store
from maskdepth.tracking.identity import workspace_tags
from maskdepth.tracking.journal import Journal, read_journal
from maskdepth.tracking.live import start_mirror
from maskdepth.tracking.mirror import Sent, mirror_row, mirror_rows
from maskdepth.tracking.model import export_model
from maskdepth.tracking.outbox import outbox_dir, put_live_row, read_row, row_lock, waiting_rows
from maskdepth.tracking.runs import live_row, put_data_row, put_experiment_row
from maskdepth.tracking.sqlite import find_moved_root, relocate
from maskdepth.tracking.store import Deadline, connect
from maskdepth.tracking.tags import read_params, read_tags

SOURCE = Path(maskdepth.tracking.store.__file__).parents[2]
CONNECT = "from maskdepth.tracking.address import locate_store;from maskdepth.tracking.store import connect"
ROW_FILE = Path("metrics/mlflow.json")

# MLflow and its libraries use what they themselves have deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def shared_root(tmp_path_factory) -> Path:
    """A repository whose store is built once for many tests."""
    root = tmp_path_factory.mktemp("root")
    (root / ".dvc").mkdir()
    return root


def enter(monkeypatch, root: Path, workspace: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.chdir(workspace)


@pytest.fixture
def workspace(shared_root, tmp_path, monkeypatch) -> Path:
    """A workspace of the shared repository; what a test leaves in the outbox goes."""
    enter(monkeypatch, shared_root, tmp_path)
    yield tmp_path
    shutil.rmtree(outbox_dir())


@pytest.fixture
def fresh(tmp_path, monkeypatch) -> Path:
    """A repository without a store."""
    (tmp_path / ".dvc").mkdir()
    enter(monkeypatch, tmp_path, tmp_path)
    return tmp_path


@pytest.fixture
def experiment(workspace) -> Path:
    """A workspace in which the six stages have run."""
    write_experiment(workspace)
    shutil.copy(workspace / "reports" / "pictures" / "best.png", workspace / "curves.png")
    return workspace


def put_row(workspace: Path) -> Path:
    return put_experiment_row(
        load_params(),
        workspace / "journals",
        workspace / "models",
        workspace / "metrics" / "train.json",
        workspace / "metrics" / "test.json",
        workspace / "curves.png",
    )


def name_experiment(monkeypatch, name: str) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", name)
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "0" * 40)


def send(folder: Path):
    sent = dict(mirror_rows(60))[folder.name]
    assert (sent.is_complete, sent.reason) == (True, "")
    client = connect(locate_store()).client
    return client.get_run(sent.run_id)


def sync() -> list[str]:
    return list(repair.sync(60, ROW_FILE))


def runs_of(train_id: str) -> list:
    connection = connect(locate_store())
    return connection.client.search_runs([connection.experiments[EXPERIMENT]], f"tags.`maskdepth.train` = '{train_id}'")


def history(run, name: str) -> list[tuple[int, float]]:
    client = connect(locate_store()).client
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]


def train_id(workspace: Path) -> str:
    return read_journal(workspace / "journals" / "train.jsonl").id


# The address of the store


def test_the_store_is_one_file_at_the_root_from_every_folder(fresh, monkeypatch):
    (fresh / "deep" / "down").mkdir(parents=True)
    monkeypatch.delenv("DVC_ROOT")
    monkeypatch.chdir(fresh / "deep" / "down")
    assert locate_store().uri == f"sqlite:///{fresh}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///kept/../other.db")
    assert locate_store().database == fresh / "other.db"


def test_a_temporary_workspace_uses_the_store_of_the_main_repository(fresh, monkeypatch):
    copy = fresh / ".dvc" / "tmp" / "exps" / "standalone" / "tmp1"
    (copy / ".dvc").mkdir(parents=True)
    monkeypatch.delenv("DVC_ROOT")
    monkeypatch.chdir(copy)
    assert locate_store().database == fresh / "mlflow.db"


@pytest.mark.parametrize(
    ("uri", "retries", "message"),
    [
        ("http://ann:CANARY@host:5000", "2", r"http://\*\*\*@host:5000 .*MLFLOW_TRACKING_PASSWORD"),
        ("postgresql://ann:CANARY@host/db", "2", "holds a login"),
        ("./mlruns", "2", r"\./mlruns is a folder, .*write sqlite:///mlflow.db"),
        ("file:///srv/mlruns", "2", "is a folder"),
        ("http://host:5000", "20", "'20'; MLflow takes 0 to 10"),
        ("http://host:5000", "many", "'many'; MLflow takes 0 to 10"),
    ],
)
def test_an_address_that_cannot_work_is_refused_before_any_work(fresh, monkeypatch, uri, retries, message):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", retries)
    with pytest.raises(ValueError, match=message) as refused:
        locate_store()
    assert "CANARY" not in str(refused.value)


def test_artifacts_lie_in_the_repository_wherever_the_store_was_made(workspace, shared_root):
    connection = connect(locate_store())
    places = {found.name: found.artifact_location for found in connection.client.search_experiments()}
    assert not workspace.is_relative_to(shared_root)
    assert places[EXPERIMENT] == f"{shared_root}/mlartifacts/maskdepth"
    assert all(place.startswith(f"{shared_root}/mlartifacts") for place in places.values())


def test_an_experiment_deleted_in_the_interface_comes_back(workspace):
    connection = connect(locate_store())
    connection.client.delete_experiment(connection.experiments[EXPERIMENT])
    assert connect(locate_store()).experiments == connection.experiments
    assert connection.client.get_experiment(connection.experiments[EXPERIMENT]).lifecycle_stage == "active"


# Who a run is


def test_a_user_without_a_name_is_named_by_its_number(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4123456)
    assert workspace_tags()["mlflow.user"] == "4123456"


def test_a_git_that_takes_too_long_gives_no_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(maskdepth.process.git, "_GIT_SECONDS", 0.2)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\nexec sleep 5\n")
    git.chmod(0o755)
    assert ask_git("status") == ""


# Rows


def test_a_row_holds_params_curves_results_pictures_and_its_data(experiment):
    put_data_row(experiment / "journals" / "index.jsonl", "index")
    set_param(experiment, "augment", "[flip, cutout]")
    run = send(put_row(experiment))
    assert run.info.status == "FINISHED"
    assert run.data.params["loss.depth"] == "l1"
    assert run.data.params["train.augment"] == "flip,cutout"
    assert history(run, "val/mask_iou") == [(1, 1.0), (2, 0.5)]
    assert (run.data.metrics["test/mask_iou"], run.data.metrics["test/depth_ssim"]) == (0.5, 0.25)
    assert "model/val_mask_iou" not in run.data.metrics  # the last point of a curve says the same
    assert run.data.metrics["model/best_epoch"] == 1
    assert run.data.tags["loss.signature"] == "bce|l1"
    client = connect(locate_store()).client
    assert [f.path for f in client.list_artifacts(run.info.run_id, "pictures")] == [
        "pictures/best.png",
        "pictures/curves.png",
        "pictures/fixed.png",
    ]
    assert {Path(f.path).name.split("+")[0] for f in client.list_artifacts(run.info.run_id, "images")} == {
        "pictures~fixed"
    }
    data_run = client.get_run(read_tags(run)["maskdepth.data.index"])
    assert (data_run.info.run_name[:6], data_run.data.metrics) == ("index-", {"samples": 8.0})
    assert list(outbox_dir().iterdir()) == []


def test_a_row_sent_again_changes_nothing(experiment):
    run = send(put_row(experiment))
    images = {f.path for f in connect(locate_store()).client.list_artifacts(run.info.run_id, "images")}
    again = send(put_row(experiment))
    assert again.info.run_id == run.info.run_id
    assert len(runs_of(train_id(experiment))) == 1
    assert history(again, "val/mask_iou") == [(1, 1.0), (2, 0.5)]
    assert {f.path for f in connect(locate_store()).client.list_artifacts(run.info.run_id, "images")} == images


def test_a_row_half_sent_is_completed_without_doubles(experiment):
    client = connect(locate_store()).client
    run = send(put_row(experiment))
    client.delete_tag(run.info.run_id, "maskdepth.complete")  # as if the sender had been killed before its last step
    before = {f.path for f in client.list_artifacts(run.info.run_id, "images")}
    send(put_row(experiment))
    assert len(runs_of(train_id(experiment))) == 1
    assert history(run, "val/mask_iou") == [(1, 1.0), (2, 0.5)]
    assert {f.path for f in client.list_artifacts(run.info.run_id, "images")} == before


def test_a_half_uploaded_file_is_sent_again(experiment):
    connection = connect(locate_store())
    run = send(put_row(experiment))
    connection.client.delete_tag(run.info.run_id, "maskdepth.complete")
    stored = Path(run.info.artifact_uri) / "pictures" / "best.png"
    whole = stored.read_bytes()
    stored.write_bytes(whole[:20])
    send(put_row(experiment))
    assert stored.read_bytes() == whole


def test_a_run_made_twice_by_a_lost_answer_is_kept_once(experiment, monkeypatch):
    # The client asks again when no answer comes, though the server has done the work: two equal runs.
    create = MlflowClient.create_run

    def create_twice(*arguments):
        create(*arguments)
        return create(*arguments)

    monkeypatch.setattr(MlflowClient, "create_run", create_twice)
    run = send(put_row(experiment))
    (kept,) = runs_of(train_id(experiment))
    assert kept.info.run_id == run.info.run_id
    assert history(run, "val/mask_iou") == [(1, 1.0), (2, 0.5)]


def test_a_deleted_run_is_made_again_and_says_why(experiment):
    run = send(put_row(experiment))
    connect(locate_store()).client.delete_run(run.info.run_id)
    again = send(put_row(experiment))
    assert again.info.run_id != run.info.run_id
    assert "deleted" in read_tags(again)["maskdepth.reused_because"]
    assert again.data.metrics == run.data.metrics


def test_an_experiment_restored_under_another_name_has_a_complete_row_of_its_own(experiment, monkeypatch):
    name_experiment(monkeypatch, "first")
    run = send(put_row(experiment))
    name_experiment(monkeypatch, "second")
    restored = send(put_row(experiment))
    assert (run.data.tags["dvc.exp.name"], restored.data.tags["dvc.exp.name"]) == ("first", "second")
    assert restored.data.metrics == run.data.metrics
    assert read_tags(restored)["maskdepth.reused_because"] == f"same training as run bce|l1-s0 ({run.info.run_id})"


def test_a_name_left_in_the_shell_without_its_baseline_names_nothing(experiment, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "stale")
    assert "dvc.exp.name" not in send(put_row(experiment)).data.tags


def test_another_evaluation_is_another_row_and_the_old_one_is_joined_again(experiment):
    run = send(put_row(experiment))
    old = (experiment / "journals" / "evaluate.jsonl").read_bytes()
    write_evaluation(experiment)
    other = send(put_row(experiment))
    (experiment / "journals" / "evaluate.jsonl").unlink()
    (experiment / "journals" / "evaluate.jsonl").write_bytes(old)
    assert other.info.run_id != run.info.run_id
    assert send(put_row(experiment)).info.run_id == run.info.run_id


def test_another_setting_is_another_row(experiment):
    values = ("0.05", "0.25", "0.5", "0.75")
    runs = {}
    for value in values:
        set_param(experiment, "max_rejected", value)
        runs[value] = send(put_row(experiment))
    assert len({run.info.run_id for run in runs.values()}) == len(runs_of(train_id(experiment))) == len(values)
    assert [read_params(run)["data.max_rejected"] for run in runs.values()] == list(values)


def test_a_torn_journal_is_sent_and_says_so(experiment):
    with (experiment / "journals" / "train.jsonl").open("a") as file:
        file.write('0123abcd {"kind"')
    run = send(put_row(experiment))
    assert read_tags(run)["maskdepth.damaged_records"] == "1"
    assert len(history(run, "val/mask_iou")) == 2


@pytest.mark.parametrize("note", ["", "[]", "7", '{"run_id": "', '{"points": 6}', '{"run_id": "RUN"}', "\0"])
def test_a_damaged_note_of_what_was_sent_costs_only_work(experiment, note):
    (experiment / "journals" / "train.jsonl").unlink()
    journal = write_training(experiment / "journals" / "train.jsonl", epochs=1)
    folder = put_live_row(live_row(train_id(experiment), load_params()), journal.path)
    run_id = mirror_row(folder, 60).run_id
    write_epoch(journal, 2)
    journal.end("FINISHED")
    (folder / "sent.json").write_text(note.replace("RUN", run_id))
    assert history(send(folder), "val/mask_iou") == [(1, 1.0), (2, 0.5)]


def test_a_clock_set_back_during_a_run_ends_it_no_sooner_than_it_started(experiment, monkeypatch):
    (experiment / "journals" / "train.jsonl").unlink()
    journal = write_training(experiment / "journals" / "train.jsonl", epochs=1)
    folder = put_live_row(live_row(train_id(experiment), load_params()), journal.path)
    mirror_row(folder, 60)
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 3600 * 10**9)
    (run,) = runs_of(train_id(experiment))
    connect(locate_store()).client.set_tag(run.info.run_id, "process", "1 0 another-boot")
    assert repair.end_dead_runs(connect(locate_store()))
    (run,) = runs_of(train_id(experiment))
    assert run.info.end_time == run.info.start_time
    journal.end("FINISHED")
    run = send(folder)
    assert (run.info.status, run.info.end_time) == ("FINISHED", run.info.start_time)


def test_infinite_values_are_left_out_and_nan_is_kept(experiment):
    journal = Journal(experiment / "journals" / "train.jsonl")
    journal.start("train")
    journal.metrics({"train/total": float("inf"), "val/total": float("nan")}, step=3)
    journal.end("FINISHED")
    run = send(put_row(experiment))
    assert [step for step, _ in history(run, "train/total")] == [1, 2]
    assert np.isnan(history(run, "val/total")[-1][1])


@pytest.mark.parametrize(
    "change",
    [
        lambda row: "{",
        lambda row: "[" * 100_000,
        lambda row: "[]",
        lambda row: "{}",
        lambda row: json.dumps(row | {"key": "../../x"}),
        lambda row: json.dumps(row | {"key": 7}),
        lambda row: json.dumps(row | {"experiment": None}),
        lambda row: json.dumps(row | {"kind": "other"}),
        lambda row: json.dumps(row | {"join": []}),
        lambda row: json.dumps(row | {"params": {"a": {"b": "c"}}}),
        lambda row: json.dumps(row | {"journals": ["../../../etc/passwd"]}),
        lambda row: json.dumps(row | {"journals": "index.jsonl"}),
        lambda row: json.dumps(row | {"points": [{"name": "a", "value": "b", "time": 1, "step": 1}]}),
        lambda row: json.dumps(row | {"data": [["index.csv"]]}),
    ],
)
def test_a_damaged_row_harms_no_other(experiment, change):
    damaged = put_data_row(experiment / "journals" / "index.jsonl", "index")
    row = json.loads((damaged / "row.json").read_text())
    (damaged / "row.json").write_text(change(row))
    folder = put_data_row(experiment / "journals" / "split.jsonl", "split")
    sent = dict(mirror_rows(60))
    assert sent[folder.name].is_complete
    assert re.search(r"row\.json is damaged \(.*\); delete its folder", sent[damaged.name].reason)
    assert repair.check_store() == ["1 rows wait to be sent; `maskdepth sync` sends them"]


def test_a_folder_of_another_name_in_the_outbox_is_sent_or_named_and_harms_no_other(experiment):
    whole = put_data_row(experiment / "journals" / "index.jsonl", "index")
    shutil.copytree(whole, whole.with_name("copied"))
    shutil.copytree(whole, whole.with_name("torn"))
    (whole.with_name("torn") / "index.jsonl").unlink()
    sent = dict(mirror_rows(60, own=[read_journal(experiment / "journals" / "index.jsonl").id]))
    assert sent.keys() == {whole.name}
    sent = dict(mirror_rows(60))
    assert sent["copied"].is_complete
    assert "no journal here" in sent["torn"].reason


def test_rows_that_come_and_go_while_they_are_listed_are_no_trouble(fresh):
    row = outbox_dir() / "data-x-y"
    ended = threading.Event()

    def come_and_go():
        while not ended.is_set():
            row.mkdir()
            (row / "row.json").touch()
            (row / "row.json").unlink()
            row.rmdir()

    other = threading.Thread(target=come_and_go)
    other.start()
    try:
        listed = [len(waiting_rows(older=9)) + len(waiting_rows()) for _ in range(5000)]
    finally:
        ended.set()
        other.join()
    assert set(listed) <= {0, 1}


def test_a_row_under_way_elsewhere_is_left_to_the_other(experiment):
    folder = put_row(experiment)
    with row_lock(folder, train_id(experiment), 1):
        assert mirror_row(folder, 0.5).reason == "another process is sending it"
    sent = mirror_row(folder, 60)
    assert mirror_row(folder, 60) == Sent(folder.name, "", is_complete=True, reason="")
    assert sent.run_id == runs_of(train_id(experiment))[0].info.run_id


def test_a_row_sent_by_another_while_this_process_waited_is_complete(experiment):
    folder = put_row(experiment)
    row = read_row(folder)
    waiting: list[Sent] = []
    waiter = threading.Thread(target=lambda: waiting.append(mirror_row(folder, 60)))
    with row_lock(folder, row.key, 1):
        waiter.start()
        time.sleep(0.5)  # by now it has read the row and waits for the lock
        shutil.move(folder, experiment / "taken")
    waiter.join()
    assert (waiting[0].is_complete, waiting[0].reason) == (True, "")


def test_a_row_that_its_sender_has_not_given_up_is_left_to_it(experiment):
    folder = put_row(experiment)
    assert dict(mirror_rows(60, own={"another"})) == {}
    long_ago = time.time() - 3600
    os.utime(folder / "row.json", (long_ago, long_ago))
    assert dict(mirror_rows(60, own={"another"}))[folder.name].is_complete


def test_empty_and_endless_settings_are_kept_apart_and_found_again(experiment):
    pattern = "a" * 7000
    set_param(experiment, "augment", "[]")
    set_param(experiment, "layout", f"{{composite: {pattern}}}")
    run = send(put_row(experiment))
    assert run.data.params["train.augment"] == ""
    shown = run.data.params["data.layout.composite"]
    assert len(shown) < 300
    assert shown.startswith(pattern[:200])
    assert send(put_row(experiment)).info.run_id == run.info.run_id


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_a_dead_server_costs_little_time_and_no_record(experiment, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    for stage in ("index", "split"):
        put_data_row(experiment / "journals" / f"{stage}.jsonl", stage)
    folder = put_row(experiment)
    began = time.monotonic()
    sent = dict(mirror_rows(60))
    assert time.monotonic() - began < patience(20)
    assert [row.is_complete for row in sent.values()] == [False] * 3
    assert sent[folder.name].name == "bce|l1-s0"
    assert sent[folder.name].reason == "[Errno 111] Connection refused"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert len(sync()) == 3
    assert waiting_rows() == []
    assert len(history(runs_of(train_id(experiment))[0], "val/mask_iou")) == 2


def test_a_server_that_hangs_makes_the_end_of_the_time_no_later(experiment, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as never_answers:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{never_answers.getsockname()[1]}")
        put_row(experiment)
        began = time.monotonic()
        (sent,) = dict(mirror_rows(1)).values()
        assert time.monotonic() - began < patience(5)  # its usual patience takes half a minute
    assert not sent.is_complete
    assert "timed out" in sent.reason.lower()
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


EXPERIMENT_3 = b'{"experiment": {"experiment_id": "3"}, '


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"<html>",
        b"\xff\x00\x1b[31m",
        b"{}",
        b'{"experiment": {"experiment_id": 3}}',
        b'{"experiment": {"experiment_id": "3", "creation_time": 1e99}}',
        EXPERIMENT_3 + b'"runs": 3}',
        EXPERIMENT_3 + b'"runs": [3]}',
        EXPERIMENT_3 + b'"runs": [{"info": {}, "data": {}}], "run": {}}',
        EXPERIMENT_3 + b'"runs": [{"info": {"start_time": "y"}}]}',
    ],
)
def test_what_answers_and_is_no_mlflow_leaves_the_row_waiting_with_a_reason(experiment, monkeypatch, body):
    with false_server(lambda request: [whole_answer(body)]) as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        folder = put_data_row(experiment / "journals" / "index.jsonl", "index")
        sent = mirror_row(folder, 60)
        assert (sent.run_id, sent.is_complete) == ("", False)
        assert re.search("is no MLflow server|not in a valid JSON format", sent.reason)
        assert sent.reason.isprintable()
        assert sent.reason in sync()[0]
        assert repair.check_store()[-1] == "1 rows wait to be sent; `maskdepth sync` sends them"


@pytest.mark.parametrize(
    ("left", "patience", "wanted"),
    [
        (60.0, {}, {}),
        (20.0, {}, {"TIMEOUT": "10", "MAX_RETRIES": "0"}),
        (4.5, {}, {"TIMEOUT": "4", "MAX_RETRIES": "0"}),
        (0.2, {}, {"TIMEOUT": "1", "MAX_RETRIES": "0"}),
        (60.0, {"TIMEOUT": "120", "MAX_RETRIES": "5"}, {"TIMEOUT": "60", "MAX_RETRIES": "0"}),
    ],
)
def test_only_as_much_patience_is_left_as_there_is_time(monkeypatch, left, patience, wanted):
    def settings():
        return {name: os.environ.get(f"MLFLOW_HTTP_REQUEST_{name}") for name in ("TIMEOUT", "MAX_RETRIES")}

    for name in ("TIMEOUT", "MAX_RETRIES"):
        monkeypatch.delenv(f"MLFLOW_HTTP_REQUEST_{name}", raising=False)
    for name, value in patience.items():
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    before = settings()
    with Deadline(left) as deadline:
        deadline.check()
        assert settings() == before | wanted
    assert settings() == before


def test_no_time_left_leaves_the_row_waiting(experiment):
    sent = mirror_row(put_row(experiment), 0)
    assert (sent.is_complete, sent.reason) == (False, "no time left; it is sent later")


# A training that runs


def test_a_training_is_shown_while_it_runs_and_its_report_joins_it(experiment):
    (experiment / "journals" / "train.jsonl").unlink()
    journal = write_training(experiment / "journals" / "train.jsonl", epochs=1)
    folder = put_live_row(live_row(train_id(experiment), load_params()), journal.path)
    assert mirror_row(folder, 60).reason == "still running"
    (run,) = runs_of(train_id(experiment))
    assert (run.info.status, history(run, "val/mask_iou")) == ("RUNNING", [(1, 1.0)])
    write_epoch(journal, 2)
    journal.end("FINISHED")
    assert mirror_row(folder, 60).is_complete
    assert not folder.exists()
    joined = send(put_row(experiment))
    assert joined.info.run_id == run.info.run_id
    assert history(joined, "val/mask_iou") == [(1, 1.0), (2, 0.5)]
    assert "maskdepth.reused_because" not in read_tags(joined)
    assert "evaluate.threshold" not in read_params(run)
    assert read_params(joined)["evaluate.threshold"] == "0.5"


def test_a_training_that_goes_on_after_a_kill_goes_on_in_the_same_run(experiment):
    (experiment / "journals" / "train.jsonl").unlink()
    journal = write_training(experiment / "journals" / "train.jsonl", epochs=1)
    journal.end("KILLED")
    killed = send(put_live_row(live_row(train_id(experiment), load_params()), journal.path))
    assert killed.info.status == "KILLED"
    journal.start("train")
    write_epoch(journal, 2)
    folder = put_live_row(live_row(train_id(experiment), load_params()), journal.path)
    mirror_row(folder, 60)
    (run,) = runs_of(train_id(experiment))
    assert (run.info.run_id, run.info.status) == (killed.info.run_id, "RUNNING")
    journal.end("FINISHED")
    assert send(folder).info.status == "FINISHED"
    assert history(run, "val/mask_iou") == [(1, 1.0), (2, 0.5)]


def test_a_row_that_comes_back_as_it_is_removed_stays(experiment, monkeypatch):
    (experiment / "journals" / "train.jsonl").unlink()
    journal = write_training(experiment / "journals" / "train.jsonl", epochs=1)
    row = live_row(train_id(experiment), load_params())
    folder = put_live_row(row, journal.path)
    journal.end("KILLED")
    going_on = threading.Thread(target=lambda: (journal.start("train"), put_live_row(row, journal.path)))

    def remove_late(path):
        going_on.start()
        going_on.join(1)
        remove(path)

    remove = shutil.rmtree
    with monkeypatch.context() as late:
        late.setattr(shutil, "rmtree", remove_late)
        assert mirror_row(folder, 60).is_complete
    going_on.join()
    assert read_row(folder) == row
    assert read_journal(folder / "train.jsonl").id == row.key


def test_a_training_that_goes_on_does_not_wait_for_a_sender(experiment):
    (experiment / "journals" / "train.jsonl").unlink()
    journal = write_training(experiment / "journals" / "train.jsonl", epochs=1)
    row = live_row(train_id(experiment), load_params())
    folder = put_live_row(row, journal.path)
    with row_lock(folder, row.key, 1):  # as a sender holds it while a server hangs
        again = threading.Thread(target=put_live_row, args=[row, journal.path], daemon=True)
        again.start()
        again.join(10)
        assert not again.is_alive()


def test_an_epoch_is_one_batch_of_metrics(experiment, monkeypatch):
    (experiment / "journals" / "train.jsonl").unlink()
    journal = write_training(experiment / "journals" / "train.jsonl", epochs=1)
    folder = put_live_row(live_row(train_id(experiment), load_params()), journal.path)
    mirror_row(folder, 60)
    sent, log_batch = [], MlflowClient.log_batch

    def count(client, run_id, metrics=(), *others, **named):
        sent.append(len(metrics))
        return log_batch(client, run_id, metrics, *others, **named)

    monkeypatch.setattr(MlflowClient, "log_batch", count)
    for epoch in (2, 3, 4):
        write_epoch(journal, epoch)
        mirror_row(folder, 60)
    assert [metrics for metrics in sent if metrics] == [6, 6, 6]


def test_the_records_of_a_training_outlive_its_folder(experiment):
    state = experiment / "state"
    state.mkdir()
    journal = write_training(state / "journal.jsonl", epochs=2)
    folder = put_live_row(live_row(read_journal(journal.path).id, load_params()), journal.path)
    journal.end("FINISHED")
    shutil.rmtree(state)
    assert history(send(folder), "val/mask_iou") == [(1, 1.0), (2, 0.5)]


@pytest.mark.slow
def test_the_mirror_process_sends_what_is_written_and_ends_with_the_training(experiment):
    (experiment / "journals" / "train.jsonl").unlink()
    journal = write_training(experiment / "journals" / "train.jsonl", epochs=1)
    mirror = start_mirror(journal.path, load_params())
    wait_until(lambda: runs_of(train_id(experiment)))
    write_epoch(journal, 2)
    journal.end("FINISHED")
    assert mirror.finish(60) == "tracking: all sent"
    (run,) = runs_of(train_id(experiment))
    assert (run.info.status, history(run, "val/mask_iou")) == ("FINISHED", [(1, 1.0), (2, 0.5)])


FOLLOW = (
    "import sys; from pathlib import Path; from maskdepth.tracking import live;"
    "live._PASS_SECONDS = live._LAST_PASS_SECONDS = live._GRACE_SECONDS = 1; live.follow(Path(sys.argv[1]))"
)


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_server_that_drips_bytes_for_ever_does_not_hold_the_mirror_process(experiment, monkeypatch, goes_on):
    (experiment / "journals" / "train.jsonl").unlink()
    journal = write_training(experiment / "journals" / "train.jsonl", epochs=1)
    folder = put_live_row(live_row(train_id(experiment), load_params()), journal.path)
    if not goes_on:
        journal.end("FINISHED")
    with false_server(drip) as port, (experiment / "log").open("w") as log:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        environment = os.environ | {"PYTHONPATH": str(SOURCE)}
        command = [sys.executable, "-c", FOLLOW, str(folder)]
        mirror = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_until(lambda: "held a call beyond its time" in (experiment / "log").read_text())
            if goes_on:  # as a fresh process under the same number
                wait_until(lambda: "maskdepth.tracking\0" in Path(f"/proc/{mirror.pid}/cmdline").read_text())
                assert mirror.poll() is None
            else:
                assert mirror.wait() == 1
        finally:
            mirror.kill()
            mirror.wait()
    with row_lock(folder, train_id(experiment), 5):  # nobody holds it any more
        pass


@pytest.mark.slow
def test_a_killed_training_ends_as_killed(experiment):
    path = experiment / "killed.jsonl"
    code = (
        "import sys, pathlib; from maskdepth.params import load_params; from support.tracked import write_training;"
        "from maskdepth.tracking.live import start_mirror;"
        f"journal = write_training(pathlib.Path({str(path)!r}), 1); mirror = start_mirror(journal.path, load_params());"
        "print(mirror.process.pid, flush=True); input()"
    )
    environment = os.environ | {"PYTHONPATH": f"{SOURCE}{os.pathsep}{Path(__file__).parents[1]}"}
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, env=environment) as training:
        training.stdout.readline()
        training.send_signal(signal.SIGKILL)
    wait_until(lambda: not waiting_rows())
    (run,) = runs_of(read_journal(path).id)
    assert (run.info.status, len(history(run, "val/mask_iou"))) == ("KILLED", 1)


# Several processes and kills


def run_python(code: str, cwd: Path) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    return subprocess.Popen([sys.executable, "-c", code], cwd=cwd, env=environment, stdout=-1, stderr=-1, text=True)


SEND = "from maskdepth.tracking.mirror import mirror_rows; print(*dict(mirror_rows(60)).values())"


@pytest.mark.slow
def test_four_processes_on_a_fresh_store_all_succeed(fresh):
    code = (
        f"{CONNECT}; c = connect(locate_store());"
        "[c.client.log_metric(c.client.create_run(c.experiments['maskdepth']).info.run_id, 'x', 1) for _ in range(5)]"
    )
    processes = [run_python(code, fresh) for _ in range(4)]
    assert [(process.communicate()[1], process.returncode) for process in processes] == [("", 0)] * 4
    connection = connect(locate_store())
    assert len(connection.client.search_runs([connection.experiments[EXPERIMENT]])) == 20


@pytest.mark.slow
def test_a_kill_at_any_instant_of_the_first_use_leaves_a_usable_store(fresh):
    code = f"import mlflow; print(1, flush=True); {CONNECT}; connect(locate_store())"
    moments = np.random.default_rng(0).uniform(0, 1.5, 10)
    for seconds in moments:
        with run_python(code, fresh) as process:
            process.stdout.readline()
            time.sleep(seconds)
            process.kill()
        assert connect(locate_store()).experiments.keys() == {"maskdepth", "maskdepth-data"}
        (fresh / "mlflow.db").unlink()
    assert len(moments) == 10


@pytest.mark.slow
def test_a_sender_killed_at_any_instant_leaves_no_double_and_loses_nothing(experiment):
    put_data_row(experiment / "journals" / "index.jsonl", "index")
    folder = put_row(experiment)
    for seconds in np.random.default_rng(0).uniform(0, 0.6, 12):
        code = f"import mlflow, PIL.Image; print(1, flush=True); {SEND}"
        with run_python(code, experiment) as process:
            process.stdout.readline()
            time.sleep(seconds)
            process.kill()
    dict(mirror_rows(60))
    assert not folder.exists()
    (run,) = runs_of(train_id(experiment))
    assert (run.info.status, history(run, "val/mask_iou")) == ("FINISHED", [(1, 1.0), (2, 0.5)])
    connection = connect(locate_store())
    assert len(connection.client.list_artifacts(run.info.run_id, "pictures")) == 3
    journal_id = read_journal(experiment / "journals" / "index.jsonl").id
    data = connection.experiments["maskdepth-data"]
    assert len(connection.client.search_runs([data], f"tags.`maskdepth.journal` = '{journal_id}'")) == 1


# The model


class Undecided(nn.Module):
    """A network whose way through depends on the values it sees, which no export can follow."""

    def forward(self, background, composite):
        scores = background.mean(1, keepdim=True)
        scores = scores + 1 if bool(composite.sum() > 7) else scores
        return Prediction(scores, scores.sigmoid())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the exporter and of MLflow about its own types
def test_a_network_that_cannot_be_exported_is_refused_with_its_name(fresh):
    with pytest.raises(ValueError, match="Undecided cannot be exported: "):
        export_model(Undecided(), fresh / "model")


def test_weights_that_cannot_be_exported_are_kept_as_a_file(experiment):
    run = send(put_row(experiment))  # an empty file for weights
    assert read_tags(run)["model.export"].startswith("failed: ")
    client = connect(locate_store()).client
    assert [f.path for f in client.list_artifacts(run.info.run_id, "model")] == ["model/model.safetensors"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_restored_experiment_links_the_model_that_is_there(experiment, monkeypatch):
    write_weights(experiment / "models" / "model.safetensors")
    name_experiment(monkeypatch, "with-model")
    run = send(put_row(experiment))
    name_experiment(monkeypatch, "with-model-again")
    restored = send(put_row(experiment))
    assert read_tags(run)["model.export"] == read_tags(restored)["model.export"] == "ok"
    (first,), (second,) = run.outputs.model_outputs, restored.outputs.model_outputs
    assert first.model_id == second.model_id
    assert restored.info.run_id != run.info.run_id
    client = connect(locate_store()).client
    model = client.get_logged_model(first.model_id)
    assert (model.name, model.params["loss.depth"]) == ("bce|l1-s0", "l1")
    assert {metric.key: metric.value for metric in model.metrics}["test/mask_iou"] == 0.5
    assert history(run, "test/mask_iou") == [(0, 0.5)]
    check_model_in_a_bare_process(first.model_id, experiment)


def check_model_in_a_bare_process(model_id: str, workspace: Path) -> None:
    """Predict with the stored model where neither our source nor unpickling is at hand, at another odd size."""
    from maskdepth.models.saved import load_network

    network = load_network(workspace / "models" / "model.safetensors")
    pictures = torch.rand(3, 6, 33, 47)
    with torch.no_grad():
        expected = network(pictures[:, :3], pictures[:, 3:])
    np.save(workspace / "pictures.npy", pictures.numpy())
    code = (
        f"import mlflow, numpy; mlflow.set_tracking_uri({locate_store().uri!r});"
        f"model = mlflow.pyfunc.load_model('models:/{model_id}');"
        "numpy.save('maps.npy', model.predict(numpy.load('pictures.npy')))"
    )
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    bare["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    subprocess.run([sys.executable, "-c", code], cwd=workspace, env=bare, check=True)
    maps = np.load(workspace / "maps.npy")
    np.testing.assert_allclose(maps[:, :1], expected.mask_logits.sigmoid().numpy(), atol=1e-5)
    np.testing.assert_allclose(maps[:, 1:], expected.depth.numpy(), atol=1e-5)


# After the fact


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


def test_a_moved_repository_is_noticed_and_mended(experiment, shared_root, monkeypatch, tmp_path_factory):
    run = send(put_row(experiment))
    moved = tmp_path_factory.mktemp("moved") / "repository"
    shutil.copytree(shared_root, moved)
    enter(monkeypatch, moved, moved)
    assert find_moved_root() == shared_root
    (finding,) = repair.check_store()
    assert finding == f"{moved}/mlflow.db was made in {shared_root}; `maskdepth relocate` mends its paths"
    assert relocate(shared_root, moved) >= 3
    stored = connect(locate_store()).client.get_run(run.info.run_id).info.artifact_uri
    assert Path(stored).is_relative_to(moved)
    assert (Path(stored) / "pictures" / "best.png").is_file()
    assert (moved / "mlflow.db.before-relocate").is_file()
    assert find_moved_root() is None
    assert repair.check_store() == []


def test_a_copy_of_a_repository_sends_nothing_into_the_original(fresh, monkeypatch, tmp_path_factory):
    write_experiment(fresh)
    send(put_data_row(fresh / "journals" / "index.jsonl", "index"))
    copy = tmp_path_factory.mktemp("copies") / "copy"
    shutil.copytree(fresh, copy)
    before = sorted(fresh.rglob("*"))
    enter(monkeypatch, copy, copy)
    shutil.copy(copy / "reports" / "pictures" / "best.png", copy / "curves.png")
    folder = put_row(copy)
    reason = f"{copy}/mlflow.db was made in {fresh}; `maskdepth relocate` mends its paths"
    for sent in (mirror_row(folder, 60), *dict(mirror_rows(60)).values()):
        assert (sent.is_complete, sent.reason) == (False, reason)
    assert sorted(fresh.rglob("*")) == before
    relocate(fresh, copy)
    run = send(folder)
    assert Path(run.info.artifact_uri, "pictures", "best.png").is_relative_to(copy)
    assert Path(run.info.artifact_uri, "pictures", "best.png").is_file()
    assert sorted(fresh.rglob("*")) == before


def test_a_store_of_several_repositories_belongs_to_the_first(fresh, monkeypatch, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / ".dvc").mkdir()
    connect(locate_store())
    enter(monkeypatch, other, other)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{fresh}/mlflow.db")
    assert connect(locate_store()).experiments.keys() == {"maskdepth", "maskdepth-data"}
    assert find_moved_root() is None
    assert repair.check_store() == []


def test_a_repository_that_is_moved_while_it_sends_loses_nothing(fresh, monkeypatch, tmp_path_factory):
    write_experiment(fresh)
    shutil.copy(fresh / "reports" / "pictures" / "best.png", fresh / "curves.png")
    names = [put_data_row(fresh / "journals" / "index.jsonl", "index").name, put_row(fresh).name]
    rows = mirror_rows(60)
    assert next(rows)[1].is_complete
    moved = fresh.rename(tmp_path_factory.mktemp("moved") / "repository")
    enter(monkeypatch, moved, moved)
    name, sent = next(rows)
    assert (name, sent.is_complete) == (names[1], False)
    assert sent.reason == "the repository was moved away meanwhile; run again where it is now"
    assert not fresh.exists()
    assert "`maskdepth relocate`" in dict(mirror_rows(60))[name].reason
    relocate(fresh, moved)
    run = send(moved / ".dvc" / "tmp" / "maskdepth" / "outbox" / name)
    assert Path(run.info.artifact_uri, "pictures", "best.png").is_relative_to(moved)
    assert Path(run.info.artifact_uri, "pictures", "best.png").is_file()


@pytest.mark.parametrize("name", ["a?b", "a%41b", "100%", "a#b", "a'b\"c", "a@:b", ":b", "\udcff"])
def test_a_path_that_would_be_misread_is_refused_and_no_store_is_made_elsewhere(tmp_path, monkeypatch, name):
    root = tmp_path / name
    (root / ".dvc").mkdir(parents=True)
    enter(monkeypatch, root, root)
    with pytest.raises(ValueError, match=r"no store can be in a path with .*; rename its folder") as refused:
        locate_store()
    assert str(refused.value).isprintable()
    assert "rename its folder" in repair.check_store()[0]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert locate_store().database is None


@pytest.mark.parametrize("name", ["a b", "a'b", 'a"b', "a&b=c;d", "ü", "a@b:c", "a\\b", "a[b]{c}"])
def test_any_other_path_holds_the_store_and_its_pictures(tmp_path, monkeypatch, name):
    root = tmp_path / name
    (root / ".dvc").mkdir(parents=True)
    enter(monkeypatch, root, root)
    write_experiment(root)
    shutil.copy(root / "reports" / "pictures" / "best.png", root / "curves.png")
    run = send(put_row(root))
    assert (root / "mlflow.db").stat().st_size > 0
    assert len([*(root / "mlartifacts" / "maskdepth" / run.info.run_id).rglob("best.png")]) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_relocate_wants_a_store_of_files(fresh, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"mlflow\.db: no store here"):
        relocate(fresh, fresh)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    with pytest.raises(ValueError, match="only a SQLite store holds absolute paths"):
        relocate(fresh, fresh)


def test_a_damaged_store_is_named_with_the_cure(fresh):
    (fresh / "mlflow.db").write_bytes(b"SQLite format 3\0" + bytes(4000))
    (finding,) = repair.check_store()
    assert finding.startswith(f"{fresh}/mlflow.db is damaged (file is not a database): move it away, and mlflow.db-wal")


def test_a_store_taken_away_alone_does_not_come_back_from_what_a_killed_sender_left_beside_it(fresh):
    connection = connect(locate_store())
    kill = (
        f"import os, signal; {CONNECT}; c = connect(locate_store());"
        "c.client.create_run(c.experiments['maskdepth']); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = run_python(kill, fresh)
    assert killed.communicate() == ("", "")
    assert killed.returncode == -signal.SIGKILL
    assert (fresh / "mlflow.db-wal").stat().st_size > 0
    (fresh / "mlflow.db").rename(fresh / "damaged.db")
    again = run_python(
        f"{CONNECT}; connect(locate_store())",
        fresh,
    )
    assert again.communicate() == ("", "")
    with closing(sqlite3.connect(connection.store.database)) as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert store.execute("SELECT count(*) FROM runs").fetchone() == (0,)


def test_an_empty_file_in_the_place_of_the_store_is_no_store(fresh):
    (fresh / "mlflow.db").touch()
    assert repair.check_store() == []
    assert connect(locate_store()).experiments.keys() == {"maskdepth", "maskdepth-data"}
