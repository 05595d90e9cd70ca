"""Proves that no stage runs twice in one workspace, and that Ctrl-C ends one that is still loading."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.waiting import wait_until

from maskdepth.process import alone
from maskdepth.process.alone import only_one
from maskdepth.process.command import CONFLICT, run

ROOT = Path(__file__).parents[2]
STAGES = ("unzip", "index", "stats", "split", "train", "evaluate", "report")
HOLD = """
import sys
from maskdepth.process.alone import only_one
with only_one(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(alone, "_LOCK_SECONDS", 0.1)
    return tmp_path


@pytest.fixture
def orphan(workspace):
    """Another process that holds a stage, as one does whose dvc was killed; give the function that starts it."""
    processes = []

    def start(stage):
        command = [sys.executable, "-c", HOLD, stage]
        processes.append(subprocess.Popen(command, cwd=workspace, stdin=-1, stdout=-1, text=True))
        assert processes[-1].stdout.readline() == "held\n"
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.stdin.close()
        process.stdout.close()
        process.wait()


def test_a_stage_that_runs_already_is_refused_with_its_process_and_the_cure(orphan, monkeypatch, capsys):
    process = orphan("split")
    called = []
    monkeypatch.setattr("sys.argv", ["stages/split.py"])
    with pytest.raises(SystemExit) as stopped:
        run(lambda: called.append(1))
    assert (stopped.value.code, called) == (CONFLICT, [])
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(rf"error: split runs here already, as process {process.pid}, .* end it with `kill`, then run", line)


def test_a_killed_stage_holds_nothing_and_other_stages_and_workspaces_never_wait(orphan, tmp_path, monkeypatch):
    process = orphan("split")
    with only_one("index"):
        pass
    (tmp_path / "temporary" / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "temporary")
    with only_one("split"):
        pass
    monkeypatch.chdir(tmp_path)
    process.kill()
    process.wait()
    with only_one("split"):
        pass


def test_a_stage_that_is_just_ending_is_waited_for(orphan, monkeypatch):
    process = orphan("split")
    monkeypatch.setattr(alone, "_LOCK_SECONDS", 10.0)
    process.stdin.close()
    with only_one("split"):
        assert process.wait(10) == 0


def test_outside_of_dvc_nothing_is_locked_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with only_one("split"), only_one("split"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_run_in_this_way(stage):
    last = (ROOT / "stages" / f"{stage}.py").read_text().splitlines()[-2:]
    assert last[0] == 'if __name__ == "__main__":'
    assert last[1].strip() in ("run(main)",)


def test_an_interrupt_while_the_libraries_are_loaded_is_one_line(tmp_path):
    command = [sys.executable, "-m", "stages.train", "--help"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=-1, stderr=-1, text=True)
    maps = Path(f"/proc/{process.pid}/maps")
    wait_until(lambda: "libtorch" in maps.read_text())  # it takes another second from here
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout, stderr) == (130, "", "stopped before it began\n")


def test_an_interrupt_of_a_stage_at_work_ends_it_with_130(workspace, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["stages/split.py"])

    def main() -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(SystemExit) as stopped:
        run(main)
    assert stopped.value.code == 130
    assert "Traceback" not in capsys.readouterr().err
