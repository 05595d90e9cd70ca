"""Proves that a write that fails names its file, and that what a training leaves is found or gone."""

import errno
import re
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch
from support.toy import write_toy_archive
from support.trained import fail_stage, read_only, run_stage, small_disk, write_small_params

from maskdepth.process.alone import ConflictError
from maskdepth.process.command import BAD_INPUT, CONFLICT, NO_RESOURCE, guard
from maskdepth.process.signals import StopSignals
from maskdepth.process.workspace import require_writable
from maskdepth.tracking.journal import FINISHED, Journal, read_journal
from maskdepth.training.states import discard_states, list_abandoned_states, lock_folder, save_state


@contextmanager
def largest_file(size):
    """Let no file grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_journal_that_cannot_grow_is_named_and_what_it_held_is_read(tmp_path):
    journal = Journal(tmp_path / "train.jsonl")
    journal.start("train")
    journal.metrics({"loss": 0.5}, step=1)
    with largest_file(journal.path.stat().st_size + 20), pytest.raises(OSError, match="File too large") as raised:
        journal.metrics({"loss": 0.25}, step=2)
    assert raised.value.filename == str(journal.path)
    assert [point.step for point in read_journal(journal.path).points] == [1]
    journal.start("train")
    journal.metrics({"loss": 0.25}, step=2)
    journal.end(FINISHED)
    contents = read_journal(journal.path)
    assert ([point.step for point in contents.points], contents.damaged) == ([1, 2], 1)


def test_a_state_that_cannot_be_written_is_named(tmp_path):
    with largest_file(4096), pytest.raises(OSError, match="File too large") as raised:
        save_state(tmp_path, {"large": torch.zeros(10_000)}, 1)
    assert re.search(r"state-00000001-[0-9a-f]{64}\.pt$", raised.value.filename)


@pytest.fixture
def undecoded(tmp_path):
    """A repository with an archive that no stage has read; its pixels take 132,096 bytes."""
    (tmp_path / ".dvc").mkdir()
    write_toy_archive(tmp_path / "data" / "raw")
    write_small_params(tmp_path)
    return tmp_path


def assert_unzip_names_what_is_full_and_leaves_nothing(repository, why, before=":"):
    code, told = fail_stage(repository, "unzip", before=before)
    assert code == NO_RESOURCE, told
    place = r"data/arrays/\.partial-batch1_images/\w+\.npy"
    assert re.fullmatch(rf"error: cannot write {place}: {why}; free some space and run again\n", told)
    assert list((repository / "data" / "arrays").iterdir()) == []


def assert_unzip_completes(repository):
    assert run_stage(repository, "unzip").startswith("unzip: 75 pictures from 1 archives (1 new), 0 rejected")
    assert [path.name for path in (repository / "data" / "arrays").iterdir()] == ["batch1_images"]


def test_unzip_on_a_disk_that_becomes_full_ends_in_a_line_and_the_next_run_completes(undecoded):
    arrays = undecoded / "data" / "arrays"
    # The pixels would fit beside the list of the archive as unzip counts them, but not in whole blocks of the disk.
    with small_disk(arrays, 144_384):
        assert_unzip_names_what_is_full_and_leaves_nothing(undecoded, "No space left on device")
        subprocess.run(["mount", "-o", "remount,size=1m", arrays], check=True)
        assert_unzip_completes(undecoded)


def test_unzip_that_may_write_no_large_file_ends_in_a_line_and_the_next_run_completes(undecoded):
    assert_unzip_names_what_is_full_and_leaves_nothing(undecoded, "File too large", before="ulimit -f 40")
    assert_unzip_completes(undecoded)


def test_folders_are_made_and_nothing_is_left_in_them(tmp_path):
    require_writable([tmp_path / "deep" / "down", tmp_path])
    assert list(tmp_path.rglob("*")) == [tmp_path / "deep", tmp_path / "deep" / "down"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with read_only(tmp_path), pytest.raises((OSError, ValueError), match=re.escape(str(tmp_path))):
        require_writable([tmp_path])


def test_a_folder_that_cannot_be_made_is_an_error_with_a_cure(tmp_path):
    (tmp_path / "file").touch()
    for blocked, why in ((tmp_path / "file", "File exists"), (tmp_path / "file" / "out", "Not a directory")):
        with pytest.raises(ValueError, match=rf"cannot write to {re.escape(str(blocked))}: {why}; choose another fo"):
            require_writable([blocked])


def make_states(folder):
    with lock_folder(folder):
        for step in (1, 2):
            save_state(folder, {"step": step}, step)
    (folder / "train.jsonl").touch()


def test_a_training_that_was_left_is_listed_unless_it_goes_on_now(tmp_path):
    assert list_abandoned_states(tmp_path / "nothing") == []
    for name in ("one", "two", "empty"):
        (tmp_path / name).mkdir()
    for name in ("one", "two"):
        make_states(tmp_path / name)
    assert len(list_abandoned_states(tmp_path)) == 2
    with lock_folder(tmp_path / "one"):
        (line,) = list_abandoned_states(tmp_path)
    assert re.fullmatch(rf"{tmp_path / 'two'} is a training left at 2\d+-.* \(0 MB\): .*delete it", line)


def test_a_complete_training_leaves_nothing(tmp_path):
    make_states(tmp_path / "one")
    with lock_folder(tmp_path / "one"):
        discard_states(tmp_path / "one")
    assert list(tmp_path.iterdir()) == []


# Forks a process for each instant, and so loads torch once.
KILL_WHILE_DISCARDING = """
import os, signal, sys
from pathlib import Path
from maskdepth.training.states import discard_states

for number, folder in enumerate(sys.argv[1:]):
    if os.fork() == 0:
        removed = []
        def look(event, arguments):
            if event == "os.remove":
                removed.append(event)
                if len(removed) > number:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(look)
        discard_states(Path(folder))
        os._exit(1)
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.slow
def test_a_kill_while_discarding_never_leaves_states_without_their_journal(tmp_path):
    folders = [tmp_path / str(number) for number in range(4)]
    for folder in folders:
        make_states(folder)
    command = [sys.executable, "-c", KILL_WHILE_DISCARDING, *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(-signal.SIGKILL)] * 4
    for folder in folders:
        left = {path.suffix for path in folder.iterdir()}
        assert ".pt" not in left or ".jsonl" in left


def raising(error):
    def program():
        raise error

    return program


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConflictError("every state is damaged"), CONFLICT, "error: every state is damaged\n"),
        (OSError(errno.EFBIG, "File too large", "a.pt"), NO_RESOURCE, "error: cannot write a.pt: File too large; free"),
        (OSError(errno.EROFS, "Read-only", "models"), NO_RESOURCE, "error: cannot write models: Read-only; make it wr"),
        (OSError(errno.EIO, "I/O error", "a.pt"), NO_RESOURCE, "error: cannot write a.pt: I/O error; check the disk"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x"), BAD_INPUT, "error: x: File name too long; choose"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "out"), BAD_INPUT, "error: out: Is a directory; choose an"),
        (torch.OutOfMemoryError("CUDA out of memory.\nDetails"), NO_RESOURCE, "error: out of memory: CUDA"),
    ],
)  # fmt: skip
def test_what_a_user_can_mend_is_one_line_and_a_code(capsys, monkeypatch, error, code, line):
    monkeypatch.delenv("MASKDEPTH_DEBUG", raising=False)
    with pytest.raises(SystemExit) as stopped:
        guard(raising(error))
    printed = capsys.readouterr().err
    assert (stopped.value.code, printed.count("\n")) == (code, 1)
    assert printed.startswith(line)


def test_another_runtime_error_is_a_bug_and_keeps_its_traceback(monkeypatch):
    monkeypatch.delenv("MASKDEPTH_DEBUG", raising=False)
    with pytest.raises(RuntimeError, match="index out of bounds"):
        guard(raising(RuntimeError("index out of bounds")))


def test_an_ignored_hangup_stays_ignored_and_an_ignored_interrupt_does_not():
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGINT)}
    try:
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.received == 0
            signal.raise_signal(signal.SIGINT)
            assert stop.exit_code == 130
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
