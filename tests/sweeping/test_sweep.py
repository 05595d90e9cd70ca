"""Proves a sweep as a user runs it: checked before anything starts, stopped, gone on with, raced, answered."""

import os
import signal
import subprocess
from contextlib import contextmanager

import pytest
from support.waiting import wait_until
from test_pipeline import make_clone

from maskdepth.sweeping.experiments import finished_experiments

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1500)]

LOSSES = ("--mask", "bce,dice", "--depth", "l1", "--seeds", "3")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone whose pipeline has run once, with a training that takes seconds."""
    clone = make_clone(tmp_path_factory.mktemp("sweep") / "clone")
    clone.change("name: unet ", "name: dsunet ")
    clone.run("git", "commit", "-qam", "dsunet")
    clone.run("dvc", "repro")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "first result")
    return clone


@contextmanager
def started(clone, *command, stdout):
    """Start a command, and leave nothing of it behind."""
    process = subprocess.Popen(command, cwd=clone.path, env=clone.environment, stdout=stdout, stderr=stdout)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def experiments(clone):
    return list(finished_experiments(clone.path))  # `dvc exp list` would want the lock that a sweep holds now and then


def test_what_would_fail_later_is_refused_before_anything_runs(clone):
    assert "did you mean dice" in clone.run("maskdepth", "sweep", "--mask", "dise", fails=True)
    clone.change("epochs: 2", "epochs: 3")
    assert "not committed: params.yaml" in clone.run("maskdepth", "sweep", *LOSSES, fails=True)
    clone.reset()
    (clone.path / "data" / "raw" / "more.zip").write_bytes(b"")
    assert "`dvc add data/raw`" in clone.run("maskdepth", "sweep", *LOSSES, fails=True)
    (clone.path / "data" / "raw" / "more.zip").unlink()
    clone.change("max_rejected: 0.05", "max_rejected: 0.04")
    clone.run("git", "commit", "-qam", "stricter")
    assert "`dvc repro unzip`" in clone.run("maskdepth", "sweep", *LOSSES, fails=True)
    clone.run("git", "reset", "--quiet", "--hard", "HEAD~")
    clone.run("git", "rm", "--quiet", "--cached", "dvc.lock")
    clone.run("git", "commit", "-qm", "no lock")
    assert "`git add dvc.lock`" in clone.run("maskdepth", "sweep", *LOSSES, fails=True)
    clone.run("git", "reset", "--quiet", "--mixed", "HEAD~")
    assert experiments(clone) == []


def test_a_plan_says_what_a_sweep_takes_and_shows_and_runs_nothing(clone):
    printed = clone.run("maskdepth", "sweep", *LOSSES, "--plan")
    assert "6 runs: 2 combinations with 3 seeds each" in printed
    assert "by the last `dvc repro`" in printed
    assert "points of mask IoU" in printed or "too few" in printed
    assert "every run decodes" not in printed
    assert "every run decodes" not in clone.run("maskdepth", "sweep", *LOSSES, "-S", "data.max_rejected=0.04", "--plan")
    printed = clone.run("maskdepth", "sweep", *LOSSES, "-S", "data.image_size=16", "--plan")
    assert "every run decodes the archives: data.image_size is 32 in params.yaml and 16 in the sweep" in printed
    assert experiments(clone) == []


def test_a_sweep_that_is_stopped_goes_on_and_answers(clone):
    log = clone.path.parent / "sweep.txt"
    with log.open("w") as file, started(clone, "maskdepth", "sweep", *LOSSES, "--jobs", "2", stdout=file) as sweep:
        wait_until(lambda: experiments(clone) or sweep.poll() is not None, 1200)
        os.kill(sweep.pid, signal.SIGTERM)
        assert sweep.wait() == 128 + signal.SIGTERM, log.read_text()
    assert "the same command goes on" in log.read_text()
    done = set(experiments(clone))
    assert 0 < len(done) < 6
    printed = clone.run("maskdepth", "sweep", *LOSSES, "--jobs", "2", "--html", "answer.html")
    assert f"{len(done)} of them there already" in printed
    assert sorted(experiments(clone)) == sorted(f"{mask}-l1-s{seed}" for mask in ("bce", "dice") for seed in range(3))
    assert "6 runs of 2 combinations" in printed
    assert "dice|l1" in (clone.path / "answer.html").read_text()
    answers = [tags for tags in clone.rows().tags if "maskdepth.answer" in tags]
    assert len(answers) == 1
    assert r"dice\|l1" in answers[0]["mlflow.note.content"]  # in Markdown
    # Without a sweep's name the first result of the clone is one more.
    assert "7 runs of 3 combinations" in clone.run("maskdepth", "compare", "--control", "bce|l1")


def test_a_race_of_what_is_there_runs_nothing_and_says_who_leads(clone):
    printed = clone.run("maskdepth", "sweep", *LOSSES, "--until-decided")
    assert "leads on the validation split" in printed
    assert len([tags for tags in clone.rows().tags if "maskdepth.answer" in tags]) == 1


def test_other_settings_under_the_same_names_are_refused_and_a_name_helps(clone):
    again = ("maskdepth", "sweep", "--mask", "bce", "--depth", "l1", "--seeds", "1", "-S", "train.epochs=1")
    printed = clone.run(*again, fails=True)
    assert "bce-l1-s0 with other settings (train.epochs 2 there, 1 here)" in printed
    assert "1 run: 1 combination" in clone.run(*again, "--name", "short", "--plan")
