"""What a tracking store that is slow, gone or hanging costs a training, from its start to the end of its stage.

The same short training each time, as the stage does it: a mirror process is started, epochs are written to the journal,
and at the end the store may be waited for. The stores are SQLite, which is the default, and servers: one that refuses
connections, one that accepts them and never answers, and a real one behind a delay of a second. One thread.
"""

import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import torch
from bench_tracking import draw_metrics, enter_repository
from support.drawn import ARRAY_SIZE, build, list_rows, make_arrays, scratch
from support.shipped import SHIPPED_PARAMS
from support.timing import Case, cost, measure, parse_options, report, summarise

from maskdepth.data.batches.batches import Batches
from maskdepth.device import has_bf16
from maskdepth.losses.catalogue import build_criterion
from maskdepth.params import Params, load_params
from maskdepth.tracking.journal import FINISHED, Journal
from maskdepth.tracking.live import MirrorProcess, start_mirror
from maskdepth.training.fit import Step, TrainState, fit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from faults.doors import Door, tracking_server

_EPOCHS, _EPOCH_STEPS = 10, 4
_QUICK_EPOCHS = 2
_SAMPLES = 64
_WAIT_SHARE = 0.02  # of the training, as in its stage
_SLOW_ANSWER = 1.0  # [s]
_GOAL = "<= 1.05"

_SQLITE = "SQLite"
_OUTAGES = _GONE, _HANGING, _SLOW = "server gone", "server hangs", "server takes a second to answer"


class Training:
    """Trains on and on; one call is one training, tracked in the store that MLFLOW_TRACKING_URI names."""

    def __init__(self, folder: Path, params: Params, epochs: int) -> None:
        self.folder, self.params, self.epochs = folder, params, epochs
        self.updates = start_training(params)
        self.numbers = count()
        self.mirror: MirrorProcess | None = None
        self.shares: dict[str, list[float]] = {}

    def prepare(self, address: str) -> None:
        """Choose the store, and let nothing of the training before go on."""
        if self.mirror:
            self.mirror.process.kill()
            self.mirror.process.wait()
            self.mirror = None
        self.address = os.environ["MLFLOW_TRACKING_URI"] = address

    def run(self) -> None:
        began = time.monotonic()
        journal = Journal(self.folder / f"train-{next(self.numbers)}.jsonl")
        journal.start("train")
        self.mirror = start_mirror(journal.path, self.params)
        tracking = time.monotonic() - began
        for epoch in range(self.epochs):
            for _ in range(_EPOCH_STEPS):
                next(self.updates)
            done = time.monotonic()
            journal.metrics(draw_metrics(epoch), epoch)
            tracking += time.monotonic() - done
        done = time.monotonic()
        journal.end(FINISHED)
        self.mirror.finish(_WAIT_SHARE * (done - began))
        ended = time.monotonic()
        self.shares.setdefault(self.address, []).append((tracking + ended - done) / (ended - began))


def main() -> None:
    options = parse_options(__doc__)
    torch.set_num_threads(1)
    params = load_params(SHIPPED_PARAMS)
    with scratch() as folder:
        enter_repository(folder)
        with tracking_server(folder) as port:
            doors = {_GONE: Door(port), _HANGING: Door(port), _SLOW: Door(port, _SLOW_ANSWER)}
            doors[_HANGING].hold()
            doors[_SLOW].open()
            addresses = {_SQLITE: f"sqlite:///{folder}/mlflow.db"}
            addresses |= {name: f"http://127.0.0.1:{door.port}" for name, door in doors.items()}
            training = Training(folder, params, _QUICK_EPOCHS if options.quick else _EPOCHS)
            cases = {
                name: Case(training.run, before=partial(training.prepare, address))
                for name, address in addresses.items()
            }
            times = measure(cases, quick=options.quick)
            training.prepare("")
    ratios = [cost(times, name, _SQLITE, _GOAL) for name in _OUTAGES]
    # Of a busy machine the times above tell little; this is told within one training.
    ratios += [
        summarise(
            f"share of a training in calls for tracking, {name}",
            training.shares[address][-len(times[name]) :],
            "<= 0.05",
        )
        for name, address in addresses.items()
    ]
    facts = {"epochs": training.epochs, "metrics per epoch": len(draw_metrics(0)), "wait at the end": _WAIT_SHARE}
    data = f"dsunet, {ARRAY_SIZE} px, {_EPOCH_STEPS} steps an epoch; units are trainings"
    report("outage", data, options, times, ratios, facts)


def start_training(params: Params) -> Iterator[Step]:
    device = torch.device("cpu")
    precision = params.train.precision if has_bf16(device) else "fp32"
    settings = params.train.model_copy(update={"epochs": 1_000_000, "schedule": "constant", "precision": precision})
    arrays = make_arrays(_SAMPLES, _SAMPLES, ARRAY_SIZE)
    rows = list_rows(arrays)
    batches, few = (Batches(arrays, part, settings.batch_size, device) for part in (rows, rows.head(2)))
    state = TrainState(build("dsunet", "background+composite+difference"), settings, len(batches))
    events = fit(state, batches, few, build_criterion(params.loss), settings)
    return (event for event in events if isinstance(event, Step))


if __name__ == "__main__":
    main()
