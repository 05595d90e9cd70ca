"""What a stage costs before it does anything, and what `dvc repro` costs when there is nothing to do.

The data stages must not load the libraries that only training needs. The pipeline's outputs are stand-ins of the right
names, told to DVC as done: looking at them is all that a `dvc repro` without work does.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from support.drawn import scratch
from support.shipped import write_shipped
from support.timing import Case, cost, measure, parse_options, report, speedup

_ROOT = Path(__file__).resolve().parent.parent
_DATA_STAGES = ("unzip", "index", "stats", "split")
_HEAVY = ("torch", "torchvision", "kornia", "mlflow")
_EMPTY_STAGES = 7  # as many as ours
_ARCHIVES = 4
# A process that starts is disturbed more than one that works.
_ROUNDS = 9
_SHARD_FILES = ("background.npy", "composite.npy", "mask.npy", "depth.npy", "members.parquet", "shard.json")

_PASS, _NOTEBOOK, _TRAIN = (
    "python -c pass",
    "import of torch, torchvision, kornia, mlflow, pandas",
    "import of stage train",
)
_OURS, EMPTY = "dvc repro of our pipeline, nothing to do", "dvc repro of seven empty stages, nothing to do"


def main() -> None:
    options = parse_options(__doc__)
    with scratch() as folder:
        pipeline, empty = make_pipeline(folder / "pipeline"), make_empty(folder / "empty")
        cases = {
            _PASS: Case(partial(python, "pass")),
            **{name_import(stage): Case(partial(python, f"import stages.{stage}")) for stage in _DATA_STAGES},
            _TRAIN: Case(partial(python, "import stages.train")),
            _NOTEBOOK: Case(partial(python, f"import {', '.join(_HEAVY)}, pandas")),
            EMPTY: Case(partial(repro, empty)),
            _OURS: Case(partial(repro, pipeline)),
        }
        times = measure(cases, quick=options.quick, rounds=_ROUNDS)
    ratios = [cost(times, name_import(stage), _PASS) for stage in _DATA_STAGES]
    ratios += [speedup(times, _NOTEBOOK, name_import(stage)) for stage in _DATA_STAGES]
    ratios += [cost(times, _NOTEBOOK, _PASS), cost(times, _TRAIN, _PASS), cost(times, _OURS, EMPTY, "<= 1.3")]
    facts = {f"of {', '.join(_HEAVY)}, stage {stage} loads": list_heavy(stage) or "none" for stage in _DATA_STAGES}
    data = f"fresh processes; a pipeline with stand-ins for the outputs, {_ARCHIVES} shards"
    report("startup", data, options, times, ratios, facts)


def name_import(stage: str) -> str:
    return f"import of stage {stage}"


def python(statement: str) -> str:
    return run(_ROOT, [sys.executable, "-c", statement])


def list_heavy(stage: str) -> list[str]:
    """List the heavy libraries that a stage has loaded when it starts to work."""
    printed = python(f"import stages.{stage}, sys; print(*[name for name in {_HEAVY} if name in sys.modules])")
    return printed.split()


def repro(folder: Path) -> None:
    printed = run(folder, [sys.executable, "-m", "dvc", "repro"])
    assert "up to date" in printed, printed


def run(folder: Path, command: Sequence[str]) -> str:
    """Run a command without anything of ours in its surroundings; give what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_", "MASKDEPTH_"))}
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make_empty(folder: Path) -> Path:
    """Make a pipeline of stages that do nothing, each after the one before, and run it."""
    start_repository(folder)
    stages: dict[str, Any] = {}
    for number in range(1, _EMPTY_STAGES + 1):
        before = {"deps": [f"{number - 1}.txt"]} if number > 1 else {}
        stages[f"stage{number}"] = {"cmd": f"echo {number} > {number}.txt", **before, "outs": [f"{number}.txt"]}
    with (folder / "dvc.yaml").open("w") as file:
        YAML(typ="safe").dump({"stages": stages}, file)
    run(folder, [sys.executable, "-m", "dvc", "repro", "--quiet"])
    return folder


def make_pipeline(folder: Path) -> Path:
    """Make a copy of our pipeline, in which DVC takes stand-ins for the outputs of a run."""
    start_repository(folder)
    write_shipped(folder)
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(_ROOT / name, folder)
    for name in ("stages", "src"):
        shutil.copytree(_ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for number in range(_ARCHIVES):
        write(folder / "data" / "raw" / f"batch{number}.zip")
    stages = YAML(typ="safe").load((folder / "dvc.yaml").read_text())["stages"]
    for stage in stages.values():
        for entry in stage.get("outs", []) + stage.get("metrics", []):
            make_output(folder, entry if isinstance(entry, str) else next(iter(entry)))
    run(folder, [sys.executable, "-m", "dvc", "add", "--quiet", "data/raw"])
    run(folder, [sys.executable, "-m", "dvc", "commit", "--quiet", "--force"])
    return folder


def make_output(folder: Path, name: str) -> None:
    if name == "data/arrays":
        for number in range(_ARCHIVES):
            for file in _SHARD_FILES:
                write(folder / name / f"batch{number}" / file)
    elif Path(name).suffix:
        write(folder / name)
    else:
        write(folder / name / "file")


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}\n")


def start_repository(folder: Path) -> None:
    folder.mkdir()
    run(folder, ["git", "init", "--quiet"])
    run(folder, [sys.executable, "-m", "dvc", "init", "--quiet"])
    run(folder, [sys.executable, "-m", "dvc", "config", "core.analytics", "false"])


if __name__ == "__main__":
    main()
