"""Proves that a training state survives kills and damage, and that no training goes on from the state of another."""

import hashlib
import io
import os
import re
import resource
import socket

import numpy as np
import pytest
import torch
from filelock import Timeout

from maskdepth.params import ModelParams
from maskdepth.training.states import (
    describe_dependencies,
    describe_environment,
    explain_restart,
    load_state,
    lock_folder,
    save_state,
    training_key,
    write_dependencies,
)


def make_state(step):
    return {"weights": torch.full((3,), float(step)), "step": step, "name": "a", "scores": [0.5, float("nan")]}


def saved_steps(folder):
    return sorted(int(path.name.split("-")[1]) for path in folder.glob("state-*"))


def test_the_newest_state_comes_back_and_the_one_before_is_kept(tmp_path):
    assert load_state(tmp_path) is None
    for step in (9, 10, 11):
        save_state(tmp_path, make_state(step), step)
    resumed = load_state(tmp_path)
    assert resumed.notices == []
    assert torch.equal(resumed.state.pop("weights"), torch.full((3,), 11.0))
    assert resumed.state["step"] == 11
    assert saved_steps(tmp_path) == [10, 11]


def damage(path, place):
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.99])
def test_a_damaged_state_gives_way_to_the_one_before_and_says_so(tmp_path, place):
    for step in (1, 2):
        save_state(tmp_path, make_state(step), step)
    damage(next(tmp_path.glob("state-00000002-*")), place)
    resumed = load_state(tmp_path)
    assert resumed.state["step"] == 1
    assert resumed.notices == ["state-00000002 is damaged (SHA-256 differs); going on from the one before"]


def write_content(folder, content):
    """Write a state whose name carries the right digest of any content."""
    (folder / f"state-00000001-{hashlib.sha256(content).hexdigest()}.pt").write_bytes(content)


def saved_bytes(values):
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"text", saved_bytes([1]), saved_bytes({}), saved_bytes({"environment": 1})]
)
def test_a_state_of_something_else_is_refused_in_one_line(tmp_path, content):
    write_content(tmp_path, content)
    with pytest.raises(ValueError, match=r"delete .* to start training anew|holds unsafe content"):
        load_state(tmp_path)


def test_only_damaged_states_are_an_error_and_never_a_fresh_start(tmp_path):
    for step in (1, 2):
        save_state(tmp_path, make_state(step), step)
    for path in tmp_path.glob("state-*"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"every saved training state in .* is damaged; delete that folder"):
        load_state(tmp_path)


class Payload:
    """Would make a file if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_state_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    buffer = io.BytesIO()
    torch.save({"evil": Payload(tmp_path / "ran")}, buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    (tmp_path / f"state-00000001-{digest}.pt").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="holds unsafe content and was not loaded"):
        load_state(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_state_holds_plain_values_only(tmp_path):
    save_state(tmp_path, {"score": np.float64(0.5)}, 1)
    with pytest.raises(ValueError, match="holds unsafe content"):
        load_state(tmp_path)


def test_a_write_that_fails_leaves_the_state_before_and_no_rest(tmp_path):
    save_state(tmp_path, make_state(1), 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_state(tmp_path, make_state(2) | {"large": torch.zeros(10_000)}, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert load_state(tmp_path).state["step"] == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_another_environment_is_told_in_one_line(tmp_path):
    threads = torch.get_num_threads()
    save_state(tmp_path, make_state(1), 1)
    torch.set_num_threads(threads + 1)
    try:
        (notice,) = load_state(tmp_path).notices
    finally:
        torch.set_num_threads(threads)
    assert notice.endswith(f"not equal bit for bit to a run without a break: threads {threads} -> {threads + 1}")
    assert describe_environment()["torch"] == torch.__version__


def test_a_folder_is_held_by_one_process_which_is_named(tmp_path):
    folder = tmp_path / "state"
    with lock_folder(folder):
        holder = re.escape(f"{folder} (process {os.getpid()} on {socket.gethostname()})")
        with pytest.raises(Timeout, match=holder), lock_folder(folder):
            pass
    with lock_folder(folder):
        pass


def test_taking_a_folder_clears_what_a_kill_left(tmp_path):
    (tmp_path / ".partial-state-00000003-abc.pt").write_bytes(b"half")
    with lock_folder(tmp_path):
        assert not list(tmp_path.glob(".partial-*"))


@pytest.fixture
def files(tmp_path):
    for name in ("index.csv", "mask.npy", "code"):
        (tmp_path / name).write_text("one")
    return tmp_path


def key_of(files, model="unet"):
    params = ModelParams(name=model, inputs="auto")
    return training_key(dependencies_of(files, params))


def dependencies_of(files, params):
    return describe_dependencies(
        {"model": params}, [files / "index.csv", files / "mask.npy"], (files / "code").read_text()
    )


def test_a_key_stays_while_nothing_changes(files):
    assert key_of(files) == key_of(files)
    assert len(key_of(files)) == 16


@pytest.mark.parametrize("name", ["index.csv", "code"])
def test_a_key_changes_with_tables_and_code(files, name):
    before = key_of(files)
    (files / name).write_text("two")
    assert key_of(files) != before


def test_a_key_changes_with_params_and_the_size_of_arrays(files):
    before = key_of(files)
    assert key_of(files, model="dsunet") != before
    (files / "mask.npy").write_text("three")
    assert key_of(files) != before


def test_a_training_that_was_left_says_what_it_does_not_go_on_with(files):
    states = files / "train"
    assert explain_restart(states, {}) == []
    left, here = (dependencies_of(files, ModelParams(name=name, inputs="auto")) for name in ("unet", "dsunet"))
    for number, dependencies in enumerate((here | {"data": "x"}, left)):
        folder = states / str(number)
        with lock_folder(folder):
            write_dependencies(folder, dependencies)
            save_state(folder, {"step": 1}, 1)
        os.utime(folder, (number, number))
    (line,) = explain_restart(states, here)
    assert line == f"not going on from the training left in {states / '1'}: model.name unet there, dsunet here"
    os.utime(states / "0", (9, 9))
    assert explain_restart(states, here) == [f"not going on from the training left in {states / '0'}: other data"]
    for text in ("[" * 100_000, "[]", "{", "7"):
        (states / "0" / "dependencies.json").write_text(text)
        assert "model.name unet there" in explain_restart(states, here)[0]
    with lock_folder(states / "0"), lock_folder(states / "1"):  # both go on now
        assert explain_restart(states, here) == []
