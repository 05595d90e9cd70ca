"""The console: what a user can mend ends in one line and its exit code; bugs keep their traceback."""

import errno
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from maskdepth.process.command import BAD_INPUT, CONFLICT, NO_RESOURCE, guard, run
from maskdepth.process.console import progress

ROOT = Path(__file__).parents[2]


def raising(error: BaseException):
    def program() -> None:
        raise error

    return program


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("loss.depth: unknown"), BAD_INPUT, "error: loss.depth: unknown\n"),
        (FileNotFoundError("data/raw is empty"), BAD_INPUT, "error: data/raw is empty\n"),
        (FloatingPointError("step 3: mask_bce is nan"), BAD_INPUT, "error: step 3: mask_bce is nan\n"),
        (MemoryError("1 GB"), NO_RESOURCE, "error: out of memory: 1 GB\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "models"),
            NO_RESOURCE,
            "error: cannot write models: No space",
        ),
        (Timeout("state.lock"), CONFLICT, "error: state.lock is held by another process"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_a_code(capsys, monkeypatch, error, code, line):
    monkeypatch.delenv("MASKDEPTH_DEBUG", raising=False)
    with pytest.raises(SystemExit) as stopped:
        guard(raising(error))
    assert stopped.value.code == code
    printed = capsys.readouterr().err
    assert printed.startswith(line)
    assert printed.count("\n") == 1


@pytest.mark.parametrize("error", [KeyError("x"), AssertionError("y"), OSError(errno.EBADF, "broken")])
def test_a_bug_keeps_its_traceback(error):
    with pytest.raises(type(error)):
        guard(raising(error))


def test_debug_keeps_every_traceback(monkeypatch):
    monkeypatch.setenv("MASKDEPTH_DEBUG", "1")
    with pytest.raises(ValueError, match="shown"):
        guard(raising(ValueError("shown")))


def test_a_command_gets_its_options(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["stage", "--name", "x"])

    def main(name: str = "") -> None:
        print(f"called {name}")

    with pytest.raises(SystemExit) as stopped:
        run(main)
    assert (stopped.value.code, capsys.readouterr().out) == (0, "called x\n")


def test_tracking_progress_changes_nothing():
    assert list(progress((number for number in range(3)), "count")) == [0, 1, 2]


def test_long_work_says_how_far_it_is(monkeypatch, capsys):
    times = iter(range(0, 1000, 6))
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    list(progress(["a", "b", "c"], "decode"))
    assert "decode: 1/3 after 18 s, about 36 s left" in capsys.readouterr().err


def test_a_held_lock_is_a_conflict(tmp_path):
    with FileLock(tmp_path / "l"), pytest.raises(SystemExit) as stopped:
        guard(lambda: FileLock(tmp_path / "l", timeout=0, is_singleton=False).acquire())
    assert stopped.value.code == CONFLICT


def test_the_reason_of_a_failure_is_left_where_the_makefile_finds_it(tmp_path, monkeypatch):
    def fail():
        raise ValueError("data/raw is empty; put your archives there")

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        guard(fail)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    with pytest.raises(SystemExit):
        guard(fail)
    left = tmp_path / ".dvc" / "tmp" / "maskdepth-error.txt"
    assert left.read_text() == "error: data/raw is empty; put your archives there\n"
    assert f"LAST_ERROR := {left.relative_to(tmp_path)}" in (ROOT / "Makefile").read_text()
