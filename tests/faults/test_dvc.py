"""Proves what holds when DVC itself is killed: the stage that goes on is not joined by a second one, and is found."""

import os
import re
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_pipeline import make_clone

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone in which nothing has run yet, set to train for hours."""
    clone = make_clone(tmp_path_factory.mktemp("dvc") / "clone")
    clone.change("epochs: 2", "epochs: 50000")
    return clone


def find_stage(clone, stage):
    """Give the process number of a stage that runs in the clone, None when there is none."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if f"stages.{stage}".encode() in words and (folder / "cwd").resolve() == clone.path:
                return int(folder.name)
        except OSError:  # it has ended, or is not ours
            continue
    return None


def wait_for(look, seconds=120):
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.002)
    return found


def is_running(process):
    return Path(f"/proc/{process}").is_dir() and "State:\tZ" not in Path(f"/proc/{process}/status").read_text()


@contextmanager
def orphan(clone, stage, is_working):
    """Let DVC start a stage, and kill DVC alone once the stage works; give the process that is left, held still."""
    with (clone.path.parent / "killed.txt").open("w") as log:
        dvc = subprocess.Popen(["dvc", "repro", stage], cwd=clone.path, env=clone.environment, stdout=log, stderr=log)
    wait_for(is_working)
    left = find_stage(clone, stage)
    os.kill(left, signal.SIGSTOP)
    dvc.kill()
    dvc.wait()
    try:
        yield left
    finally:
        os.kill(left, signal.SIGTERM)
        os.kill(left, signal.SIGCONT)
        wait_for(lambda: not is_running(left))


def test_a_second_unzip_does_not_write_beside_an_orphan(clone):
    arrays = clone.path / "data" / "arrays"
    with orphan(clone, "unzip", lambda: list(arrays.glob(".partial-*"))) as left:
        printed = clone.run("dvc", "repro", "unzip", fails=True)
        assert f"error: data/arrays is held by process {left}; wait for it to end" in printed
        assert is_running(left)
    assert re.search(r"^unzip: [\d,]+ pictures", clone.run("dvc", "repro", "unzip"), re.MULTILINE)
    assert not list(arrays.glob(".partial-*"))


def test_a_second_training_does_not_start_beside_an_orphan_and_goes_on_from_its_state(clone):
    states = clone.path / ".dvc" / "tmp" / "maskdepth" / "train"
    with orphan(clone, "train", lambda: list(states.glob("*/state-*.pt"))) as left:
        printed = clone.run("dvc", "repro", "train", fails=True)
        assert re.search(rf"error: .* \(process {left} on \S+\) is held by another process", printed)
        assert is_running(left)
    # The orphan was ended with SIGTERM, as the documentation advises: it has saved its state.
    (folder,) = states.iterdir()
    log = clone.path.parent / "second.txt"
    with log.open("w") as file:
        dvc = subprocess.Popen(["dvc", "repro", "train"], cwd=clone.path, env=clone.environment, stdout=file)
    wait_for(lambda: "train: going on at epoch" in log.read_text())
    os.kill(wait_for(lambda: find_stage(clone, "train")), signal.SIGTERM)
    assert dvc.wait() != 0
    assert "train: stopped at epoch" in log.read_text()
    assert list(states.iterdir()) == [folder]


def test_an_empty_rwlock_is_found_by_the_doctor_and_deleting_it_helps(clone):
    lock = clone.path / ".dvc" / "tmp" / "rwlock"
    lock.write_text("")
    clone.run("dvc", "repro", "unzip", fails=True)
    printed = clone.run("maskdepth", "doctor", fails=True)
    assert re.search(r"rwlock is damaged, every dvc command will fail: delete it while no\s+dvc command runs", printed)
    lock.unlink()
    clone.run("dvc", "repro", "unzip")
