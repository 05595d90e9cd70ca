"""Proves that the range test tries the rates it says, trains as training does, and suggests where the loss falls."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from support.settings import SHIPPED_PARAMS

from maskdepth.data.batches.batches import Batches
from maskdepth.data.index.joining import build_index
from maskdepth.losses.catalogue import build_criterion
from maskdepth.models.catalogue import build_network
from maskdepth.models.network import NetworkSpec, Normalisation
from maskdepth.params import LossParams, load_params
from maskdepth.tuning.rate_test import MIN_STEPS, Trial, suggest_learning_rate, sweep_learning_rates, tabulate_trials

HALF = (0.5, 0.5, 0.5)
SPEC = NetworkSpec("dsunet", "background+composite+difference", Normalisation(HALF, HALF, HALF, HALF), 32)
CRITERION = build_criterion(LossParams(mask="bce", depth="l1", mask_weight=1.0, depth_weight=1.0))
SHIPPED = load_params(SHIPPED_PARAMS)
SETTINGS = SHIPPED.train.model_copy(update={"precision": "fp32", "batch_size": 4})


@pytest.fixture(scope="module")
def batches(toy, arrays):
    samples = build_index(*toy).samples
    return Batches(arrays, pd.concat([samples] * 2, ignore_index=True), 4, torch.device("cpu"))  # 12 batches


def make_network():
    torch.manual_seed(0)
    return build_network(SPEC)


def sweep(batches, first, last, network=None, criterion=CRITERION, settings=SETTINGS):
    return list(sweep_learning_rates(network or make_network(), batches, criterion, settings, first, last))


def test_rates_grow_by_one_factor_from_the_first_to_the_last(batches):
    rates = [trial.learning_rate for trial in sweep(batches, 1e-6, 1e-3)]
    assert len(rates) == len(batches) == 12
    assert (rates[0], rates[-1]) == pytest.approx((1e-6, 1e-3))
    assert np.diff(np.log(rates)) == pytest.approx(math.log(1e3) / 11)


def flatten(network):
    return torch.cat([weights.detach().flatten() for weights in network.parameters()])


def test_the_rates_are_those_that_move_the_weights(batches):
    """Plain descent along clipped gradients: no update is longer than its rate, and the sum of all not than theirs."""
    settings = SETTINGS.model_copy(update={"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "clip_norm": 1.0})
    network = make_network()
    places = [flatten(network)]
    rates = []
    for trial in sweep_learning_rates(network, batches, CRITERION, settings, 1e-4, 1e-1):
        places.append(flatten(network))
        rates.append(trial.learning_rate)
    moved = [float((after - before).norm()) for before, after in itertools.pairwise(places)]
    assert all(0.01 * rate < length <= 1.01 * rate for length, rate in zip(moved, rates, strict=True))


def test_the_loss_is_that_of_the_batch_and_falls(batches):
    trials = sweep(batches, 1e-4, 1e-2)
    settings = SETTINGS.model_copy(update={"augment": []})
    network = make_network()
    batch = next(iter(batches.epoch(settings.seed, 0)))
    expected = CRITERION(network(*batch.inputs()), *batch.targets())["loss"].item()
    assert sweep(batches, 1e-4, 1e-2, settings=settings)[0].loss == pytest.approx(expected, rel=1e-4)
    assert np.mean([trial.loss for trial in trials[-3:]]) < np.mean([trial.loss for trial in trials[:3]])


def test_the_same_seed_gives_the_same_curve(batches):
    assert sweep(batches, 1e-5, 1e-2) == sweep(batches, 1e-5, 1e-2)


def growing(factor):
    """A loss that is multiplied by a factor at each update, whatever the network."""
    calls = []

    def criterion(prediction, mask, depth):
        calls.append(1)
        scale = factor ** len(calls)
        return {"loss": scale + 0 * prediction.mask_logits.sum() + 0 * prediction.depth.sum()}

    return criterion


@pytest.mark.parametrize("factor", [1.8, math.nan, math.inf])
def test_a_loss_that_diverges_ends_the_sweep(batches, factor):
    """At 1.8 the running mean is above three times the first loss after the fourth update."""
    trials = sweep(batches, 1e-5, 1e-2, criterion=growing(factor))
    assert len(trials) == (4 if factor == 1.8 else 0)
    assert all(math.isfinite(trial.loss) for trial in trials)


def curve(steps=121):
    """A loss that falls around the rate 1e-3, is lowest at 1e-1 and rises beyond."""
    rates = np.geomspace(1e-6, 1, steps)
    fall = -np.tanh(np.log10(rates) + 3)
    return [Trial(rate, 2 + drop + max(0.0, math.log10(rate) + 1) ** 2) for rate, drop in zip(rates, fall, strict=True)]


def test_the_suggestion_is_the_steepest_descent():
    suggestion = suggest_learning_rate(tabulate_trials(curve()))
    assert math.log10(suggestion.steepest) == pytest.approx(-3, abs=0.1)
    assert math.log10(suggestion.lowest) == pytest.approx(-1, abs=0.3)


def test_noise_moves_the_suggestion_little():
    noise = np.random.default_rng(0).normal(0, 0.1, 121)
    trials = [Trial(trial.learning_rate, trial.loss + error) for trial, error in zip(curve(), noise, strict=True)]
    assert math.log10(suggest_learning_rate(tabulate_trials(trials)).steepest) == pytest.approx(-3, abs=0.5)


def test_a_fall_after_the_lowest_loss_is_not_suggested():
    """A loss that has gone wild falls fastest of all on its way down again."""
    trials = [
        *curve(),
        *(Trial(10.0**exponent, loss) for exponent, loss in zip(range(1, 9), range(90, 10, -10), strict=True)),
    ]
    assert suggest_learning_rate(tabulate_trials(trials)).steepest < 1e-2


def test_smoothing_keeps_a_constant_and_moves_no_step():
    flat = tabulate_trials([Trial(rate, 3.0) for rate in np.geomspace(1e-6, 1, 40)])
    assert flat["smoothed"].to_numpy() == pytest.approx(3.0)
    step = tabulate_trials([Trial(rate, float(number < 20)) for number, rate in enumerate(np.geomspace(1e-6, 1, 40))])
    smoothed = step["smoothed"].to_numpy()
    assert smoothed + smoothed[::-1] == pytest.approx(1.0)


def test_a_curve_without_a_fall_is_an_error():
    rising = [Trial(rate, 1 + rate) for rate in np.geomspace(1e-3, 1, 20)]
    with pytest.raises(ValueError, match=r"lowest at the first rate, 0\.001, and does not fall; try other ends"):
        suggest_learning_rate(tabulate_trials(rising))
    with pytest.raises(ValueError, match=rf"9 rates until the loss diverged, {MIN_STEPS} are needed"):
        suggest_learning_rate(tabulate_trials(rising[:9]))
    with pytest.raises(ValueError, match="0 rates until the loss diverged"):
        suggest_learning_rate(tabulate_trials([]))
