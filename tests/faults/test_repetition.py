"""Proves that the same settings give the same file, whatever process, hash seed, folder or number of cores."""

import hashlib
import os

import pytest
from support.trained import saved_states, start_stage, wait_for_state, write_small_params

pytestmark = pytest.mark.nightly


def digest(repository):
    return hashlib.sha256((repository / "models" / "model.safetensors").read_bytes()).hexdigest()


def test_another_process_elsewhere_writes_the_same_bytes(repository, uninterrupted):
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:1]))
    process = start_stage(
        repository, "train", before=f"command -v taskset >/dev/null && taskset -pc {cores} $$ >/dev/null; umask 077",
        PYTHONHASHSEED="12345", LC_ALL="C", TZ="Asia/Tokyo",
    )  # fmt: skip
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert digest(repository) == digest(uninterrupted)


def test_going_on_with_other_threads_is_allowed_and_told(repository):
    write_small_params(repository, epochs=1)
    process = start_stage(repository, "train")
    wait_for_state(repository, process, 2)
    process.kill()
    process.communicate()
    process = start_stage(repository, "train", MASKDEPTH_THREADS="2")
    _, stderr = process.communicate()
    assert process.returncode == 0
    assert "not equal bit for bit to a run without a break: threads 1 -> 2" in stderr
    assert saved_states(repository) == []
