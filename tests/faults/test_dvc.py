"""Proves what holds when DVC itself is killed, doubled or damaged: nothing is written by two, and nothing is lost."""

import hashlib
import json
import os
import re
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.waiting import wait_until
from test_pipeline import make_clone

STATES = Path(".dvc/tmp/maskdepth/train")

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(600)]


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
            if f"stages.{stage}".encode() in words and (folder / "cwd").resolve().is_relative_to(clone.path):
                return int(folder.name)
        except OSError:  # it has ended, or is not ours
            continue
    return None


def is_running(process):
    return Path(f"/proc/{process}").is_dir() and "State:\tZ" not in Path(f"/proc/{process}/status").read_text()


@contextmanager
def orphan(clone, stage, is_working, is_second_tried=False):
    """Let DVC start a stage, and kill DVC alone once the stage works; give the process that is left, held still."""
    with (clone.path.parent / "killed.txt").open("w") as log:
        dvc = subprocess.Popen(["dvc", "repro", stage], cwd=clone.path, env=clone.environment, stdout=log, stderr=log)
    wait_until(is_working)
    left = find_stage(clone, stage)
    os.kill(left, signal.SIGSTOP)
    if is_second_tried:
        printed = " ".join(clone.run("dvc", "repro", stage, fails=True).split())
        assert "is busy, it is being blocked by" in printed and f"(PID {dvc.pid})" in printed
    dvc.kill()
    dvc.wait()
    try:
        yield left
    finally:
        os.kill(left, signal.SIGTERM)
        os.kill(left, signal.SIGCONT)
        wait_until(lambda: not is_running(left))


def assert_is_refused(clone, stage, left):
    printed = clone.run("dvc", "repro", stage, fails=True)
    assert (
        f"error: {stage} runs here already, as process {left}, perhaps left by a dvc that was killed; wait" in printed
    )
    assert is_running(left)


def test_a_second_repro_and_a_second_unzip_do_not_write_beside_a_first(clone):
    arrays = clone.path / "data" / "arrays"
    with orphan(clone, "unzip", lambda: list(arrays.glob(".partial-*")), is_second_tried=True) as left:
        assert_is_refused(clone, "unzip", left)
    assert re.search(r"^unzip: [\d,]+ pictures", clone.run("dvc", "repro", "unzip"), re.MULTILINE)
    assert not list(arrays.glob(".partial-*"))


def test_a_dvc_killed_as_it_commits_goes_on_with_the_same_result(clone):
    """The stage has ended when DVC is killed, so that what it kills is the copying into the cache."""
    log = clone.path.parent / "committing.txt"
    with log.open("w") as file:
        command = ["dvc", "repro", "--force", "--single-item", "unzip"]
        dvc = subprocess.Popen(
            command, cwd=clone.path, env=clone.environment, stdout=file, stderr=file, start_new_session=True
        )
    wait_until(lambda: "unzip: " in log.read_text() and not find_stage(clone, "unzip"))
    os.killpg(dvc.pid, signal.SIGKILL)
    dvc.wait()
    lock = clone.path / ".dvc" / "tmp" / "rwlock"
    if lock.is_file() and not lock.read_text():  # killed as it was written: the case of the next test
        lock.unlink()
    clone.run("dvc", "repro", "unzip")
    assert "up to date" in clone.run("dvc", "status", "unzip")


def test_a_damaged_file_in_the_cache_is_found_by_the_doctor_and_made_again(clone):
    """DVC takes a file of its cache that nobody may write for whole, and hands it out."""
    clone.run("dvc", "repro", "split")
    split = clone.path / "data" / "split.csv"
    whole = split.read_bytes()
    digest = hashlib.md5(whole).hexdigest()
    cached = clone.path / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
    cached.chmod(0o644)
    cached.write_bytes(whole[:-2] + b"x\n")
    cached.chmod(0o444)
    printed = clone.run("maskdepth", "doctor", fails=True).replace("\n", "")
    assert f"{cached} is damaged: delete it" in printed
    cached.unlink()
    clone.run("dvc", "repro", "--force", "--single-item", "split")
    assert split.read_bytes() == cached.read_bytes() == whole


def test_a_second_training_does_not_start_beside_an_orphan_and_goes_on_from_its_state(clone):
    states = clone.path / STATES
    with orphan(clone, "train", lambda: list(states.glob("*/state-*.pt"))) as left:
        assert_is_refused(clone, "train", left)
    # The orphan was ended with SIGTERM, as the documentation advises: it has saved its state.
    (folder,) = states.iterdir()
    goes_on(clone, "train: going on at epoch")
    assert list(states.iterdir()) == [folder]


def goes_on(clone, line):
    """Let DVC train until a line is said, then end the training."""
    log = clone.path.parent / "second.txt"
    with log.open("w") as file:
        dvc = subprocess.Popen(["dvc", "repro", "train"], cwd=clone.path, env=clone.environment, stdout=file)
    wait_until(lambda: line in log.read_text())
    os.kill(wait_until(lambda: find_stage(clone, "train")), signal.SIGTERM)
    assert dvc.wait() != 0
    assert "train: stopped at epoch" in log.read_text()


def test_a_killed_worker_of_the_queue_loses_no_training(clone):
    """The training that it has left saves its state in the main workspace, from which the same settings go on."""
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "before the queue")
    states = clone.path / STATES
    before = set(states.glob("*"))
    clone.run("dvc", "exp", "run", "--queue", "-n", "slower", "-S", "train.learning_rate=0.002")
    clone.run("dvc", "queue", "start")
    (folder,) = wait_until(lambda: {path.parent for path in states.glob("*/state-*.pt")} - before)
    left = find_stage(clone, "train")
    for worker in reversed(ancestors(left)):  # from the top, or a worker would tidy up after the one below it
        os.kill(worker, signal.SIGKILL)
    os.kill(left, signal.SIGTERM)
    wait_until(lambda: not is_running(left))
    printed = " ".join(clone.run("maskdepth", "doctor", fails=True).split())
    assert "1 workspaces of experiments in" in printed, printed
    assert f"{folder.name} is a training left at" in printed, printed
    clone.change("learning_rate: 0.03", "learning_rate: 0.002")
    goes_on(clone, "train: going on at epoch")
    assert folder.is_dir()


def ancestors(process):
    """List the processes that started a process, up to the first of its group: the shell of the stage, then DVC's."""
    found = []
    group = os.getpgid(process)
    while process != group:
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(process)
    return found


def test_an_empty_rwlock_is_found_by_the_doctor_and_deleting_it_helps(clone):
    lock = clone.path / ".dvc" / "tmp" / "rwlock"
    lock.write_text("")
    clone.run("dvc", "repro", "unzip", fails=True)
    printed = clone.run("maskdepth", "doctor", fails=True)
    assert re.search(r"rwlock is damaged, every dvc command will fail: delete it while no\s+dvc command runs", printed)
    lock.unlink()
    clone.run("dvc", "repro", "unzip")


def test_a_lock_of_a_process_number_used_again_is_found_by_the_doctor_and_deleting_it_helps(clone):
    lock = clone.path / ".dvc" / "tmp" / "rwlock"
    holder = {"pid": os.getpid(), "cmd": "dvc repro"}
    lock.write_text(json.dumps({"write": {str(clone.path / "data" / "arrays"): holder}}))
    assert "is busy, it is being blocked by" in " ".join(clone.run("dvc", "repro", "unzip", fails=True).split())
    printed = " ".join(clone.run("maskdepth", "doctor", fails=True).split())
    assert f"rwlock names process {os.getpid()}, which is no dvc command" in printed
    lock.unlink()
    clone.run("dvc", "repro", "unzip")


def test_a_half_merged_lock_file_is_found_by_the_doctor_and_taking_a_side_helps(clone):
    clone.run("dvc", "repro", "unzip")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "before the merge")
    lock = clone.path / "dvc.lock"
    text = lock.read_text()
    for branch, start in (("one", "HEAD"), ("two", "HEAD~")):
        clone.run("git", "checkout", "-qB", branch, start)
        lock.write_text(f"# {branch}\n{text}")
        clone.run("git", "commit", "-qam", branch)
    clone.run("git", "merge", "one", fails=True)
    clone.run("dvc", "repro", "unzip", fails=True)
    printed = " ".join(clone.run("maskdepth", "doctor", fails=True).split())
    assert "dvc.lock holds the two sides of a merge" in printed
    clone.run("git", "checkout", "--theirs", "dvc.lock")
    clone.run("dvc", "repro", "unzip")
    assert lock.read_text().startswith("# one\n")
