"""Training and measuring as the stages do it, in this process and without a word."""

from functools import partial
from pathlib import Path

import pandas as pd
import torch

from maskdepth.data.arrays.arrays import Arrays
from maskdepth.data.batches.batches import Batches
from maskdepth.data.samples import TEST, TRAIN, VAL
from maskdepth.device import seed_everything
from maskdepth.evaluation.samples import choose_threshold, evaluate_samples, predictions
from maskdepth.losses.catalogue import build_criterion
from maskdepth.models.catalogue import resolve_inputs
from maskdepth.models.network import Network
from maskdepth.params import Params
from maskdepth.training.fit import TrainState, fit
from maskdepth.training.preparation import fit_precision, prepare_network

_CPU = torch.device("cpu")


def train(
    params: Params, pictures: Arrays, rows: dict[str, pd.DataFrame], stats: Path, device: torch.device = _CPU
) -> Network:
    """Give the network that the stage would give, without its validation: few samples stand for it."""
    seed_everything(params.train.seed)
    network = prepare_network(params.model.name, resolve_inputs(params.model), pictures, rows, stats)
    return train_network(params, network.to(device), pictures, rows)


def train_network(params: Params, network: Network, pictures: Arrays, rows: dict[str, pd.DataFrame]) -> Network:
    """Train a network where it is, likewise, and give it back."""
    device = next(network.parameters()).device
    settings = fit_precision(params.train, device)
    read = partial(Batches, pictures, device=device, with_background_depth=network.sees_background_depth)
    few = rows[VAL].head(settings.batch_size)
    batches, val = (read(part, settings.batch_size) for part in (rows[TRAIN], few))
    state = TrainState(network, settings, len(batches))
    for _ in fit(state, batches, val, build_criterion(params.loss), settings):
        pass
    return network.eval()


def measure(
    params: Params, network: Network, pictures: Arrays, rows: dict[str, pd.DataFrame], metrics: tuple[str, ...]
) -> dict[str, pd.DataFrame]:
    """Give the metrics of the validation and the test samples; the mask's threshold is tuned on the former."""
    device = next(network.parameters()).device
    read = partial(Batches, pictures, batch_size=params.evaluate.batch_size, device=device)
    val, test = (read(rows[name]) for name in (VAL, TEST))
    threshold = choose_threshold(predictions(network, val.in_order()))
    return {
        name: evaluate_samples(predictions(network, batches.in_order()), threshold, metrics)
        for name, batches in ((VAL, val), (TEST, test))
    }
