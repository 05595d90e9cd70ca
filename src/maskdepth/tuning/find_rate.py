"""The learning-rate range test on the prepared data: arrays and tables in, a table and a picture of the curve out."""

from pathlib import Path

import numpy as np
import torch

from maskdepth.data.arrays.arrays import read_arrays
from maskdepth.data.batches.batches import Batches
from maskdepth.data.samples import TRAIN, read_samples
from maskdepth.data.tables import write_table
from maskdepth.device import choose_device, seed_everything, set_threads
from maskdepth.figures import draw_learning_rates
from maskdepth.losses.catalogue import build_criterion
from maskdepth.models.catalogue import resolve_inputs
from maskdepth.models.network import Network
from maskdepth.params import Params
from maskdepth.process.console import progress
from maskdepth.process.memory import keep_freed_memory
from maskdepth.process.workspace import require_writable
from maskdepth.training.preparation import fit_precision, prepare_network, wants_background_depth
from maskdepth.tuning.rate_test import Suggestion, suggest_learning_rate, sweep_learning_rates, tabulate_trials

TABLE, PICTURE = "learning_rate.csv", "learning_rate.png"


def find_learning_rate(params: Params, data: Path, out: Path, first: float, last: float, steps: int) -> Suggestion:
    """Sweep the learning rate for the network, loss and training of `params`, and write what came of it.

    Args:
        params: What to train; its learning rate and schedule do not matter.
        data: Folder of arrays, registered, index.csv, split.csv and stats.csv; only training samples are used.
        out: Folder for `TABLE` and `PICTURE`; no model is kept.
        first: Lowest rate.
        last: Highest rate.
        steps: Updates from the one to the other; samples are used again where there are too few.

    Raises:
        FileNotFoundError: The data are not prepared.
        ValueError: Settings that do not fit each other, an empty range, a folder that cannot be written, or a loss that
            does not fall.
    """
    if not 0 < first < last:
        raise ValueError(f"the rates go from {first:g} to {last:g}; give a first one above 0 and a higher last one")
    require_writable([out])
    criterion, device = build_criterion(params.loss), choose_device()
    set_threads()
    keep_freed_memory()
    seed_everything(params.train.seed)
    settings = fit_precision(params.train, device)
    network, batches = _prepare(params, data, steps, device)
    trials = sweep_learning_rates(network, batches, criterion, settings, first, last)
    table = tabulate_trials(progress(trials, "learning rate", steps))
    write_table(out / TABLE, table)
    suggestion = suggest_learning_rate(table)
    draw_learning_rates(table, suggestion.steepest, out / PICTURE)
    return suggestion


def _prepare(params: Params, data: Path, steps: int, device: torch.device) -> tuple[Network, Batches]:
    """Build the network as the training does, and `steps` batches of training samples."""
    pictures = read_arrays(data / "arrays", data / "registered")
    rows = read_samples(data / "index.csv", data / "split.csv")
    inputs = resolve_inputs(params.model)
    with_depth = wants_background_depth(inputs, rows[TRAIN])
    network = prepare_network(params.model.name, inputs, pictures, rows, data / "stats.csv")
    wanted = np.arange(steps * params.train.batch_size) % len(rows[TRAIN])
    batches = Batches(
        pictures, rows[TRAIN].iloc[wanted], params.train.batch_size, device, with_background_depth=with_depth
    )
    return network.to(device), batches
