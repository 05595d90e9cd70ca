"""Timing on a shared machine: all cases in every round, ratios within a round, medians, and how far they spread.

Other work on the machine comes and goes within seconds, so two numbers compare only if they were taken side by side.
A round runs every case once (A B C, A B C, ...), a ratio is formed within a round, and what is told is the median of
the rounds' ratios with the smallest and the largest. Nothing here fails for being slow.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROUNDS = 5

# Whose versions go with every result.
_LIBRARIES = ("torch", "numpy", "pandas", "pyarrow", "pillow", "kornia", "mlflow", "dvc")


@dataclass(frozen=True)
class Case:
    """One way to do a job.

    Attributes:
        run: Does the job, or a part of it.
        units: How many of the job's units that is; ways that do more or less of it compare by the unit.
        before: What comes before each run and is not timed.
    """

    run: Callable[[], object]
    units: float = 1
    before: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Ratio:
    """One finding: a number per round, and what is hoped of it.

    Attributes:
        name: What is compared with what.
        median: Of the rounds.
        low: The smallest.
        high: The largest.
        rounds: How many.
        goal: Such as ">= 10"; "" where the number only stands beside another.
    """

    name: str
    median: float
    low: float
    high: float
    rounds: int
    goal: str


@dataclass(frozen=True)
class Options:
    """What the command line says, and how busy the machine was before (load over 1, 5 and 15 minutes)."""

    quick: bool
    scale: bool
    load: tuple[float, ...]


Times = dict[str, list[float]]  # seconds per unit in each round, by case


def parse_options(description: str, *, has_scale: bool = False) -> Options:
    """Read the command line: `--quick`, and `--scale` where the benchmark has it."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run of seconds; its numbers mean nothing")
    if has_scale:
        parser.add_argument("--scale", action="store_true", help="400,000 rows, and how time grows with them")
    found = parser.parse_args()
    return Options(found.quick, has_scale and found.scale, os.getloadavg())


def measure(cases: Mapping[str, Case], *, quick: bool, rounds: int = ROUNDS) -> Times:
    """Time all cases in interleaved rounds, after one that does not count; a smoke run has a single round.

    Returns:
        Seconds per unit of each round, by case.
    """
    times: Times = {name: [] for name in cases}
    for number in range(1, 2) if quick else range(1 + rounds):
        for name, case in cases.items():
            case.before()
            began = time.perf_counter()
            case.run()
            seconds = time.perf_counter() - began
            if number:
                times[name].append(seconds / case.units)
    return times


def speedup(times: Times, slow: str, fast: str, goal: str = "") -> Ratio:
    """Say how many times as fast `fast` is; round by round."""
    return summarise(f"{fast} over {slow}", [a / b for a, b in zip(times[slow], times[fast], strict=True)], goal)


def cost(times: Times, case: str, limit: str, goal: str = "") -> Ratio:
    """Say how many times the time of `limit` it takes: 1 is as fast as can be."""
    return summarise(f"time of {case} / {limit}", [a / b for a, b in zip(times[case], times[limit], strict=True)], goal)


def summarise(name: str, values: Sequence[float], goal: str = "") -> Ratio:
    """Make a finding of one value per round.

    >>> summarise("example", [2.0, 9.0, 3.0], ">= 2").median
    3.0
    """
    return Ratio(name, statistics.median(values), min(values), max(values), len(values), goal)


def is_reached(ratio: Ratio) -> bool:
    """Tell whether the median keeps the goal, which is `>=` or `<=` and a number.

    >>> is_reached(Ratio("example", 3.0, 2.0, 9.0, 3, ">= 2")), is_reached(Ratio("example", 3.0, 2.0, 9.0, 3, "<= 2"))
    (True, False)
    """
    sign, number = ratio.goal.split()
    return ratio.median >= float(number) if sign == ">=" else ratio.median <= float(number)


def report(
    benchmark: str, data: str, options: Options, times: Times, ratios: Sequence[Ratio], facts: Mapping[str, object]
) -> None:
    """Print two tables, the machine, and as the last line all of it in JSON.

    Args:
        benchmark: Its name.
        data: What was measured on: drawn or repeated, how many, which size.
        options: Of this run.
        times: Seconds per unit.
        ratios: The findings.
        facts: What is no ratio of times: counts, sizes, equalities.
    """
    machine = describe_machine(options)
    print(f"{benchmark}: {data}" + ("; a smoke run, its numbers mean nothing" if options.quick else ""))
    print(f"{machine['processor']}, {machine['cores']} cores, {machine['time']}")
    print(f"load {machine['load_before']} before, {machine['load']} after")
    print(f"\n{'seconds per unit':<84}{'median':>12}{'min':>12}{'max':>12}")
    for name, values in times.items():
        print(f"{name:<84}{statistics.median(values):>12.4g}{min(values):>12.4g}{max(values):>12.4g}")
    print(f"\n{'ratio':<84}{'median':>12}{'min':>12}{'max':>12}  goal")
    for ratio in ratios:
        verdict = f"{ratio.goal}, {'reached' if is_reached(ratio) else 'not reached'}" if ratio.goal else ""
        print(f"{ratio.name:<84}{ratio.median:>12.4g}{ratio.low:>12.4g}{ratio.high:>12.4g}  {verdict}")
    for name, value in facts.items():
        print(f"{name}: {value}")
    everything = {
        "benchmark": benchmark,
        "quick": options.quick,
        "data": data,
        "ratios": [asdict(ratio) for ratio in ratios],
        "seconds": times,
        "facts": dict(facts),
        "machine": machine,
    }
    print(json.dumps(everything))


def describe_machine(options: Options) -> dict[str, object]:
    """Say where and when, with which versions, and how busy the machine was before and is now, with our own work."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "versions": {name: _version(name) for name in _LIBRARIES},
        "commit": _commit(),
        "load_before": [round(value, 1) for value in options.load],
        "load": [round(value, 1) for value in os.getloadavg()],
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _processor() -> str:
    """Name the processor and how old its instructions are, as some machines hide the model."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return platform.processor()
    lines = (line.partition(":") for line in path.read_text().splitlines())
    facts = {key.strip(): value.strip() for key, _, value in lines}
    has_bf16 = "avx512_bf16" in facts.get("flags", "").split()
    place = f"family {facts.get('cpu family')} model {facts.get('model')}"
    return f"{facts.get('model name', 'unknown')} ({place}{', avx512_bf16' if has_bf16 else ''})"


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "none"


def _commit() -> str:
    """Name the commit, with a + if files differ from it; where there is no git, nobody knows."""
    if not shutil.which("git"):
        return "unknown"
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
