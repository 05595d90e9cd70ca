"""One training of one system: whose settings, which rows, what is measured afterwards; and the time of its steps."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from students.table import BASELINE, OURS, SPLITS, TRUTH
from support.shipped import SHIPPED_PARAMS, write_shipped
from support.timing import Case, Times, measure

from maskdepth.data.arrays.arrays import Arrays, read_arrays
from maskdepth.data.batches.batches import Batches
from maskdepth.data.samples import IDS, TEST, TRAIN, VAL, read_index
from maskdepth.data.split import assign_splits
from maskdepth.data.stats import read_stats, subset_moments
from maskdepth.device import has_bf16, seed_everything
from maskdepth.evaluation.baseline import guess_masks, mean_depths
from maskdepth.evaluation.samples import Predicted, evaluate_samples, predictions
from maskdepth.losses.catalogue import build_criterion
from maskdepth.models.catalogue import resolve_inputs
from maskdepth.models.network import Network
from maskdepth.models.prediction import Prediction
from maskdepth.params import Params, load_params, update_params
from maskdepth.training.fit import Epoch, Pause, Step, TrainState, fit
from maskdepth.training.preparation import build_normalised
from maskdepth.tuning.recipes import read_recipes

# Cheap ones first, so that a call that is cut short has most of the table.
SYSTEMS = (
    OURS,
    "sudhakarmlal-convgen",
    "sumankanukollu",
    "sajnanshetty",
    "mshilpaa",
    "deepjyotisaha85",
    "sudhakarmlal",
)
LAYOUT = "sudhakarmlal"

_ROOT = Path(__file__).resolve().parents[2]
# Shares held out; as much for the test as most of the students had.
_HELD_OUT = {"split.val": 0.1, "split.test": 0.3, "split.seed": 0}
_ROWS_SEED = 0  # of the choice of rows
_BATCH_SIZE = 64  # of the evaluation
_THRESHOLD = 0.5
_TIMED_SAMPLES = 64  # of a round, of every system; at least one step
_TIMED_ROUNDS = 7
_NO_LEARNING = 1e-9
_CERTAIN = 20.0  # a score whose probability is 1 within float32

Record = dict[str, object]
Answer = Callable[[Batches], Iterator[Predicted]]


@dataclass(frozen=True)
class Budget:
    """What all systems share.

    Attributes:
        size: Side of the pictures [px].
        samples: Training samples.
        epochs: Passes over them.
        val: Samples that choose the best epoch.
        test: Test samples, and as many training samples that are measured beside them.
    """

    size: int
    samples: int
    epochs: int
    val: int
    test: int


@dataclass(frozen=True)
class Data:
    """The prepared photographs: all pictures, all samples, and their moments."""

    arrays: Arrays
    index: pd.DataFrame
    stats: pd.DataFrame


def prepare(folder: Path, raw: Path, size: int) -> None:
    """Run the stages unzip, index and stats; the first takes up again what it decoded before."""
    folder.mkdir(parents=True, exist_ok=True)
    write_shipped(folder)
    update_params(folder / "params.yaml", {"data.layout": LAYOUT, "data.image_size": size})
    arrays, index, places = {"arrays": "arrays"}, {"index": "index.csv"}, {"places": "places.csv"}
    registered = {"registered": "registered"}
    stages = {
        "unzip": {"raw": str(raw.resolve())} | arrays,
        "index": arrays | registered | index | {"rejected": "rejected.csv"},
        "stats": arrays
        | registered
        | index
        | places
        | {"moments": "stats.csv", "summary": "stats.json", "gallery": "gallery.png"},
    }
    for stage, paths in stages.items():
        command = [sys.executable, "-m", f"stages.{stage}", "--journal", f"{stage}.jsonl"]
        command += [part for name, path in paths.items() for part in (f"--{name}", path)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(_ROOT), str(_ROOT / "src")])}
        # What a stage says goes where the progress goes: the output of a benchmark ends with its result.
        subprocess.run(command, cwd=folder, env=environment, stdout=sys.stderr, check=True)


def read_prepared(folder: Path) -> Data:
    """Read what `prepare` made."""
    index = read_index(folder / "index.csv")
    index["place"] = index["background_digest"]
    return Data(read_arrays(folder / "arrays", folder / "registered"), index, read_stats(folder / "stats.csv"))


def digest_prepared(folder: Path) -> str:
    """Say which photographs `prepare` found."""
    if not (folder / "index.csv").is_file():
        sys.exit(f"{folder} has no index.csv; run without --table, which makes it")
    return hashlib.sha256((folder / "index.csv").read_bytes()).hexdigest()[:12]


def settings_of(system: str, split: str, seed: int, budget: Budget, device: torch.device) -> Params:
    """Give the settings of a system: its own, but for what all share."""
    sections = load_params(SHIPPED_PARAMS).model_dump()
    shared = {"data.image_size": budget.size, "split.by": split, **_HELD_OUT}
    precision = "bf16" if has_bf16(device) else "fp32"
    shared |= {"train.epochs": budget.epochs, "train.precision": precision, "train.seed": seed}
    own = read_recipes()[system].settings if system in read_recipes() else {}
    for name, value in {**own, **shared}.items():
        section, _, key = name.partition(".")
        sections[section][key] = value
    return Params.model_validate(sections)


def name_run(system: str, settings: Params, shared: Record) -> str:
    """Name a training by all that decides it but the code."""
    text = json.dumps([settings.model_dump(), shared], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{system.replace(' ', '_')}_{settings.split.by}_{settings.train.seed}_{digest}"


def choose_rows(data: Data, settings: Params, budget: Budget) -> dict[str, pd.DataFrame]:
    """Choose the rows to train on, to validate and to test: the same for all systems and seeds."""
    splits = assign_splits(data.index, settings.split).to_numpy()
    counts = {TRAIN: budget.samples, VAL: budget.val, TEST: budget.test}
    return {name: _choose(data.index[splits == name], count) for name, count in counts.items()}


def _choose(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    return rows.sample(min(count, len(rows)), random_state=_ROWS_SEED).sort_index().reset_index(drop=True)


def train_one(data: Data, settings: Params, budget: Budget, device: torch.device) -> tuple[Record, pd.DataFrame]:
    """Train a network and measure it.

    Returns:
        What is to be known of the training; and one row per measured sample: `part` (train or test), ids, metrics. A
        training that ran into a loss that is not finite has an `error` and no samples.
    """
    rows = choose_rows(data, settings, budget)
    seed_everything(settings.train.seed)
    state, train = start(data, rows[TRAIN], settings, device)
    val = Batches(data.arrays, rows[VAL], settings.train.batch_size, device)
    began = time.perf_counter()
    try:
        events = list(fit(state, train, val, build_criterion(settings.loss), settings.train))
    except FloatingPointError as error:
        return {"error": str(error)}, pd.DataFrame()
    epochs = [event for event in events if isinstance(event, Epoch)]
    if settings.train.keep == "best" and state.best:
        state.network.load_state_dict(state.best_weights)
    seconds = time.perf_counter() - began
    samples = measure_parts(partial(answer, state.network.eval()), data, rows, budget, device)
    record: Record = {
        "steps": len(train) * budget.epochs,
        "batch_size": settings.train.batch_size,
        "precision": settings.train.precision,
        "rows": {name: len(part) for name, part in rows.items()},
        "best_epoch": state.best.index + 1 if state.best else len(epochs),
        "seconds": round(seconds, 1),
        "losses": [[round(value, 4) for value in (epoch.train["loss"], epoch.val["loss"])] for epoch in epochs],
        "val_mask_iou": [round(epoch.val["mask_iou"], 4) for epoch in epochs],
        "val_depth_ssim": [round(epoch.val["depth_ssim"], 4) for epoch in epochs],
    }
    return record, samples


def start(data: Data, rows: pd.DataFrame, settings: Params, device: torch.device) -> tuple[TrainState, Batches]:
    """Build network, optimiser and batches as the stage train does."""
    moments = subset_moments(data.stats, data.index, data.arrays, rows)
    inputs = resolve_inputs(settings.model)
    network = build_normalised(settings.model.name, inputs, moments, settings.data.image_size)
    train = Batches(data.arrays, rows, settings.train.batch_size, device)
    return TrainState(network.to(device), settings.train, len(train)), train


def measure_parts(
    predict_all: Answer, data: Data, rows: dict[str, pd.DataFrame], budget: Budget, device: torch.device
) -> pd.DataFrame:
    """Measure the test samples, and as many of the training samples.

    Args:
        predict_all: Predicts every batch.
        data: The photographs.
        rows: Those to validate, to test, and that were trained on.
        budget: How many of them.
        device: Where to compute.
    """
    parts = []
    for name in (TEST, TRAIN):
        part = _choose(rows[name], budget.test)
        batches = Batches(data.arrays, part, _BATCH_SIZE, device)
        measured = evaluate_samples(predict_all(batches), _THRESHOLD)
        parts.append(pd.concat([part[["sample_id", *IDS]].assign(part=name), measured], axis=1))
    return pd.concat(parts, ignore_index=True)


def measure_baseline(data: Data, settings: Params, budget: Budget, device: torch.device) -> pd.DataFrame:
    """Measure what has learned nothing: the thresholded difference, and the mean of the training depths."""
    rows = choose_rows(data, settings, budget)
    train = Batches(data.arrays, rows[TRAIN], _BATCH_SIZE, device)
    mean_map = mean_depths(train.in_order(), [""] * len(rows[TRAIN]), ()).overall
    return measure_parts(partial(answer_unlearned, mean_map), data, rows, budget, device)


def answer(network: Network, batches: Batches) -> Iterator[Predicted]:
    """Predict what a network says."""
    return predictions(network, batches.in_order())


def answer_unlearned(mean_map: torch.Tensor, batches: Batches) -> Iterator[Predicted]:
    """Predict what differs, and one depth map for all."""
    for guessed in guess_masks(batches.in_order()):
        depth = mean_map.to(guessed.depth.device).expand_as(guessed.depth)
        yield guessed._replace(prediction=Prediction(guessed.prediction.mask_logits, depth))


def answer_truly(batches: Batches) -> Iterator[Predicted]:
    """Predict the true maps."""
    for batch in batches.in_order():
        mask, depth = batch.targets()
        yield Predicted(Prediction(_CERTAIN * (2 * mask - 1), depth), mask, depth)


def measure_truth(data: Data, settings: Params, budget: Budget, device: torch.device) -> pd.DataFrame:
    """Measure the true maps: what a rule gives them is the most that anything can have of it."""
    return measure_parts(answer_truly, data, choose_rows(data, settings, budget), budget, device)


# What is measured beside the systems, and needs no training.
REFERENCES = {BASELINE: measure_baseline, TRUTH: measure_truth}


def time_steps(data: Data, budget: Budget, device: torch.device, *, quick: bool) -> Times:
    """Time training steps of all systems in interleaved rounds: seconds per sample."""
    cases = {}
    for system in SYSTEMS:
        settings = settings_of(system, SPLITS[0], 0, budget, device)
        # Rounds go on where the last ended, over as many epochs as it takes; what is learned does not matter.
        endless = settings.train.model_copy(
            update={"epochs": 1_000_000, "schedule": "constant", "learning_rate": _NO_LEARNING}
        )
        settings = settings.model_copy(update={"train": endless})
        rows = choose_rows(data, settings, budget)
        state, train = start(data, rows[TRAIN], settings, device)
        val = Batches(data.arrays, rows[VAL].head(2), settings.train.batch_size, device)
        events = fit(state, train, val, build_criterion(settings.loss), settings.train)
        steps = 1 if quick else max(1, _TIMED_SAMPLES // settings.train.batch_size)
        cases[system] = Case(partial(_step, events, steps, device), steps * min(endless.batch_size, len(rows[TRAIN])))
    return measure(cases, quick=quick, rounds=_TIMED_ROUNDS)


def _step(events: Iterator[Step | Pause | Epoch], steps: int, device: torch.device) -> None:
    for _ in range(steps):
        while not isinstance(next(events), Step):
            pass
    if device.type == "cuda":
        torch.cuda.synchronize(device)
