"""Proves that a training state survives kills and damage, and that no training goes on from the state of another."""

import hashlib
import io
import os
import platform
import re
import resource
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import Timeout

from maskdepth.params import ModelParams
from maskdepth.training.states import (
    describe_dependencies,
    describe_environment,
    discard_states,
    explain_restart,
    list_abandoned_states,
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
    with pytest.raises(ValueError, match=r"delete .* to start training anew|holds unsafe content") as error:
        load_state(tmp_path)
    path = next(tmp_path.iterdir())
    assert str(error.value) in (
        f"{path} holds something else than a training state of this version; delete its folder to start training anew",
        f"{path} holds unsafe content and was not loaded; delete {tmp_path}",
    )


def test_a_state_is_on_the_disk_before_its_name_and_the_name_before_the_old_ones_go(tmp_path, monkeypatch):
    for step in (1, 2):
        save_state(tmp_path, make_state(step), step)
    synced, fsync = [], os.fsync

    def note(handle):
        synced.append((Path(f"/proc/self/fd/{handle}").readlink().name[:14], saved_steps(tmp_path)))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    save_state(tmp_path, make_state(3), 3)
    assert synced == [(".partial-state", [1, 2]), (tmp_path.name[:14], [1, 2, 3])]
    assert saved_steps(tmp_path) == [2, 3]


def test_what_only_looks_like_a_state_is_left_alone(tmp_path):
    others = [tmp_path / name for name in ("state-1-ab.pt", f"state-00000009-{'g' * 64}.pt", "state-00000009-a.pt")]
    for path in others:
        path.write_bytes(b"other")
    for step in (1, 2, 10**9):
        save_state(tmp_path, make_state(step), step)
    assert load_state(tmp_path).state["step"] == 10**9
    assert all(path.is_file() for path in others)
    assert len(list(tmp_path.iterdir())) == 2 + len(others)


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
    assert notice.startswith("going on in another environment, so ")


def test_an_environment_is_what_the_last_bits_depend_on():
    assert describe_environment() == {
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def test_every_change_of_the_environment_is_told(tmp_path):
    before = describe_environment() | {"torch": "1.0"}
    del before["machine"]
    write_content(tmp_path, saved_bytes({"environment": before, "step": 1}))
    (notice,) = load_state(tmp_path).notices
    assert notice.endswith(f": torch 1.0 -> {torch.__version__}, machine None -> {platform.machine()}")


def test_a_folder_is_held_by_one_process_which_is_named(tmp_path):
    folder = tmp_path / "state"
    with lock_folder(folder):
        holder = re.escape(f"{folder} (process {os.getpid()} on {socket.gethostname()})")
        with pytest.raises(Timeout, match=holder), lock_folder(folder):
            pass
    with lock_folder(folder):
        pass


def test_a_folder_that_was_just_taken_is_held_though_nobody_is_named(tmp_path):
    folder = tmp_path / "deep" / "state"
    with lock_folder(folder):
        (folder / "owner").unlink()
        holder = re.escape(f"{folder} (a process that is starting)")
        with pytest.raises(Timeout, match=holder), lock_folder(folder):
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


def test_a_key_is_that_of_the_published_rule(files):
    params = ModelParams(name="unet", inputs="auto")
    data = hashlib.sha256(b"index.csv 3" + b"one" + b"mask.npy 3").hexdigest()
    expected = {"model.name": "unet", "model.inputs": "auto", "data": data, "code": "one"}
    dependencies = dependencies_of(files, params)
    assert dependencies == expected
    text = b'{"code": "one", "data": "%s", "model.inputs": "auto", "model.name": "unet"}' % data.encode()
    assert training_key(dependencies) == hashlib.sha256(text).hexdigest()[:16]


@pytest.mark.parametrize("name", ["mask.npy", "pictures.bin"])
def test_a_key_takes_files_as_large_as_the_data_by_their_size(tmp_path, name):
    path = tmp_path / name
    keys = []
    for content in ("one", "two", "three"):
        path.write_text(content)
        keys.append(describe_dependencies({}, [path], "")["data"])
    assert keys[0] == keys[1] != keys[2]


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


def leave(folder, dependencies, left):
    """Leave a training with 3 MB of states at a time [s]."""
    with lock_folder(folder):
        write_dependencies(folder, dependencies)
        save_state(folder, {"zeros": torch.zeros(750_000)}, 1)
    for path in (*folder.glob("state-*"), folder):
        os.utime(path, (left, left))


def test_all_that_differs_from_a_training_that_was_left_is_told(files):
    states = files / "train"
    left = {"train.epochs": "8", "model.name": "unet", "old": "1", "data": "a", "code": "a"}
    leave(states / "left", left, 1)
    here = {"train.epochs": "9", "model.name": "unet", "new": "2", "data": "b", "code": "b"}
    assert explain_restart(states, here) == [
        f"not going on from the training left in {states / 'left'}: "
        "train.epochs 8 there, 9 here; new None there, 2 here; other data; other code; old 1 there, None here"
    ]
    (states / "left" / "dependencies.json").unlink()
    assert explain_restart(states, here) == []


def test_dependencies_are_noted_one_a_line_for_people_to_compare(tmp_path):
    write_dependencies(tmp_path, {"b": "1", "a": "2"})
    assert (tmp_path / "dependencies.json").read_text() == '{\n  "b": "1",\n  "a": "2"\n}\n'


def test_trainings_that_were_left_are_listed_oldest_first_with_time_and_size(files):
    states = files / "train"
    minute = time.mktime((2026, 3, 4, 5, 6, 0, 0, 0, -1))
    leave(states / "a", {}, minute + 60)
    leave(states / "b", {}, minute)
    (states / "empty").mkdir()
    (states / "file").touch()
    assert list_abandoned_states(states) == [
        f"{states / name} is a training left at 2026-03-04 05:0{number} (3 MB): the same settings go on from it; "
        "if they are not wanted any more, delete it"
        for name, number in (("b", 6), ("a", 7))
    ]
    with lock_folder(states / "a"):
        assert [line.partition(" ")[0] for line in list_abandoned_states(states)] == [str(states / "b")]


def test_a_complete_training_leaves_nothing(tmp_path):
    folder = tmp_path / "one"
    leave(folder, {}, 1)
    (folder / "train.jsonl").touch()
    with lock_folder(folder):
        discard_states(folder)
    assert list(tmp_path.iterdir()) == []
