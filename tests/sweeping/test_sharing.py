"""Proves what the experiments of a sweep are told of the machine, and that MPS serves them where there is a GPU.

The daemon is a stand-in that writes down how it is called: it shows that each start has its end, on any machine.
"""

import os
import shutil
from pathlib import Path

import pytest
import torch

from maskdepth.sweeping import sharing as shared
from maskdepth.sweeping.sharing import choose_jobs, sharing

DAEMON = """#!/bin/sh
{ echo "$@ $(cat) pipes $CUDA_MPS_PIPE_DIRECTORY visible $CUDA_VISIBLE_DEVICES"; } >> "$DAEMON_CALLS"
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A folder to work in, on a machine of eight cores without MPS."""
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shared, "usable_cores", lambda: 8)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    return tmp_path


@pytest.fixture
def gpu(machine, monkeypatch):
    monkeypatch.setattr(shared, "list_devices", lambda: [torch.device("cuda")])
    return machine


@pytest.fixture
def daemon(gpu, monkeypatch):
    """A GPU with a stand-in for the daemon; gives the file of its calls."""
    script, calls = gpu / "daemon", gpu / "calls"
    script.write_text(DAEMON)
    script.chmod(0o755)
    calls.touch()
    monkeypatch.setenv("DAEMON_CALLS", str(calls))
    monkeypatch.setattr(shutil, "which", lambda name: str(script))
    return calls


def test_on_a_cpu_each_core_has_an_experiment_and_each_experiment_its_share(machine):
    assert choose_jobs() == 8
    with sharing(4) as places:
        assert places == [{"MASKDEPTH_THREADS": "2"}] * 4


def test_one_experiment_at_a_time_has_the_whole_machine(gpu):
    with sharing(1) as places:
        assert places == [{}]


def test_on_a_gpu_without_mps_two_take_turns_and_share_its_memory(gpu):
    assert choose_jobs() == 2
    with sharing(2) as places:
        assert places == [{"MASKDEPTH_THREADS": "4", "MASKDEPTH_RESIDENT": "0.250", "MASKDEPTH_DEVICE": "cuda"}] * 2


def test_several_gpus_bear_as_many_each(gpu, monkeypatch):
    monkeypatch.setattr(shared, "list_devices", lambda: [torch.device("cuda", number) for number in range(3)])
    assert choose_jobs() == 6
    with sharing(6) as places:
        assert [place["MASKDEPTH_DEVICE"] for place in places] == ["cuda:0", "cuda:1", "cuda:2"] * 2
        assert {place["MASKDEPTH_RESIDENT"] for place in places} == {"0.250"}


def test_mps_is_started_for_a_sweep_and_ended_with_it(daemon, monkeypatch):
    monkeypatch.setattr(shared, "_PROBE", "import os; os.environ['CUDA_MPS_PIPE_DIRECTORY']")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert choose_jobs() == 8
    with pytest.raises(KeyboardInterrupt), sharing(8) as (environment, *_):
        pipes = environment["CUDA_MPS_PIPE_DIRECTORY"]
        assert Path(pipes).is_dir()
        assert environment["MASKDEPTH_RESIDENT"] == "0.062"
        assert daemon.read_text().splitlines() == [f"-d  pipes {pipes} visible "]
        raise KeyboardInterrupt
    assert daemon.read_text().splitlines()[1:] == [f" quit pipes {pipes} visible "]


def test_where_mps_gives_no_device_the_trainings_take_turns_and_it_is_said(daemon, capsys, monkeypatch):
    monkeypatch.setattr(shared, "_PROBE", "raise RuntimeError('no device for you')")
    with sharing(8) as (environment, *_):
        assert "CUDA_MPS_PIPE_DIRECTORY" not in environment
    told = capsys.readouterr().err
    assert "take turns on a CUDA device, as MPS does not serve them: RuntimeError: no device for you" in told
    assert " quit " in daemon.read_text()


def test_mps_that_somebody_else_has_started_is_left_alone(daemon, monkeypatch):
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/theirs")
    assert choose_jobs() == 8
    with sharing(8) as (environment, *_):
        assert "CUDA_MPS_PIPE_DIRECTORY" not in environment  # the experiments inherit it
    assert daemon.read_text() == ""
