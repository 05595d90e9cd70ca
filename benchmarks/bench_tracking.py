"""What tracking costs an epoch: training writes a journal, and another process mirrors it into MLflow.

Beside it, what one would write: MLflow called at each step, or once an epoch. The epoch is that of the shipped sample,
by some of its steps and without its validation: the shares told here are too large rather than too small. One thread.
"""

import os
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from support.drawn import ARRAY_SIZE, build, list_rows, make_arrays, scratch
from support.shipped import SHIPPED_PARAMS
from support.timing import Case, cost, measure, parse_options, report, speedup, summarise

from maskdepth.data.batches.batches import Batches
from maskdepth.device import has_bf16
from maskdepth.losses.catalogue import build_criterion
from maskdepth.params import Params, load_params
from maskdepth.tracking.address import locate_store
from maskdepth.tracking.journal import FINISHED, Journal
from maskdepth.tracking.live import start_mirror
from maskdepth.tracking.mirror import mirror_row
from maskdepth.tracking.outbox import put_live_row
from maskdepth.tracking.runs import live_row
from maskdepth.tracking.store import Connection, connect
from maskdepth.training.fit import Step, TrainState, fit

if TYPE_CHECKING:
    from mlflow.entities import Metric

_EPOCH_STEPS = 106  # of the shipped sample: some 1,700 training samples in batches of 16
_STEPS, _QUICK_STEPS = 10, 1
_STEP_METRICS, _EPOCH_METRICS = 4, 24
_MIRROR_SECONDS = 60.0
_TRAINING_SECONDS = 5.0  # in which the mirror has started
_FINISH_SECONDS = 20.0  # more than it takes

_EPOCH = "training epoch of the shipped sample"
_EACH_STEP, _ONCE = "MLflow log_metric, 4 at each step", "MLflow log_batch, once an epoch"
_JOURNAL, _MIRROR = "journal, once an epoch: what training waits for", "one pass of the mirror"
_START, _FINISH = "start of the mirror, once a training", "wait for the mirror at the end, once a training"


def main() -> None:
    options = parse_options(__doc__)
    torch.set_num_threads(1)
    params = load_params(SHIPPED_PARAMS)
    with scratch() as folder:
        enter_repository(folder)
        cases = {_EPOCH: epoch_case(params, _QUICK_STEPS if options.quick else _STEPS)}
        cases |= list_mlflow_cases(connect(locate_store())) | list_own_cases(folder, params)
        times = measure(cases, quick=options.quick)
    waits = zip(times[_START], times[_FINISH], times[_JOURNAL], times[_EPOCH], strict=True)
    epochs = params.train.epochs
    shares = [(start + finish + epochs * journal) / (epochs * epoch) for start, finish, journal, epoch in waits]
    ratios = [
        summarise(f"share of a training of {epochs} epochs that waits for tracking", shares, "<= 0.01"),
        cost(times, _JOURNAL, _EPOCH),
        cost(times, _MIRROR, _EPOCH),
        cost(times, _EACH_STEP, _EPOCH),
        speedup(times, _EACH_STEP, _JOURNAL),
        speedup(times, _EACH_STEP, _MIRROR),
        speedup(times, _ONCE, _JOURNAL),
    ]
    facts = {"metrics per epoch": _EPOCH_METRICS, "training simulated before the finish [s]": _TRAINING_SECONDS}
    data = f"SQLite store on the disk; dsunet, {ARRAY_SIZE} px, {_EPOCH_STEPS} steps an epoch; units are epochs"
    report("tracking", data, options, times, ratios, facts)


def enter_repository(folder: Path) -> None:
    """Make the folder a repository with a store of its own, whatever store is set outside."""
    for name in [name for name in os.environ if name.startswith(("DVC_", "MLFLOW_"))]:
        del os.environ[name]
    (folder / ".dvc").mkdir()
    os.environ["DVC_ROOT"] = str(folder)


def epoch_case(params: Params, steps: int) -> Case:
    device = torch.device("cpu")
    precision = params.train.precision if has_bf16(device) else "fp32"
    settings = params.train.model_copy(update={"epochs": 1_000_000, "schedule": "constant", "precision": precision})
    samples = settings.batch_size * _EPOCH_STEPS
    arrays = make_arrays(samples, samples, ARRAY_SIZE)
    rows = list_rows(arrays)
    batches, few = (Batches(arrays, part, settings.batch_size, device) for part in (rows, rows.head(2)))
    state = TrainState(build("dsunet", "background+composite+difference"), settings, len(batches))
    events = fit(state, batches, few, build_criterion(params.loss), settings)
    return Case(partial(take, (event for event in events if isinstance(event, Step)), steps), steps / _EPOCH_STEPS)


def take(updates: Iterator[Step], steps: int) -> None:
    for _ in range(steps):
        next(updates)


def list_mlflow_cases(connection: Connection) -> dict[str, Case]:
    client = connection.client
    experiment = next(iter(connection.experiments.values()))
    runs = [client.create_run(experiment).info.run_id for _ in range(2)]
    steps, epochs = count(), count()

    def log_each_step() -> None:
        for _ in range(_EPOCH_STEPS):
            step = next(steps)
            for number in range(_STEP_METRICS):
                client.log_metric(runs[0], f"metric_{number}", 0.5, step=step)

    return {
        _EACH_STEP: Case(log_each_step),
        _ONCE: Case(lambda: client.log_batch(runs[1], list_metrics(next(epochs)))),
    }


def list_metrics(epoch: int) -> "list[Metric]":
    from mlflow.entities import Metric

    return [Metric(name, value, 1_000 * epoch, epoch) for name, value in draw_metrics(epoch).items()]


def draw_metrics(epoch: int) -> dict[str, float]:
    return {f"val/metric_{number}": 1 / (epoch + number + 1) for number in range(_EPOCH_METRICS)}


def list_own_cases(folder: Path, params: Params) -> dict[str, Case]:
    journal, epochs = Journal(folder / "train.jsonl"), count()
    row_folder = put_live_row(live_row(journal.start("train"), params), journal.path)

    def write() -> None:
        epoch = next(epochs)
        journal.metrics(draw_metrics(epoch), epoch)

    def mirror() -> None:
        sent = mirror_row(row_folder, _MIRROR_SECONDS)
        assert sent.run_id, sent.reason

    return {_JOURNAL: Case(write), _MIRROR: Case(mirror)} | list_process_cases(folder, params)


def list_process_cases(folder: Path, params: Params) -> dict[str, Case]:
    """Start a mirror as a training does, let it get going, and wait for it as a training does."""
    numbers, trainings = count(), []

    def start() -> None:
        journal = Journal(folder / f"train-{next(numbers)}.jsonl")
        journal.start("train")
        journal.metrics(draw_metrics(0))
        trainings.append((journal, start_mirror(journal.path, params)))

    def finish() -> None:
        journal, mirror = trainings.pop()
        journal.end(FINISHED)
        told = mirror.finish(_FINISH_SECONDS)
        assert told == "tracking: all sent", told

    return {_START: Case(start), _FINISH: Case(finish, before=partial(time.sleep, _TRAINING_SECONDS))}


if __name__ == "__main__":
    main()
