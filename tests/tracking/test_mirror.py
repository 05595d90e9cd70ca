"""Whatever happens to a store, a server or a run, each row ends up in MLflow complete and once."""

import json
import os
import re
import shutil
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from faults.doors import false_server, whole_answer
from mlflow import MlflowClient
from support.stored import MLFLOW_WARNINGS, history, name_experiment, put_row, runs_of, send, sync, train_id
from support.tracked import set_param, write_epoch, write_evaluation, write_training
from support.waiting import patience

from maskdepth.params import load_params
from maskdepth.tracking import repair
from maskdepth.tracking.address import locate_store
from maskdepth.tracking.journal import Journal, read_journal
from maskdepth.tracking.mirror import Sent, mirror_row, mirror_rows
from maskdepth.tracking.outbox import outbox_dir, put_live_row, read_row, row_lock, waiting_rows
from maskdepth.tracking.runs import live_row, put_data_row
from maskdepth.tracking.store import connect
from maskdepth.tracking.tags import read_params, read_tags

pytestmark = MLFLOW_WARNINGS


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
    ("status", "body", "finding"),
    [
        ("401 Unauthorized", "You are not authenticated. Please see", "takes no such login (401): "),
        ("401 Unauthorized", "<html>Authorization required</html>", "set MLFLOW_TRACKING_USERNAME and "),
        ("403 Forbidden", "Permission denied", "has no right to write here (403): ask its administrator for the perm"),
        ("403 Forbidden", "Invalid Host header - possible DNS attack", "add it, with its port, to --allowed-h"),
        ("403 Forbidden", "The proxy is closed", "Response body: 'The proxy is closed'"),
    ],
)
def test_who_is_refused_is_told_why_and_the_cure(experiment, monkeypatch, status, body, finding):
    with false_server(lambda request: [whole_answer(body.encode(), status)]) as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        put_data_row(experiment / "journals" / "index.jsonl", "index")
        assert finding in sync()[0]
        assert finding in repair.check_store()[0]


def test_no_time_left_leaves_the_row_waiting(experiment):
    sent = mirror_row(put_row(experiment), 0)
    assert (sent.is_complete, sent.reason) == (False, "no time left; it is sent later")
