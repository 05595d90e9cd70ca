"""Experiments that must all arrive, many at a time: a sweep's own way, and plain DVC's queue, on trivial stages.

Each experiment writes a metric and its row for the store, and nothing else; rows are sent when all is over, as they are
after a store was away. Counted are the experiments that have the number that was asked of them, and the rows in the
store. The queue is given up when it has added nothing for two minutes.
"""

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.drawn import scratch
from support.timing import Times, parse_options, report, speedup, summarise
from support.trivial import make_repository

from maskdepth.process.files import parse_json
from maskdepth.process.git import ask_git
from maskdepth.process.signals import StopSignals
from maskdepth.sweeping.experiments import finished_experiments, only_sweep, run_experiments
from maskdepth.sweeping.grid import Experiment
from maskdepth.sweeping.sharing import sharing
from maskdepth.tracking.repair import sync

# How many experiments, and how many at a time: those of two reports on DVC's queue, the first of them ten times over.
_ROUNDS = ((30, 6),) * 10 + ((100, 20),)
_QUICK_ROUNDS = ((4, 2),)
_PATIENCE = 120.0  # [s]
_STAGE = """
import json
from pathlib import Path

from maskdepth.tracking.journal import open_journal
from maskdepth.tracking.runs import put_data_row

a = int(Path("params.yaml").read_text().split("a: ")[1])
with open_journal(Path("split.jsonl"), "split") as journal:
    journal.params({"data": {"a": a}})
    journal.metrics({"a": a})
put_data_row(Path("split.jsonl"), "split")
Path("m.json").write_text(json.dumps({"a": a}))
"""
# What is no part of the repository: the store, and a journal that is on its way to it.
_IGNORED = "/mlflow.db*\n/mlartifacts\n/split.jsonl\n"


@dataclass(frozen=True)
class Arrived:
    """What was there at the end.

    Attributes:
        experiments: With the setting that they were asked for.
        rows: In the store, of different experiments.
        seconds: From the first command to the end [s].
    """

    experiments: int
    rows: int
    seconds: float


def main() -> None:
    options = parse_options(__doc__)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # DVC starts `python`
    ways: dict[str, Callable[[Path, Sequence[Experiment], int], None]] = {"sweep": sweep, "DVC's queue": queue}
    arrived: dict[str, list[Arrived]] = {name: [] for name in ways}
    rounds = _QUICK_ROUNDS if options.quick else _ROUNDS
    for number, jobs in rounds:
        for name, way in ways.items():
            arrived[name].append(count_arrivals(way, number, jobs))
            print(f"{name}: {number} with {jobs} at a time: {arrived[name][-1]}", file=sys.stderr, flush=True)
    asked = sum(number for number, _ in rounds)
    times: Times = {
        name: [each.seconds / number for each, (number, _) in zip(found, rounds, strict=True)]
        for name, found in arrived.items()
    }
    ratios = [speedup(times, "DVC's queue", "sweep")]
    facts = {}
    for name, found in arrived.items():
        goal = ">= 1" if name == "sweep" else ""
        for what in ("experiments", "rows"):
            there = [getattr(each, what) for each in found]
            shares = [count / number for count, (number, _) in zip(there, rounds, strict=True)]
            ratios.append(summarise(f"{what} that arrive, {name}", shares, goal))
            facts[f"{name}: {what}"] = f"{sum(there)} of {asked} {there}"
    data = f"{len(rounds)} rounds of (experiments, at a time) {sorted(set(rounds))}; units are experiments"
    report("queue", data, options, times, ratios, facts)


def count_arrivals(way: Callable[[Path, Sequence[Experiment], int], None], number: int, jobs: int) -> Arrived:
    """Run experiments in a repository of their own, and count what is there when all is over."""
    with scratch() as folder:
        make_repository(folder, _STAGE, _IGNORED)
        os.chdir(folder)
        experiments = [Experiment(f"e-{value}", "", 0, {"a": value}) for value in range(100, 100 + number)]
        began = time.monotonic()
        way(folder, experiments, jobs)
        seconds = time.monotonic() - began
        for line in sync(_PATIENCE, folder / "metrics" / "mlflow.json"):
            if "waits" in line:
                print(line, file=sys.stderr)
        there = finished_experiments(folder)
        right = [
            each
            for each in experiments
            if each.name in there
            and parse_json(ask_git("show", f"{there[each.name]}:m.json", folder=folder)) == dict(each.settings)
        ]
        with sqlite3.connect(folder / "mlflow.db") as store:
            rows = store.execute(
                "select count(distinct value) from params join runs using (run_uuid) "
                "where key = 'data.a' and status = 'FINISHED'"
            ).fetchone()[0]
        return Arrived(len(right), rows, seconds)


def sweep(folder: Path, experiments: Sequence[Experiment], jobs: int) -> None:
    """Run them as `maskdepth sweep` does."""
    with only_sweep() as lock, StopSignals() as stop, sharing(jobs) as places:
        for outcome in run_experiments(experiments, folder, places, lock, stop):
            if outcome.failure:
                print(f"{outcome.experiment.name}: {outcome.failure}", file=sys.stderr)


def queue(folder: Path, experiments: Sequence[Experiment], jobs: int) -> None:
    """Run them as DVC's own commands do, and wait until all are there or none is added any more."""
    for each in experiments:
        dvc("exp", "run", "--queue", "--name", each.name, "--set-param", f"a={each.settings['a']}")
    dvc("queue", "start", "--jobs", str(jobs))
    there, since = 0, time.monotonic()
    while there < len(experiments) and time.monotonic() - since < _PATIENCE:
        time.sleep(1)
        if len(finished_experiments(folder)) > there:
            there, since = len(finished_experiments(folder)), time.monotonic()
    with contextlib.suppress(subprocess.CalledProcessError):  # it may be gone by itself
        dvc("queue", "stop", "--kill")


def dvc(*words: str) -> None:
    """Run a command of DVC's. The workers that one starts keep its output open: a pipe would never end."""
    program = [sys.executable, "-m", "dvc", *words]
    subprocess.run(program, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
