"""A training is shown while it runs, and its row ends as it ends, whatever a kill or a server does."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from faults.doors import drip, false_server
from mlflow import MlflowClient
from support.stored import MLFLOW_WARNINGS, SOURCE, history, put_row, runs_of, send, train_id
from support.tracked import write_epoch, write_training
from support.waiting import wait_until

from maskdepth.params import load_params
from maskdepth.tracking.journal import read_journal
from maskdepth.tracking.live import start_mirror
from maskdepth.tracking.mirror import mirror_row
from maskdepth.tracking.outbox import put_live_row, read_row, row_lock, waiting_rows
from maskdepth.tracking.runs import live_row
from maskdepth.tracking.tags import read_params, read_tags

pytestmark = MLFLOW_WARNINGS


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
