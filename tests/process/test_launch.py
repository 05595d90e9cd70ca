"""Proves that a process knows which of several it is, and how many are wanted."""

import subprocess
import sys

import pytest

from maskdepth.process.launch import find_rank, patience, wanted_ranks


@pytest.fixture(autouse=True)
def nobody(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASKDEPTH_RANKS", "MASKDEPTH_RANKS_PATIENCE"):
        monkeypatch.delenv(name, raising=False)


def test_a_process_that_nobody_launched_is_the_only_one():
    assert find_rank() == (0, 1)
    assert wanted_ranks() == 1
    assert patience() == 300


def test_a_process_that_was_launched_starts_no_others(monkeypatch):
    monkeypatch.setenv("MASKDEPTH_RANKS", "2")
    assert wanted_ranks() == 2
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (find_rank(), wanted_ranks()) == ((1, 4), 1)


@pytest.mark.parametrize("text", ["0", "two", "-1", "1.5"])
def test_wrong_numbers_are_refused(monkeypatch, text):
    monkeypatch.setenv("MASKDEPTH_RANKS", text)
    monkeypatch.setenv("MASKDEPTH_RANKS_PATIENCE", text)
    with pytest.raises(ValueError, match=f"MASKDEPTH_RANKS={text}: expected a whole number of processes"):
        wanted_ranks()
    with pytest.raises(ValueError, match=f"MASKDEPTH_RANKS_PATIENCE={text}: expected a whole number of seconds"):
        patience()


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ("sys.exit(4)", 4, ""),
        ("os.kill(os.getpid(), 15)", 143, ""),
        (
            "os.kill(os.getpid(), 9)",
            1,
            "ChildProcessError: rank 0 was killed by signal 9, perhaps for lack of memory, which ended the others; run "
            "again to go on from the last saved state; fewer processes (MASKDEPTH_RANKS) take less memory, and give "
            "the same result\n",
        ),
        ("os.kill(os.getpid(), 11)", 1, "rank 0 was killed by signal 11, which ended the others; run again to go on"),
    ],
)
def test_the_launcher_ends_as_the_first_rank_did_that_ended(tmp_path, end, code, said):
    # The other one waits until it is ended.
    wait = "time.sleep(600) if os.environ['RANK'] == '1' else None"
    (tmp_path / "work.py").write_text(f"import os, sys, time\n{wait}\n{end}\n")
    program = "from maskdepth.process.launch import launch; launch(2, 'work')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, done.stderr
    assert said in done.stderr
