"""DVC experiments, several at a time: started, watched, tried again where DVC stumbled, and looked for at the end.

Each is a `dvc exp run --temp` of its own. DVC's queue loses experiments when several workers read one message, and its
stash gives one experiment twice when two commands take from it at once; so they are started one after the other, each
as soon as the one before has its workspace, and run side by side from there.
"""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from maskdepth.process.alone import ConflictError
from maskdepth.process.git import ask_git
from maskdepth.process.signals import StopSignals
from maskdepth.process.workspace import state_dir
from maskdepth.sweeping.grid import Experiment

# Where DVC writes which experiments it has given a workspace.
_STARTED = Path(".dvc/tmp/exps/run")
# [s] between two looks at what runs.
_LOOK_SECONDS = 0.1
# How often an experiment is tried that fails without one of our stages having failed.
_TRIES = 3
_OUR_FAILURE = re.compile(r"failed to reproduce '\w+'")
_PATIENCE = 60.0  # [s] for what was asked to stop to save its state


@dataclass(frozen=True)
class Outcome:
    """How an experiment ended.

    Attributes:
        experiment: Which.
        seconds: How long it took [s].
        failure: The last line that says why it failed, "" where it did not.
    """

    experiment: Experiment
    seconds: float
    failure: str


@dataclass
class _Running:
    """An experiment that was started.

    Attributes:
        experiment: Which.
        place: Its part of `places`.
        process: Of DVC.
        log: What it writes.
        began: When [s].
        tries: How often it was started.
        before: What DVC had given a workspace by then.
    """

    experiment: Experiment
    place: Mapping[str, str]
    process: "subprocess.Popen[bytes]"
    log: Path
    began: float
    tries: int
    before: frozenset[Path]


@contextmanager
def only_sweep() -> Iterator[IO[str]]:
    """Keep a second sweep out of this repository, also while experiments of a killed one go on.

    Yields:
        The open lock, which every experiment inherits: it is held until the last of them has ended.

    Raises:
        ConflictError: A sweep, or an experiment of one, runs here.
    """
    path = logs_dir() / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(_name_running(path)) from None
        file.truncate(0)
        yield file


def _name_running(path: Path) -> str:
    """Say who holds the lock, and how to end it: DVC itself leaves Ctrl-C to its stage, so that a group is asked."""
    groups = [f"-{line}" for line in path.read_text(encoding="ascii").split() if _is_alive(int(line))]
    ending = f", or end its runs with `kill -INT -- {' '.join(groups)}`: trainings save their states" if groups else ""
    return f"a sweep runs in this repository, or runs of one that was killed go on; wait for them to end{ending}"


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)  # sends nothing
    except ProcessLookupError:
        return False
    return True


def logs_dir() -> Path:
    """Give the folder in which each experiment of a sweep has what it wrote."""
    return state_dir() / "sweep"


def finished_experiments(root: Path) -> dict[str, str]:
    """List the experiments that started from the commit here, with their own commits, by name."""
    head = ask_git("rev-parse", "HEAD", folder=root)
    folder = f"refs/exps/{head[:2]}/{head[2:]}/"
    listed = ask_git("for-each-ref", "--format=%(refname) %(objectname)", folder, folder=root).splitlines()
    return dict(line.removeprefix(folder).rsplit(" ", 1) for line in listed)


def run_experiments(
    experiments: Sequence[Experiment],
    root: Path,
    places: Sequence[Mapping[str, str]],
    lock: IO[str],
    stop: StopSignals,
) -> Iterator[Outcome]:
    """Run experiments, and tell of each that ends; a note of `stop` ends all of them, with their states saved.

    Args:
        experiments: What to run, in this order.
        root: The repository.
        places: For each of those that run at a time, its environment where this process has no such variable.
        lock: As `only_sweep` gives it.
        stop: Looked at between two steps.
    """
    waiting = deque((experiment, 1) for experiment in experiments)
    running: list[_Running] = []
    free = list(places)
    try:
        while (waiting or running) and not stop.received:
            if waiting and free and all(_has_workspace(each, root) for each in running[-1:]):
                running.append(_start(*waiting.popleft(), root, free.pop(0), lock))
            for each in [each for each in running if each.process.poll() is not None]:
                running.remove(each)
                free.append(each.place)
                failure = _find_failure(each, root)
                if failure and each.tries < _TRIES and not _OUR_FAILURE.search(_read(each.log)):
                    waiting.appendleft((each.experiment, each.tries + 1))
                    continue
                yield Outcome(each.experiment, time.monotonic() - each.began, failure)
            time.sleep(_LOOK_SECONDS)
    finally:
        _end(running)


def _start(experiment: Experiment, tries: int, root: Path, place: Mapping[str, str], lock: IO[str]) -> _Running:
    log = logs_dir() / f"{experiment.name}.log"
    settings = [part for key, value in experiment.settings.items() for part in ("--set-param", _spell(key, value))]
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "exp", "run", "--temp", "--name", experiment.name]
    before = _workspaces(root)
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, *settings],
            cwd=root,
            env={**place, **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            pass_fds=(lock.fileno(),),
            start_new_session=True,  # Ctrl-C comes to this process alone, which asks each of them once
        )
    print(process.pid, file=lock, flush=True)
    return _Running(experiment, place, process, log, time.monotonic(), tries, before)


def _spell(key: str, value: Any) -> str:
    """Write a setting as DVC reads it; in quotes a sum of losses is one text."""
    if isinstance(value, str):
        return f"{key}='{value}'"
    return f"{key}={json.dumps(value)}"


def _has_workspace(each: _Running, root: Path) -> bool:
    """Tell whether an experiment has left DVC's stash, so that the next command cannot take it from there."""
    if each.process.poll() is not None:
        return True
    return any(_name(path) == each.experiment.name for path in _workspaces(root) - each.before)


def _workspaces(root: Path) -> frozenset[Path]:
    return frozenset((root / _STARTED).glob("*/*.run"))


def _name(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("name"))
    except (OSError, ValueError, AttributeError):  # it is just being written
        return ""


def _find_failure(each: _Running, root: Path) -> str:
    """Say why there is no experiment, "" when there is one: DVC may also end well without."""
    if each.experiment.name in finished_experiments(root):
        return ""
    lines = [line.strip() for line in _read(each.log).splitlines() if line.strip()]
    said = (
        [line for line in lines if line.startswith("error: ")] or [line for line in lines if "ERROR: " in line] or lines
    )
    return said[-1] if said else f"dvc ended with exit code {each.process.returncode} and without a word"


def _read(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def _end(running: Sequence[_Running]) -> None:
    """Ask all that runs to stop, wait until states are saved, and end what does not."""
    for each in running:
        _signal(each, signal.SIGINT)
    until = time.monotonic() + _PATIENCE
    for each in running:
        try:
            each.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            _signal(each, signal.SIGKILL)
            each.process.wait()


def _signal(each: _Running, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(each.process.pid, number)
