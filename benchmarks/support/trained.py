"""Training as the stage does it, in this process and without a word."""

from functools import partial
from pathlib import Path

import pandas as pd
import torch

from maskdepth.data.arrays.arrays import Arrays
from maskdepth.data.batches.batches import Batches
from maskdepth.data.samples import TRAIN, VAL
from maskdepth.device import seed_everything
from maskdepth.losses.catalogue import build_criterion
from maskdepth.models.network import Network
from maskdepth.params import Params
from maskdepth.training.fit import TrainState, fit
from maskdepth.training.preparation import fit_precision, prepare_network

_CPU = torch.device("cpu")


def train(params: Params, inputs: str, pictures: Arrays, rows: dict[str, pd.DataFrame], stats: Path) -> Network:
    """Give the network that the stage would give, without its validation: few samples stand for it."""
    seed_everything(params.train.seed)
    return train_network(params, prepare_network(params.model.name, inputs, pictures, rows, stats), pictures, rows)


def train_network(params: Params, network: Network, pictures: Arrays, rows: dict[str, pd.DataFrame]) -> Network:
    """Train a network, likewise, and give it back."""
    settings = fit_precision(params.train, _CPU)
    read = partial(Batches, pictures, device=_CPU, with_background_depth=network.sees_background_depth)
    few = rows[VAL].head(settings.batch_size)
    batches, val = (read(part, settings.batch_size) for part in (rows[TRAIN], few))
    state = TrainState(network, settings, len(batches))
    for _ in fit(state, batches, val, build_criterion(params.loss), settings):
        pass
    return network.eval()
