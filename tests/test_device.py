"""Proves that the process-wide switches obey the environment."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from maskdepth.device import (
    Load,
    choose_device,
    has_bf16,
    name_device_failure,
    seed_everything,
    set_deterministic,
    set_threads,
    share_for_pictures,
    why_no_cuda,
)

SOURCE = Path(__file__).parent.parent / "src"


def test_device_is_what_the_environment_says(monkeypatch):
    monkeypatch.setenv("MASKDEPTH_DEVICE", "cpu")
    assert choose_device() == torch.device("cpu")


def test_device_is_chosen_where_the_environment_is_silent(monkeypatch):
    monkeypatch.delenv("MASKDEPTH_DEVICE", raising=False)
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "meta"])
def test_unknown_devices_are_refused(monkeypatch, name):
    monkeypatch.setenv("MASKDEPTH_DEVICE", name)
    with pytest.raises(ValueError, match=f"MASKDEPTH_DEVICE={name}: expected cpu, cuda or cuda:<number>"):
        choose_device()


def test_a_cuda_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setenv("MASKDEPTH_DEVICE", "cuda:99")
    with pytest.raises(ValueError, match=r"MASKDEPTH_DEVICE=cuda:99: this machine has \d+ CUDA devices; use cpu"):
        choose_device()


def old_driver():
    text = "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040). Please update it."
    warnings.warn(text, stacklevel=1)
    return False


def test_a_driver_that_is_too_old_is_told_and_the_cpu_taken(monkeypatch, recwarn):
    monkeypatch.setattr(torch.cuda, "is_available", old_driver)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # of the driver, which need not be of use
    monkeypatch.setenv("MASKDEPTH_DEVICE", "")
    assert choose_device() == torch.device("cpu")
    assert why_no_cuda() == "The NVIDIA driver on your system is too old (found version 11040)"
    monkeypatch.setenv("MASKDEPTH_DEVICE", "cuda")
    with pytest.raises(ValueError, match=r"this machine has 0 CUDA devices \(The NVIDIA driver .* too old .*; use cpu"):
        choose_device()
    monkeypatch.setenv("MASKDEPTH_DEVICE", "cpu")
    assert why_no_cuda() == ""
    assert not recwarn


@pytest.mark.parametrize(("text", "share"), [("", 0.5), ("0", 0.0), ("0.8", 0.8), ("1", 1.0)])
def test_the_room_for_pictures_is_what_the_environment_says(monkeypatch, text, share):
    monkeypatch.setenv("MASKDEPTH_RESIDENT", text)
    assert share_for_pictures() == share


@pytest.mark.parametrize("text", ["-0.1", "1.1", "half", "nan"])
def test_a_wrong_share_for_pictures_is_refused(monkeypatch, text):
    monkeypatch.setenv("MASKDEPTH_RESIDENT", text)
    with pytest.raises(ValueError, match=f"MASKDEPTH_RESIDENT={text}: expected the share"):
        share_for_pictures()


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (torch.AcceleratorError("CUDA error: device-side assert triggered\nAdvice"), "device-side assert triggered"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "CUDNN_STATUS_EXECUTION_FAILED"),
        (RuntimeError("CUDA error: out of memory"), ""),
        (RuntimeError("index out of bounds"), ""),
        (ValueError("CUDA error: none"), ""),
    ],
)
def test_a_device_that_fails_is_told_from_other_errors(error, failure):
    assert name_device_failure(error) == failure


def test_threads_are_what_the_environment_says(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setenv("MASKDEPTH_THREADS", "1")
    try:
        assert set_threads() == torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_of_threads_is_refused(monkeypatch, text):
    monkeypatch.setenv("MASKDEPTH_THREADS", text)
    with pytest.raises(ValueError, match=f"MASKDEPTH_THREADS={text}: expected a whole number of threads"):
        set_threads()


def test_seed_decides_every_global_generator():
    import random

    import numpy as np

    def draw():
        return random.random(), float(np.random.rand()), torch.rand(()).item()

    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first
    assert len(set(first)) == 3


def test_the_cpu_computes_deterministically():
    set_deterministic(torch.device("cpu"))
    try:
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_bfloat16_is_told_by_the_instructions_of_the_cpu():
    names = ("avx512_bf16", "amx_bf16", "bf16")
    assert has_bf16(torch.device("cpu")) == any(torch.cpu.get_capabilities().get(name) for name in names)


@pytest.mark.parametrize(
    ("program", "own", "expected"),
    [(["stages.evaluate", "--help"], None, "PASSIVE"), (["maskdepth.cli", "models"], "ACTIVE", "ACTIVE")],
)
def test_threads_that_wait_sleep_unless_their_user_wants_something_else(program, own, expected):
    """OpenMP itself says with which policy it was loaded."""
    kept = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    asked = {"OMP_DISPLAY_ENV": "TRUE", "PYTHONPATH": f"{SOURCE}{os.pathsep}{SOURCE.parent}"}
    asked |= {"OMP_WAIT_POLICY": own} if own else {}
    done = subprocess.run(
        [sys.executable, "-m", *program], env=kept | asked, capture_output=True, text=True, check=True
    )
    assert f"OMP_WAIT_POLICY = '{expected}'" in done.stderr


def test_each_of_several_processes_asks_for_a_device_of_its_own(monkeypatch):
    monkeypatch.setenv("MASKDEPTH_DEVICE", "cuda")
    monkeypatch.setenv("LOCAL_RANK", str(torch.cuda.device_count()))
    with pytest.raises(ValueError, match=rf"this machine has {torch.cuda.device_count()} CUDA devices"):
        choose_device()


def test_what_a_machine_and_a_process_use_is_measured_under_the_names_of_mlflow():
    load = Load(torch.device("cpu"))
    before = load.measure()
    held = np.ones(50_000_000)
    after = load.measure()
    grown = after["system/process_memory_usage_megabytes"] - before["system/process_memory_usage_megabytes"]
    assert held.nbytes / 1e6 - 10 < grown < held.nbytes / 1e6 + 100
    assert 0 < after["system/system_memory_usage_megabytes"] < 1e8
    assert all(0 <= look["system/cpu_utilization_percentage"] <= 100 for look in (before, after))
