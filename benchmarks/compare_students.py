"""The five student projects' recipes and ours, on the same photographs, with the same budget: which is best?

Every recipe keeps its own network, loss, optimiser, learning rate, batch size, schedule and augmentation; all get the
same pictures of the same size, the same training, validation and test rows, as many samples to train on, and bf16 where
the machine has it. Each trains on the students' split, sample by sample, and on one whose test backgrounds and objects
are new. What is finished is kept in `--work`: a call that was stopped goes on, and `--table` alone writes the tables of
what is there. The photographs are those of MASKDEPTH_REAL_DATA.

Over an hour on one core as it stands; in full, on a GPU: `--size 64 --samples 2500 --epochs 15 --val 200 --test 700`,
and the same with `--size 128`.
"""

import argparse
import json
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from students.runs import (
    LAYOUT,
    REFERENCES,
    SYSTEMS,
    Budget,
    Data,
    Record,
    digest_prepared,
    name_run,
    prepare,
    read_prepared,
    settings_of,
    time_steps,
    train_one,
)
from students.table import SPLITS, write_tables
from support.drawn import scratch
from support.timing import Options, Times, describe_machine

from maskdepth.data.tables import write_table
from maskdepth.device import choose_device, set_deterministic, set_threads
from maskdepth.making.drawing.sample import write_sample
from maskdepth.process.files import replace_text

_WORK = Path(__file__).resolve().parent.parent / ".dvc" / "tmp" / "maskdepth" / "students"
_DATA_VARIABLE = "MASKDEPTH_REAL_DATA"
_PHOTOGRAPHS = "layout1_sudhakarmlal"


def main() -> None:
    options = read_options()
    load = os.getloadavg()
    with ExitStack() as stack:
        work = stack.enter_context(scratch()) if options.quick else options.work
        device = choose_device()
        set_threads()
        set_deterministic(device)
        budget = Budget(options.size, options.samples, options.epochs, options.val, options.test)
        folder = work / f"{budget.size}px"
        if not options.table:
            prepare(folder, find_photographs(work, quick=options.quick), budget.size)
        store = Store(work, budget, digest_prepared(folder))
        if options.time or not (options.table or store.times):
            store.keep_times(time_steps(read_prepared(folder), budget, device, quick=options.quick))
        if not (options.table or options.time):
            train_all(store, read_prepared(folder), budget, options.seeds, options.hours, device)
        facts = describe_machine(Options(options.quick, False, load)) | {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "torch threads": torch.get_num_threads(),
            "commits of the trainings": ", ".join(sorted({str(record.get("commit")) for record in store.records})),
        }
        out = options.out or work
        rows = write_tables(out, store.records, store.samples_of, store.times, asdict(budget), facts)
        print(json.dumps({"benchmark": "students", "quick": options.quick, "out": str(out), "table": rows}))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=32, help="side of the pictures [px]")
    parser.add_argument("--samples", type=int, default=1600, help="training samples")
    parser.add_argument("--epochs", type=int, default=5, help="passes over them, for every system")
    parser.add_argument("--val", type=int, default=96, help="samples that choose the best epoch")
    parser.add_argument("--test", type=int, default=320, help="test samples; as many of the training are measured")
    parser.add_argument(
        "--seeds", type=int, default=3, help="trainings of each system on each split; 0 for what needs none"
    )
    parser.add_argument("--hours", type=float, default=float("inf"), help="start no training after so many")
    parser.add_argument("--work", type=Path, default=_WORK, help="folder of what is kept between calls")
    parser.add_argument("--out", type=Path, help="folder of the tables and the picture; as --work if absent")
    parser.add_argument("--table", action="store_true", help="only write the tables of what is there")
    parser.add_argument("--time", action="store_true", help="only time training steps, and write the tables")
    parser.add_argument("--quick", action="store_true", help="a smoke run on drawn scenes; its numbers mean nothing")
    options = parser.parse_args()
    if options.quick:
        options.size, options.samples, options.epochs = 16, 8, 1
        options.val, options.test, options.seeds = 4, 4, 1
    return options


def find_photographs(work: Path, *, quick: bool) -> Path:
    """Find the archives; a smoke run draws its own."""
    if quick:
        write_sample(work / "raw", LAYOUT, 0, 30, 30, 300, 48)
        return work / "raw"
    folder = Path(os.environ.get(_DATA_VARIABLE, "")) / _PHOTOGRAPHS
    if _DATA_VARIABLE not in os.environ or not folder.is_dir():
        sys.exit(f"{_DATA_VARIABLE}: expected the folder that holds {_PHOTOGRAPHS}; --quick does without photographs")
    return folder


class Store:
    """What is finished: a line of JSON for each training, the table of its samples, and the times of the steps.

    Args:
        work: Folder that holds it all.
        budget: Only trainings of this budget are seen.
        digest: Only trainings on this data are seen.
    """

    def __init__(self, work: Path, budget: Budget, digest: str) -> None:
        self.folder = work
        self.shared: Record = {"budget": asdict(budget), "data": digest}
        self._runs_path, self._times_path = work / "runs.jsonl", work / f"times_{budget.size}px.json"

    @property
    def records(self) -> list[Record]:
        """The trainings of this budget on this data."""
        every = map(json.loads, self._read().splitlines())
        return [record for record in every if self.shared.items() <= record.items()]

    @property
    def times(self) -> Times:
        """Seconds per sample in each round, by system; empty if nothing was timed."""
        return dict(json.loads(self._times_path.read_text())) if self._times_path.is_file() else {}

    def has(self, name: str) -> bool:
        return any(record["name"] == name for record in self.records)

    def samples_of(self, name: str) -> pd.DataFrame:
        """Give what was measured on each sample of a training."""
        return pd.read_csv(self._samples_path(name))

    def keep(self, record: Record, samples: pd.DataFrame) -> None:
        """Keep a training; the line comes last, so that what has a line is whole."""
        write_table(self._samples_path(str(record["name"])), samples)
        replace_text(self._runs_path, self._read() + json.dumps(record | self.shared) + "\n")

    def keep_times(self, times: Times) -> None:
        replace_text(self._times_path, json.dumps(times) + "\n")

    def _read(self) -> str:
        return self._runs_path.read_text() if self._runs_path.is_file() else ""

    def _samples_path(self, name: str) -> Path:
        return self.folder / "samples" / f"{name}.csv"


def train_all(store: Store, data: Data, budget: Budget, seeds: int, hours: float, device: torch.device) -> None:
    """Measure what needs no training, and train what is missing: all with one seed before anything with the next."""
    began = time.monotonic()
    work = [*product((0,), REFERENCES, SPLITS), *product(range(seeds), SYSTEMS, SPLITS)]
    for seed, system, split in work:
        settings = settings_of(system, split, seed, budget, device)
        name = name_run(system, settings, store.shared)
        if store.has(name):
            continue
        if time.monotonic() - began > hours * 3600:
            print(f"students: the time is over; {system} by {split}, seed {seed}, was not trained", file=sys.stderr)
            return
        if system in REFERENCES:
            record: Record = {}
            samples = REFERENCES[system](data, settings, budget, device)
        else:
            record, samples = train_one(data, settings, budget, device)
        facts = describe_machine(Options(False, False, os.getloadavg()))
        origin = {fact: facts[fact] for fact in ("commit", "processor", "time")}
        store.keep({"name": name, "system": system, "split": split, "seed": seed, **origin, **record}, samples)
        print(f"{time.monotonic() - began:.0f} s: {name} {json.dumps(record)}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
