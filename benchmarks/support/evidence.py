"""What makes the figures of docs/claims.csv again, and what reads them where they are filed.

`QUICK` takes no time and `SLOW` up to minutes; both are given the rest of the cell. `READERS` are given the filed
result, too. All give one number for each figure of the claim.
"""

import csv
import json
import math
import operator
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sized
from functools import cache, reduce
from importlib import import_module
from pathlib import Path
from typing import Any

from support.shipped import SHIPPED_PARAMS

_ROOT = Path(__file__).resolve().parents[2]
_BENCHMARKS = _ROOT / "benchmarks"
_NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?")


def read_said(source: Path, words: str) -> list[float]:
    """Give the numbers of words that stand in a text; those in braces are there, and are not claimed.

    A claim of one processor's speed is `{64 px;} 4.7` here, and `4.7` on its page.
    """
    text = " ".join(source.read_text().split())
    bare = re.sub(r"[{}]", "", words)
    if bare not in text:
        raise ValueError(f"{source.name} does not say: {bare}")
    return [float(number.replace(",", "")) for number in _NUMBER.findall(re.sub(r"\{.*?\}", "", words))]


def read_keys(source: Path, keys: str) -> list[float]:
    """Give values of a JSON file: `score stages.train.tried`."""
    values = json.loads(source.read_text())
    return [float(reduce(operator.getitem, key.split("."), values)) for key in keys.split()]


def read_cells(source: Path, argument: str) -> list[float]:
    """Give columns of the one line of a CSV file that has what is asked for: `system=maskdepth split=both time`.

    A column may be divided: `multiply_adds_64px/1e6`.
    """
    words = shlex.split(argument)
    wanted = dict(word.split("=") for word in words if "=" in word)
    (line,) = (line for line in _read_csv(source) if wanted.items() <= line.items())
    cells = (word.partition("/") for word in words if "=" not in word)
    return [float(line[column]) / float(divisor or 1) for column, _, divisor in cells]


def read_difference(source: Path, argument: str) -> list[float]:
    """Give by how many points a combination is off the first one of a bank of runs: `bce|ssim mask_iou`."""
    combination, *columns = argument.split()
    lines = _read_csv(source)

    def mean(name: str, column: str) -> float:
        return statistics.mean(float(line[column]) for line in lines if line["combination"] == name)

    return [abs(100 * (mean(combination, column) - mean(lines[0]["combination"], column))) for column in columns]


def read_lines(source: Path, patterns: str) -> list[float]:
    """Count the lines of a text in which each of some patterns is found."""
    lines = source.read_text().splitlines()
    return [sum(re.search(pattern, line) is not None for line in lines) for pattern in shlex.split(patterns)]


def read_values(source: Path, column: str) -> list[float]:
    """Count the different values of a column of a CSV file."""
    return [len({line[column] for line in _read_csv(source)})]


def _read_csv(source: Path) -> list[dict[str, str]]:
    with source.open(newline="") as file:
        return list(csv.DictReader(file))


def find_constants(argument: str) -> list[float]:
    """Give constants of modules, or how many they hold; divided, or summed: `x.y:MAX_BYTES/2**20`, `x.y:A+x.y:B`."""
    return [sum(_find_constant(*part.partition("/")[::2]) for part in word.split("+")) for word in argument.split()]


def _find_constant(word: str, divisor: str) -> float:
    module, name = word.split(":")
    value: Any = import_module(module)
    for part in name.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    base, _, power = divisor.partition("**")
    number: float = len(value) if isinstance(value, Sized) else float(value)
    return number / math.pow(float(base or 1), float(power or 1))


def find_settings(keys: str) -> list[float]:
    """Give values of the shipped params.yaml."""
    from maskdepth.params import load_params

    sections = load_params(SHIPPED_PARAMS).model_dump()
    return [float(sections[section][name]) for section, name in (key.split(".") for key in keys.split())]


def find_defaults(argument: str) -> list[float]:
    """Give what a command takes where nothing is typed: `sample backgrounds composites`."""
    from typer.main import get_command

    from maskdepth.cli.program import app

    command, *names = argument.split()
    defaults = {option.name: option.default for option in get_command(app).commands[command].params}  # type: ignore[attr-defined]
    return [float(defaults[name]) for name in names]


def count_parameters(networks: str) -> list[float]:
    """Count the parameters of networks, with `+trained` those that training changes."""
    import torch

    from maskdepth.models.catalogue import MODELS, build_model

    found = []
    for network in networks.split():
        name, _, trained = network.partition("+")
        with torch.device("meta"):
            parameters = list(build_model(name, MODELS[name].inputs[0]).parameters())
        found.append(float(sum(one.numel() for one in parameters if one.requires_grad or not trained)))
    return found


def count_multiply_adds(networks: str) -> list[float]:
    """Count the multiply-adds of forward passes at 64 px, in millions."""
    from maskdepth.models import catalogue

    named = ((name, catalogue.MODELS[name].inputs[0]) for name in networks.split())
    return [catalogue.count_multiply_adds(name, inputs, 64) / 1e6 for name, inputs in named]


def count_files(pattern: str) -> list[float]:
    """Count files of the repository."""
    return [len(list(_ROOT.glob(pattern)))]


def read_sample_run(keys: str) -> list[float]:
    """Run the main job on the sample data in a clone, and give metrics and ends of intervals, `minutes`, `archives`."""
    found = _run_sample()
    return [found[key] for key in keys.split()]


@cache
def _run_sample() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        _ask("git", "clone", "--quiet", str(_ROOT), folder)
        environment = os.environ | {"PYTHONPATH": str(Path(folder, "src"))}
        began = time.monotonic()
        for command in ("maskdepth sample data/raw", "dvc add --quiet data/raw", "dvc repro --quiet"):
            _ask(*command.split(), cwd=folder, env=environment)
        minutes = (time.monotonic() - began) / 60
        metrics: dict[str, float] = json.loads(Path(folder, "metrics", "test.json").read_text())
        for line in _read_csv(Path(folder, "reports", "intervals.csv")):
            if line["samples"] == "test":
                metrics |= {f"{line['metric']}_{end}": float(line[end]) for end in ("low", "high")}
        return metrics | {"minutes": minutes, "archives": len(list(Path(folder, "data", "raw").glob("*.zip")))}


def run_benchmark(argument: str) -> list[float]:
    """Run a benchmark and give the medians of ratios, by beginnings of their names: `unzip "unzip, all cores over"`."""
    name, *wanted = shlex.split(argument)
    ratios = _run_benchmark(name)
    found = [[median for title, median in ratios if re.search(pattern, title)] for pattern in wanted]
    if not all(found):
        raise ValueError(f"bench_{name}.py has {[title for title, _ in ratios]}, and not all of {wanted}")
    return [statistics.geometric_mean(medians) for medians in found]


@cache
def _run_benchmark(name: str) -> list[tuple[str, float]]:
    told = json.loads(_ask(sys.executable, str(_BENCHMARKS / f"bench_{name}.py")).splitlines()[-1])
    return [(ratio["name"], ratio["median"]) for ratio in told["ratios"]]


def find_in_output(argument: str) -> list[float]:
    """Run a script and give the numbers where a pattern is found in what it prints: `benchmarks/x.py y ~ (\\d+) of`."""
    command, _, pattern = argument.partition(" ~ ")
    found = re.search(pattern, _run_script(command))
    if found is None:
        raise ValueError(f"{command}: its output has nothing like {pattern}")
    return [float(number) for number in found.groups()]


@cache
def _run_script(command: str) -> str:
    return _ask(sys.executable, *shlex.split(command))


def _ask(*command: str, cwd: str | Path = _ROOT, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


READERS: dict[str, Callable[[Path, str], list[float]]] = {
    "said": read_said,
    "keys": read_keys,
    "cells": read_cells,
    "difference": read_difference,
    "lines": read_lines,
    "values": read_values,
}
QUICK: dict[str, Callable[[str], list[float]]] = {
    "constants": find_constants,
    "settings": find_settings,
    "defaults": find_defaults,
    "parameters": count_parameters,
    "multiply_adds": count_multiply_adds,
    "files": count_files,
}
SLOW: dict[str, Callable[[str], list[float]]] = {
    "sample_run": read_sample_run,
    "benchmark": run_benchmark,
    "output": find_in_output,
}
