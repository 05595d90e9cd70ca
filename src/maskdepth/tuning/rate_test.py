"""The learning-rate range test: one short run at ever higher rates shows at which of them training learns best.

Smith 2017, Cyclical learning rates for training neural networks, section 3.3, https://arxiv.org/abs/1506.01186. There
the rate grows linearly; here, as has become usual, exponentially, so that every order of magnitude gets as many steps.
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.optim.lr_scheduler import LambdaLR

from maskdepth.data.batches.batches import Batches
from maskdepth.losses.catalogue import Criterion
from maskdepth.models.network import Network
from maskdepth.params import TrainParams
from maskdepth.training.fit import TrainState, fit

# A run is over when its smoothed loss is so many times the lowest before.
_DIVERGED = 3.0
# Weight of all earlier losses in the running mean that decides when to stop.
_MEMORY = 0.9
# Standard deviation of the bell that smooths a finished curve, as a share of its steps. A running mean, which knows one
# side only, would move the curve towards higher rates.
_BELL = 0.05
# A suggestion needs a curve of at least this many steps.
MIN_STEPS = 10

_CURE = "try other ends of the range, or more steps"


class Trial(NamedTuple):
    """One update: the rate at which it was made, and the loss of its batch before it."""

    learning_rate: float
    loss: float


class Suggestion(NamedTuple):
    """The rate at which the smoothed loss falls fastest per order of magnitude, and that at which it is lowest."""

    steepest: float
    lowest: float


def sweep_learning_rates(
    network: Network, batches: Batches, criterion: Criterion, params: TrainParams, first: float, last: float
) -> Iterator[Trial]:
    """Train on every batch once, at rates that grow by the same factor each time, changing `network`.

    All but the rate and its schedule is as in training: optimiser, clipping, precision, augmentation.

    Args:
        network: Fresh, on the device where it is trained.
        batches: As many as there shall be rates, two or more.
        criterion: As `fit` takes it.
        params: Section train of params.yaml.
        first: Rate of the first update.
        last: Rate of the last one.

    Yields:
        A trial per update, up to where the loss diverges.
    """
    settings = params.model_copy(update={"learning_rate": first, "schedule": "constant", "epochs": 1})
    growth = (last / first) ** (1 / (len(batches) - 1))
    state = TrainState(network, settings, len(batches))
    state.scheduler = LambdaLR(state.optimizer, lambda update: growth**update)
    updates = fit(state, batches, batches, criterion, settings)
    mean, lowest = 0.0, math.inf
    # The last update is the end: `fit` would now validate.
    for step in range(len(batches)):
        loss = _next_loss(updates, state)
        if not math.isfinite(loss):
            return
        yield Trial(first * growth**step, loss)
        mean = _MEMORY * mean + (1 - _MEMORY) * loss
        smoothed = mean / (1 - _MEMORY ** (step + 1))  # the mean began at 0
        lowest = min(lowest, smoothed)
        if smoothed > _DIVERGED * lowest:
            return


def tabulate_trials(trials: Iterable[Trial]) -> pd.DataFrame:
    """Give one row per trial: learning_rate, loss, and smoothed, the mean of the losses around it."""
    table = pd.DataFrame(trials, columns=list(Trial._fields))
    steps = np.arange(len(table))
    weights = np.exp(-(((steps[:, None] - steps) / (_BELL * len(table))) ** 2) / 2)
    return table.assign(smoothed=weights @ table["loss"].to_numpy() / weights.sum(1))


def suggest_learning_rate(trials: pd.DataFrame) -> Suggestion:
    """Choose the rate of steepest descent on the way to the lowest loss.

    Higher rates still lower the loss, but less and less surely; the lowest point itself is at the brink.

    Args:
        trials: As of `tabulate_trials`.

    Raises:
        ValueError: Too few trials, or the loss does not fall.
    """
    if len(trials) < MIN_STEPS:
        raise ValueError(f"{len(trials)} rates until the loss diverged, {MIN_STEPS} are needed; {_CURE}")
    rates, smoothed = trials["learning_rate"].to_numpy(), trials["smoothed"].to_numpy()
    lowest = int(smoothed.argmin())
    if lowest == 0:
        raise ValueError(f"the loss is lowest at the first rate, {rates[0]:.2g}, and does not fall; {_CURE}")
    slopes = np.gradient(smoothed, np.log(rates))[: lowest + 1]
    return Suggestion(float(rates[slopes.argmin()]), float(rates[lowest]))


def _next_loss(updates: Iterator[object], state: TrainState) -> float:
    """Make one update, and take its loss from the sums that it changes; infinite where it has none."""
    loss, num_samples = state.sums.get("loss", torch.zeros(())).item(), state.num_samples
    try:
        next(updates)
    except FloatingPointError:
        return math.inf
    return (state.sums["loss"].item() - loss) / (state.num_samples - num_samples)
