"""Proves that training in several processes outlives what happens to them, and leaves what one process leaves."""

import re
import shutil
from pathlib import Path

import pandas as pd
import psutil
import pytest
from support.copied import copy_code
from support.trained import (
    STATES,
    assert_same_training,
    make_repository,
    run_stage,
    saved_states,
    start_stage,
    wait_for_state,
    write_small_params,
)
from torch import distributed as dist

from maskdepth.tracking.journal import FINISHED, KILLED, read_journal

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Give a repository in which all stages but the training have run, of which each batch has four parts."""
    repository = make_repository(tmp_path_factory.mktemp("prepared"))
    write_small_params(repository, epochs=2, micro_batch=2)
    return repository


@pytest.fixture
def repository(prepared, tmp_path):
    return Path(shutil.copytree(prepared, tmp_path / "repository"))


@pytest.fixture(scope="module")
def uninterrupted(prepared, tmp_path_factory):
    repository = shutil.copytree(prepared, tmp_path_factory.mktemp("uninterrupted") / "repository")
    run_stage(repository, "train")
    return repository


def find_ranks(process):
    """Give the processes that a stage has started, by their rank."""
    ranks = {}
    for child in psutil.Process(process.pid).children():
        try:
            if number := child.environ().get("RANK"):
                ranks[int(number)] = child
        except psutil.Error:  # it has just ended
            continue
    return ranks


def journal_of(repository):
    (journal,) = (repository / STATES).glob("*/train.jsonl")
    return read_journal(journal)


def read_end(process):
    """Give where a training says that it stopped, after its end by a signal."""
    stdout, stderr = process.communicate()
    assert process.returncode == 143, stderr
    assert not re.search(r"torch|Traceback", stderr)
    (stopped,) = re.findall(r"train: stopped at (epoch \d+ step \d+); run the same command to go on", stdout)
    return stopped


@pytest.mark.nightly
def test_a_killed_rank_is_started_again_and_one_process_ends_what_two_began(repository, uninterrupted):
    process = start_stage(repository, "train", MASKDEPTH_RANKS="2", PET_MAX_RESTARTS="1")
    wait_for_state(repository, process, 3)
    find_ranks(process)[1].kill()
    killed = max(int(path.name.split("-")[1]) for path in saved_states(repository))
    wait_for_state(repository, process, killed + 2)
    started = journal_of(repository).id
    find_ranks(process)[1].terminate()
    stopped = read_end(process)
    assert journal_of(repository).status == KILLED
    assert f"going on at {stopped}" in run_stage(repository, "train")
    assert_same_training(repository, uninterrupted)
    journal = read_journal(repository / "journals" / "train.jsonl")
    assert (journal.id, journal.status) == (started, FINISHED)


@pytest.mark.nightly
def test_a_signal_to_all_stops_two_processes_that_go_on_from_the_state_of_one(repository, uninterrupted):
    process = start_stage(repository, "train")
    wait_for_state(repository, process, 3)
    process.terminate()
    stopped = read_end(process)
    process = start_stage(repository, "train", MASKDEPTH_RANKS="2")
    wait_for_state(repository, process, 6)
    process.terminate()
    stopped_again = read_end(process)
    assert stopped_again != stopped
    assert f"going on at {stopped_again}" in run_stage(repository, "train")
    assert_same_training(repository, uninterrupted)


@pytest.mark.nightly
def test_a_rank_that_hangs_ends_the_training_with_a_sentence(repository):
    process = start_stage(repository, "train", MASKDEPTH_RANKS="2", MASKDEPTH_RANKS_PATIENCE="10")
    wait_for_state(repository, process, 2)
    hanging = find_ranks(process)[1]
    hanging.suspend()
    told = process.stderr.readline()
    hanging.kill()  # what the launcher would do after half a minute
    process.communicate()
    assert told.startswith("error: rank 0 of 2 has lost another rank, which died, hangs, or is out of reach (")
    assert process.returncode == 3


@pytest.mark.nightly
def test_the_ranks_end_with_the_process_that_started_them(repository):
    process = start_stage(repository, "train", MASKDEPTH_RANKS="2")
    wait_for_state(repository, process, 2)
    ranks = find_ranks(process)
    process.kill()
    assert not psutil.wait_procs(ranks.values(), timeout=60)[1]
    process.communicate()


@pytest.mark.nightly
def test_ranks_of_other_data_or_code_are_told_before_the_first_step(repository, tmp_path):
    other = Path(shutil.copytree(repository, tmp_path / "other"))
    split = pd.read_csv(other / "data" / "split.csv")
    split.loc[split[split["split"] == "train"].index[:5], "split"] = "val"
    split.to_csv(other / "data" / "split.csv", index=False)
    code = copy_code(tmp_path / "code")
    arrays = code / "src" / "maskdepth" / "data" / "arrays" / "arrays.py"
    arrays.write_text(arrays.read_text() + "# another line\n")
    place = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(place.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    processes = [
        start_stage(repository, "train", WORLD_SIZE="2", RANK="0", **meeting),
        start_stage(other, "train", code=code, WORLD_SIZE="2", RANK="1", **meeting),
    ]
    told = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2]
    reason = r"training samples \d+ there, \d+ here; validation samples \d+ there, \d+ here; other data; other code"
    message = f"rank 1 would train something else than rank 0: {reason}; give all the same\n"
    assert re.fullmatch(f"error: {message}", told[0])
    assert re.fullmatch(f"error: rank 1: {message}", told[1])
    assert not saved_states(repository)
