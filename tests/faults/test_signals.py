"""Proves that a training obeys signals within seconds, saved, and that its MLflow run tells the truth about it."""

import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing

import pytest
from support.trained import STATES, start_stage, wait_for_state, write_small_params
from support.waiting import patience, wait_until

from maskdepth.tracking.journal import KILLED, read_journal
from maskdepth.tracking.upload import NOT_SHOWN
from maskdepth.training.states import load_state

pytestmark = pytest.mark.nightly

LONGEST_STOP = 5.0  # [s] on a machine with a core for it


def stop(process, number):
    """Send a signal; give the exit code, how long the end took [s], and what was said."""
    began = time.monotonic()
    process.send_signal(number)
    stdout, stderr = process.communicate()
    assert "Traceback" not in stderr, stderr
    return process.returncode, time.monotonic() - began, stdout


def assert_stopped(repository, process, number, code):
    ended, seconds, stdout = stop(process, number)
    assert ended == code
    assert seconds < patience(LONGEST_STOP)
    assert "; run the same command to go on" in stdout.splitlines()[-1]
    (journal,) = (repository / STATES).glob("*/train.jsonl")
    assert read_journal(journal).status == KILLED


def test_a_hangup_ends_the_training_within_seconds_with_its_state(repository):
    write_small_params(repository, epochs=500, checkpoint_seconds=1000.0)
    process = start_stage(repository, "train")
    wait_for_state(repository, process, 1)  # that of the first epoch
    assert_stopped(repository, process, signal.SIGHUP, 129)


def test_nohup_keeps_its_promise_and_an_interrupt_is_heard_in_the_background(repository):
    """A shell lets `nohup` ignore SIGHUP, and background jobs SIGINT; the first is meant so, the second is not."""
    write_small_params(repository, epochs=500)
    process = start_stage(repository, "train", before="trap '' HUP INT")
    wait_for_state(repository, process, 2)
    process.send_signal(signal.SIGHUP)
    wait_for_state(repository, process, 12)
    assert_stopped(repository, process, signal.SIGINT, 130)


@pytest.mark.parametrize("pause", [0.0, 0.005, 0.03])
def test_a_second_signal_while_it_saves_ends_it_at_once_and_spares_the_state_before(repository, pause):
    write_small_params(repository, epochs=500)
    process = start_stage(repository, "train")
    wait_for_state(repository, process, 3)
    process.send_signal(signal.SIGTERM)
    time.sleep(pause)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode in (143, -signal.SIGTERM)
    (folder,) = (repository / STATES).iterdir()
    resumed = load_state(folder)
    assert resumed.notices == []
    assert resumed.state["step"] >= 1


def query(repository, text):
    path = repository / "mlflow.db"
    if not path.is_file():
        return []
    with closing(sqlite3.connect(path)) as store, store:
        return store.execute(text).fetchall()


def test_the_run_ends_as_killed_and_goes_on_as_the_same_run_without_doubled_points(repository):
    write_small_params(repository, epochs=500)
    outbox = repository / ".dvc" / "tmp" / "maskdepth" / "outbox"
    runs = []
    for _ in range(2):
        process = start_stage(repository, "train")
        wait_until(lambda: [status for _, status in query(repository, STATUSES)] == ["RUNNING"])
        assert_stopped(repository, process, signal.SIGTERM, 143)
        wait_until(lambda: not list(outbox.glob("*/row.json")))  # the mirror has sent the end, and ends
        runs += query(repository, STATUSES)
    assert runs[0] == runs[1] == (runs[0][0], "KILLED")
    (path,) = (repository / STATES).glob("*/train.jsonl")
    points = read_journal(path).points
    told = Counter((point.name, point.step) for point in points if not point.name.startswith(NOT_SHOWN))
    stored = Counter(query(repository, "select key, step from metrics"))
    assert stored == told
    assert set(stored.values()) == {1}
    assert max(step for _, step in stored) >= 2


STATUSES = "select run_uuid, status from runs"
