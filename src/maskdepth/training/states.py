"""Training states from which to go on exactly, each named by what it depends on.

Nothing here is ever unpickled into code, and nothing is trusted because it can be read: torch loads a flipped bit as a
wrong weight without a word, so a state's name carries the SHA-256 of what it holds.
"""

import hashlib
import io
import json
import os
import pickle
import platform
import re
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock, Timeout
from pydantic import BaseModel

from maskdepth.params import flatten
from maskdepth.process.alone import ConflictError
from maskdepth.process.files import PARTIAL, parse_json, replace_text, replacing

# What a training depends on, by name.
Dependencies = dict[str, str]

# A state file's name says how far it is and carries the SHA-256 of its content: one rename commits both.
_STATE_NAME = re.compile(r"state-(\d{8,})-([0-9a-f]{64})\.pt")

# What a training depends on, beside its states.
_DEPENDENCIES_FILE = "dependencies.json"

# Of files that are as large as the data set.
_ARRAY_SUFFIXES = (".npy", ".bin")

# The newest and, should that one turn out damaged, the one before.
_KEPT_STATES = 2


class ResumedState(NamedTuple):
    """A training state as it was saved, and what the user should know about going on from it."""

    state: dict[str, Any]
    notices: list[str]


def save_state(folder: Path, state: dict[str, Any], progress: int) -> None:
    """Write a training state so that a kill at any instant leaves this one or the one before; keep the newest two.

    Args:
        folder: Where the states of this training lie; must exist and be locked by the caller (`lock_folder`).
        state: Tensors and plain Python values, nested.
        progress: How far the training is; a later state has a higher number.
    """
    buffer = io.BytesIO()
    torch.save(state | {"environment": describe_environment()}, buffer)
    content = buffer.getvalue()  # which copies nothing
    path = folder / f"state-{progress:08d}-{hashlib.sha256(content).hexdigest()}.pt"
    with replacing(path, durable=True) as partial:
        partial.write_bytes(content)
    for old in _list_states(folder)[_KEPT_STATES:]:
        old.unlink()


def load_state(folder: Path) -> ResumedState | None:
    """Read the newest undamaged training state of a folder; None where none was saved yet.

    Raises:
        ConflictError: Every state there is damaged, or one is something else; training anew in silence would hide it.
        ValueError: A state holds more than tensors and plain values.
    """
    notices = []
    states = _list_states(folder)
    for path in states:
        match = _STATE_NAME.fullmatch(path.name)
        assert match
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != match[2]:
            notices.append(f"{path.name[:14]} is damaged (SHA-256 differs); going on from the one before")
            continue
        try:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(f"{path} holds unsafe content and was not loaded; delete {folder}") from error
        except (RuntimeError, EOFError, LookupError, TypeError, AttributeError) as error:
            raise not_a_state(path) from error
        if not isinstance(state, dict) or not isinstance(state.get("environment"), dict):
            raise not_a_state(path)
        return ResumedState(state, notices + _compare_environments(state.pop("environment")))
    if states:
        raise ConflictError(
            f"every saved training state in {folder} is damaged; delete that folder to start training anew"
        )
    return None


def not_a_state(path: Path) -> ConflictError:
    """Say of a state, or of a folder of states, that its digest is right and its content is not ours."""
    return ConflictError(
        f"{path} holds something else than a training state of this version; delete its folder to start training anew"
    )


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold a training's folder alone, making it first; the lock ends with the process, however that ends.

    Raises:
        Timeout: Another process holds it; says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / "owner"
    lock = FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        holder = owner.read_text(encoding="utf-8") if owner.is_file() else "a process that is starting"
        raise Timeout(f"{folder} ({holder})") from None
    try:
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        for left in folder.glob(f"{PARTIAL}*"):
            left.unlink()
        yield
    finally:
        lock.release()


def discard_states(folder: Path) -> None:
    """Delete the folder of a training that is complete; to be called while it is locked.

    The states go first: a kill in between may leave a journal without states, which is no loss, as training anew writes
    the same again; states without their journal would lack its records.
    """
    for path in _list_states(folder):
        path.unlink()
    shutil.rmtree(folder)


def list_abandoned_states(states_dir: Path) -> list[str]:
    """Name the folders of trainings that were left before their end and are not going on now.

    Args:
        states_dir: The folder in which each training has its own, named by its key.

    Returns:
        One line for each, oldest first, with the cure. Which of them the present params.yaml would go on from is not
        told: that depends on the data too.
    """
    lines = []
    for folder in _list_abandoned(states_dir):
        states = _list_states(folder)
        saved = time.strftime("%Y-%m-%d %H:%M", time.localtime(states[0].stat().st_mtime))
        megabytes = sum(path.stat().st_size for path in states) / 1e6
        lines.append(
            f"{folder} is a training left at {saved} ({megabytes:.0f} MB): the same settings go on from it; "
            "if they are not wanted any more, delete it"
        )
    return lines


def _list_abandoned(states_dir: Path) -> list[Path]:
    """List the folders with states that no process holds, oldest first."""
    folders = sorted(states_dir.glob("*/"), key=lambda folder: folder.stat().st_mtime)
    return [folder for folder in folders if _list_states(folder) and not _is_locked(folder)]


def _is_locked(folder: Path) -> bool:
    try:
        with FileLock(folder / "lock", timeout=0):
            return False
    except Timeout:
        return True


def describe_dependencies(sections: Mapping[str, BaseModel], data: Iterable[Path], code: str) -> Dependencies:
    """Say everything that the weights of a training depend on.

    Args:
        sections: The sections of params.yaml that matter, by name.
        data: Files that it reads. Arrays count by name and size: the small files beside them tell their content.
        code: Digest of the code that it runs.

    Returns:
        Settings by dotted key, a SHA-256 of `data`, and `code`.
    """
    settings = flatten({name: section.model_dump() for name, section in sections.items()})
    return settings | {"data": _digest_files(data), "code": code}


def training_key(dependencies: Dependencies) -> str:
    """Name a training by its dependencies, 16 hexadecimal digits: none goes on from the state of another."""
    return hashlib.sha256(json.dumps(dependencies, sort_keys=True).encode()).hexdigest()[:16]


def write_dependencies(folder: Path, dependencies: Dependencies) -> None:
    """Note beside its states what a training depends on."""
    replace_text(folder / _DEPENDENCIES_FILE, json.dumps(dependencies, indent=2) + "\n")


def explain_restart(states_dir: Path, wanted: Dependencies) -> list[str]:
    """Say why a training does not go on from one that was left.

    Args:
        states_dir: The folder in which each training has its own, named by its dependencies.
        wanted: Of the training that starts.

    Returns:
        One line for the last that was left before its end, with what differs; none if there is no such.
    """
    for folder in reversed(_list_abandoned(states_dir)):
        left = _read_dependencies(folder / _DEPENDENCIES_FILE)
        if left is None:
            continue
        return [f"not going on from the training left in {folder}: {tell_differences(wanted, left)}"]
    return []


def tell_differences(here: Dependencies, there: Dependencies) -> str:
    """Say in what two trainings differ, "" where they are the same.

    >>> tell_differences({"data": "1f", "train.seed": "0"}, {"data": "2e", "train.seed": "1"})
    'other data; train.seed 1 there, 0 here'
    """
    return "; ".join(
        f"other {name}" if name in ("data", "code") else f"{name} {there.get(name)} there, {here.get(name)} here"
        for name in here | there
        if here.get(name) != there.get(name)
    )


def _read_dependencies(path: Path) -> Dependencies | None:
    """Read what `write_dependencies` wrote; None where it is missing or is something else."""
    try:
        left = parse_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return left if isinstance(left, dict) else None


def describe_environment() -> dict[str, str]:
    """Say what the last bits of a training depend on besides its settings."""
    return {
        "torch": str(torch.__version__),
        "threads": str(torch.get_num_threads()),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def _compare_environments(before: dict[str, str]) -> list[str]:
    now = describe_environment()
    changes = [f"{name} {before.get(name)} -> {value}" for name, value in now.items() if before.get(name) != value]
    if not changes:
        return []
    return [f"going on in another environment, so not equal bit for bit to a run without a break: {', '.join(changes)}"]


def _list_states(folder: Path) -> list[Path]:
    """List the committed states, newest first."""
    return sorted((path for path in folder.glob("state-*.pt") if _STATE_NAME.fullmatch(path.name)), reverse=True)


def _digest_files(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name} {path.stat().st_size}".encode())
        if path.suffix not in _ARRAY_SUFFIXES:
            digest.update(path.read_bytes())
    return digest.hexdigest()
