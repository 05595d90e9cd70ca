"""Proves that DVC experiments run side by side without one being lost, doubled or left behind: real repositories."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.trivial import make_repository
from support.waiting import wait_until

from maskdepth.process.alone import ConflictError
from maskdepth.process.signals import StopSignals
from maskdepth.sweeping.experiments import finished_experiments, logs_dir, only_sweep, run_experiments
from maskdepth.sweeping.grid import Experiment

# A stage of a second or less, that fails, dies or waits when it is told to.
STAGE = """
import os, pathlib, signal, sys, time
a = pathlib.Path("params.yaml").read_text().split("a: ")[1].split()[0].strip("'")
if a == "bad":
    sys.exit("error: it cannot be so")
if a == "dies":
    with pathlib.Path(os.environ["DVC_ROOT"], "deaths").open("a") as file:
        file.write("x")
    os.kill(os.getsid(0), signal.SIGKILL)  # DVC leads the session; the parent may be a shell between
if a == "waits":
    pathlib.Path(os.environ["DVC_ROOT"], "waiting").touch()
    time.sleep(300)
pathlib.Path("m.json").write_text('{"a": "%s"}' % a)
"""


def command(folder, *words):
    return subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Make a git and DVC repository with one trivial stage."""
    make_repository(tmp_path, STAGE, "/waiting\n/deaths\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return tmp_path


def experiments(*values):
    return [Experiment(f"a-{value}", "", 0, {"a": value}) for value in values]


@contextmanager
def running(repository, *values, jobs):
    with only_sweep() as lock, StopSignals() as stop:
        yield run_experiments(experiments(*values), repository, [{}] * jobs, lock, stop), stop


def run(repository, *values, jobs):
    with running(repository, *values, jobs=jobs) as (outcomes, _):
        return list(outcomes)


@pytest.mark.slow
def test_no_experiment_is_lost_or_doubled_however_many_run_at_once(repository):
    values = list(range(10, 22))
    outcomes = run(repository, *values, jobs=6)
    assert sorted(outcome.experiment.name for outcome in outcomes) == [f"a-{value}" for value in values]
    assert not any(outcome.failure for outcome in outcomes)
    there = finished_experiments(repository)
    assert sorted(there) == [f"a-{value}" for value in values]
    for name, commit in there.items():  # each has its own setting
        assert command(repository, "git", "show", f"{commit}:m.json") == f'{{"a": "{name.removeprefix("a-")}"}}'
    assert command(repository, "git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_what_fails_is_told_by_its_last_line_and_stops_no_other(repository):
    outcomes = {outcome.experiment.name: outcome.failure for outcome in run(repository, "bad", 3, jobs=2)}
    assert outcomes == {"a-bad": "error: it cannot be so", "a-3": ""}
    assert (logs_dir() / "a-bad.log").is_file()


@pytest.mark.slow
def test_an_experiment_whose_dvc_dies_is_tried_again(repository):
    outcomes = run(repository, "dies", jobs=1)
    assert [outcome.failure != "" for outcome in outcomes] == [True]
    assert (repository / "deaths").read_text() == "xxx"


@pytest.mark.slow
def test_a_signal_ends_all_and_leaves_nobody_behind(repository):
    with running(repository, "waits", 5, jobs=1) as (outcomes, stop):
        asker = threading.Thread(target=terminate_when, args=[(repository / "waiting").is_file])
        asker.start()
        assert list(outcomes) == []
        asker.join()
        assert stop.received == signal.SIGTERM
    assert finished_experiments(repository) == {}
    with only_sweep():  # nobody holds the lock any more
        pass


@pytest.mark.slow
def test_experiments_of_a_killed_sweep_keep_the_next_one_out(repository):
    script = (
        "import sys; from maskdepth.sweeping.experiments import *; from maskdepth.process.signals import StopSignals\n"
        "from pathlib import Path\n"
        "with only_sweep() as lock, StopSignals() as stop:\n"
        "    waits = [Experiment('a-waits', '', 0, {'a': 'waits'})]\n"
        "    list(run_experiments(waits, Path('.').resolve(), [{}], lock, stop))\n"
    )
    sweep = subprocess.Popen([sys.executable, "-c", script], cwd=repository)
    wait_until((repository / "waiting").is_file)
    with pytest.raises(ConflictError, match="a sweep runs in this repository"), only_sweep():
        pass
    sweep.kill()
    sweep.wait()
    with pytest.raises(ConflictError, match="go on") as told, only_sweep():
        pass
    (cure,) = re.findall("`(kill -INT -- .*)`", str(told.value))
    subprocess.run(cure.split(), check=True)  # as it is printed
    wait_until(is_free)


def terminate_when(look):
    wait_until(look)
    os.kill(os.getpid(), signal.SIGTERM)


def is_free():
    try:
        with only_sweep():
            return True
    except ConflictError:
        time.sleep(0.2)
        return False
