"""How soon an experiment takes its first step, in a workspace of its own and from the queue, once the data are there.

An experiment gets a workspace of its own, and links to the data: what it costs to begin must not grow with them. The
data are composed as those of `bench_scale`, and the data stages have run; the outputs of training and of what comes
after are stand-ins. A first step counts when its state is saved, which happens once for every experiment. Beside it
stands what `dvc repro` takes where there is nothing to do, as `bench_startup` measures it without data.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench_scale import FEW, SIZE, STUDENTS, World, draw_world, has_state, write_params
from bench_startup import EMPTY, make_empty, make_output, repro, run, start_repository
from ruamel.yaml import YAML
from support.drawn import scratch
from support.timing import Case, cost, measure, parse_options, report, summarise

_ROOT = Path(__file__).resolve().parent.parent
_DVC = [sys.executable, "-m", "dvc"]
_UNTRAINED = ("unzip", "index", "stats", "split")
_TRAINED = ("train", "evaluate", "report")
_STATES = Path(".dvc/tmp/maskdepth")
_USUAL, _WHOLE = 4000, 400_000
_SECONDS = 10
_PATIENCE = 300  # [s]
_LOOK = 0.02  # [s] between two looks

_REPRO, _TEMPORARY = "dvc repro, nothing to do", "dvc exp run --temp, first step"
_QUEUED = "dvc queue start, first step of a queued experiment"


def main() -> None:
    options = parse_options(__doc__, has_scale=True)
    world, size = (FEW, FEW.per_object) if options.quick else (STUDENTS, _WHOLE if options.scale else _USUAL)
    with scratch() as folder:
        draw_world(folder / "drawn", world.backgrounds, world.count_objects(size))
        workspace, empty = make_workspace(folder, world, size), make_empty(folder / "empty")
        cases = {
            EMPTY: Case(partial(repro, empty)),
            _REPRO: Case(partial(repro, workspace)),
            _TEMPORARY: Case(partial(first_step, workspace, start_temporary), before=partial(tidy_up, workspace)),
            _QUEUED: Case(partial(first_step, workspace, start_worker), before=partial(queue_alone, workspace)),
        }
        times = measure(cases, quick=options.quick)
        tidy_up(workspace)
    ratios = [cost(times, _REPRO, EMPTY, "<= 1.3")]
    ratios += [
        summarise(f"seconds, {case} - {_REPRO}", [a - b for a, b in zip(times[case], times[_REPRO], strict=True)], goal)
        for case, goal in ((_TEMPORARY, f"<= {_SECONDS}"), (_QUEUED, f"<= {_SECONDS}"))
    ]
    data = f"{size:,} composites of {SIZE} px, drawn; their arrays linked and not copied"
    report("experiments", data, options, times, ratios, {})


def make_workspace(folder: Path, world: World, size: int) -> Path:
    """Make a repository whose data stages have run on composed data, and whose other stages DVC takes for done."""
    workspace = folder / "workspace"
    start_repository(workspace)
    for name in ("dvc.yaml", ".dvcignore", ".gitignore", ".dvc/config"):
        shutil.copy(_ROOT / name, workspace / name)
    for name in ("stages", "src"):
        shutil.copytree(_ROOT / name, workspace / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    write_params(workspace, world.share)
    drawn = [word for kind in ("backgrounds", "foregrounds", "depths") for word in (f"--{kind}", f"../drawn/{kind}")]
    sizes = ["--size", str(SIZE), "--placements", str(world.placements)]
    run(workspace, [sys.executable, "-m", "maskdepth.cli", "compose", *drawn, *sizes, "--out", "data/raw"])
    run(workspace, [*_DVC, "add", "--quiet", "data/raw"])
    run(workspace, [*_DVC, "repro", "--quiet", *_UNTRAINED])
    stages = YAML(typ="safe").load((workspace / "dvc.yaml").read_text())["stages"]
    for stage in _TRAINED:
        for entry in stages[stage].get("outs", []) + stages[stage].get("metrics", []):
            make_output(workspace, entry if isinstance(entry, str) else next(iter(entry)))
    run(workspace, [*_DVC, "commit", "--quiet", "--force", *_TRAINED])
    run(workspace, ["git", "add", "--all"])
    author = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
    run(workspace, ["git", *author, "commit", "--quiet", "--message", "start"])
    return workspace


def first_step(workspace: Path, start: Callable[[Path], None]) -> None:
    """Start an experiment, and wait until the training that comes of it has saved a state."""
    start(workspace)
    until = time.monotonic() + _PATIENCE
    while not has_state(workspace):
        assert time.monotonic() < until, (workspace / "log.txt").read_text()
        time.sleep(_LOOK)


def start_temporary(workspace: Path) -> None:
    launch(workspace, ["exp", "run", "--temp", *change()])


def start_worker(workspace: Path) -> None:
    launch(workspace, ["queue", "start"])


def queue_alone(workspace: Path) -> None:
    """Queue an experiment, where nothing else runs or waits."""
    tidy_up(workspace)
    run(workspace, [*_DVC, "exp", "run", "--queue", *change()])


def launch(workspace: Path, command: list[str]) -> None:
    """Start a command of DVC and do not wait for it, nor for what it leaves behind, which holds its output open."""
    with (workspace / "log.txt").open("w") as log:
        subprocess.Popen([*_DVC, *command], cwd=workspace, stdout=log, stderr=log)


def change() -> list[str]:
    """Ask for another training than any before."""
    return ["--set-param", f"train.seed={time.time_ns() % 2**31}"]


def tidy_up(workspace: Path) -> None:
    """End what an experiment has started, and forget it."""
    while trainings := find_processes(workspace, b"stages.train"):
        for process in trainings:
            os.kill(process, signal.SIGTERM)
        time.sleep(_LOOK)
    while find_processes(workspace, b"exp"):  # ends by itself, as does a worker without work
        time.sleep(_LOOK)
    shutil.rmtree(workspace / _STATES, ignore_errors=True)


def find_processes(workspace: Path, word: bytes) -> list[int]:
    """List the processes below a folder with a word in their command."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if word in words and (folder / "cwd").resolve().is_relative_to(workspace.resolve()):
                found.append(int(folder.name))
        except OSError:  # it has ended
            continue
    return found


if __name__ == "__main__":
    main()
