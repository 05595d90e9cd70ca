"""Proves that training learns, repeats bit for bit, resumes as if nothing had happened, and stops at NaN."""

import math
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from support.tiny import CPU, LOSS, SETTINGS, SPEC, Tiny, change, make_arrays, make_batches
from support.toy import draw_background_depth
from torch import nn

from maskdepth.data.arrays.arrays import ShardedArray
from maskdepth.data.batches.batches import Batches
from maskdepth.losses.catalogue import build_criterion
from maskdepth.models.catalogue import build_network
from maskdepth.models.network import Network, NetworkSpec
from maskdepth.params import LossParams
from maskdepth.training.fit import Epoch, Pause, Step, TrainState, fit, score, validate
from maskdepth.training.optimisation import build_optimizer, build_scheduler
from maskdepth.training.states import load_state, save_state


@pytest.fixture(scope="module")
def arrays():
    return make_arrays()


@pytest.fixture(scope="module")
def train(arrays):
    return make_batches(arrays)


@pytest.fixture(scope="module")
def val(arrays):
    return make_batches(arrays, numbers=range(4))


def start(settings, train, seed=0):
    torch.manual_seed(seed)
    return TrainState(Network(Tiny(), SPEC), settings, len(train))


def train_to_end(settings, train, val, seed=0):
    state = start(settings, train, seed)
    return state, list(fit(state, train, val, build_criterion(LOSS), settings))


def validated(state, batches, loss=LOSS):
    """Validate without a break; give the means."""
    validation = validate(state, batches, build_criterion(loss), state)
    while True:
        try:
            next(validation)
        except StopIteration as end:
            return end.value


def are_equal(one, other):
    weights, others = one.network.state_dict(), other.network.state_dict()
    return all(torch.equal(weights[name], others[name]) for name in weights)


def test_fit_yields_each_update_and_each_epoch(train, val):
    state, events = train_to_end(SETTINGS, train, val)
    steps = [(event.epoch, event.step) for event in events if isinstance(event, Step)]
    assert steps == [(epoch, step) for epoch in (0, 1) for step in (1, 2, 3)]
    assert [event.index for event in events if isinstance(event, Epoch)] == [0, 1]
    assert [isinstance(event, Epoch) for event in events] == [False, False, False, True] * 2
    assert state.progress == len(events)
    assert list(fit(state, train, val, build_criterion(LOSS), SETTINGS)) == []


def test_the_events_that_are_left_are_known_before_each(train, arrays):
    val = make_batches(arrays, 2, range(6))  # three batches, hence two pauses
    state = start(SETTINGS, train)
    left = [state.count_events(SETTINGS.epochs, len(val))]
    for event in fit(state, train, val, build_criterion(LOSS), SETTINGS):
        if not isinstance(event, Pause):  # a pause is not in the state
            left.append(state.count_events(SETTINGS.epochs, len(val)))
    assert left == [12, 11, 10, 9, 6, 5, 4, 3, 0]


def test_an_epoch_tells_every_term_metric_and_time(train, val):
    epoch = train_to_end(SETTINGS, train, val)[0].epochs[-1]
    assert set(epoch.train) == {"loss", "loss_mask_bce", "loss_depth_l1", "gradient_norm"}
    assert {"loss", "loss_mask_bce", "loss_depth_l1", "mask_iou", "depth_ssim", "depth_rmse"} <= set(epoch.val)
    assert epoch.train["loss"] == pytest.approx(epoch.train["loss_mask_bce"] + epoch.train["loss_depth_l1"])
    assert set(epoch.seconds) == {"load", "forward", "backward", "other", "validation"}
    assert all(seconds > 0 for seconds in epoch.seconds.values())


def test_what_is_done_between_two_steps_is_told_apart(train, val):
    state = start(SETTINGS, train)
    for event in fit(state, train, val, build_criterion(LOSS), SETTINGS):
        if isinstance(event, Step):
            time.sleep(0.2)
    steps = len(train)
    for epoch in state.epochs:
        assert 0.2 * steps <= epoch.seconds["other"] < sum(epoch.seconds.values())


def test_a_loss_and_a_metric_of_one_name_are_told_apart(train, val):
    state = start(SETTINGS, train)
    values = validated(state, val, LossParams(mask="dice", depth="ssim", mask_weight=1.0, depth_weight=1.0))
    dice, ssim = values["mask_dice"], values["depth_ssim"]
    assert values["loss"] == pytest.approx(values["loss_mask_dice"] + values["loss_depth_ssim"])
    assert values["loss_depth_ssim"] == pytest.approx((1 - ssim) / 2, abs=1e-6)
    assert values["loss_mask_dice"] != pytest.approx(dice)


@pytest.mark.parametrize("name", ["dsunet", "unet"])
def test_a_network_learns_eight_samples_by_heart(arrays, name):
    settings = change(epochs=20, batch_size=8, schedule="constant", augment=[], clip_norm=0.0)
    batches = make_batches(arrays, 8)
    torch.manual_seed(0)
    network = build_network(NetworkSpec(name, SPEC.inputs, SPEC.normalisation, 32))
    state = TrainState(network, settings, len(batches))
    for _ in fit(state, batches, batches, build_criterion(LOSS), settings):
        pass
    first, last = state.epochs[0].train, state.epochs[-1].train
    assert last["loss_mask_bce"] < first["loss_mask_bce"] / 4
    assert last["loss_depth_l1"] < first["loss_depth_l1"] / 4


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(train, val):
    state, _ = train_to_end(SETTINGS, train, val)
    torch.manual_seed(77)
    assert are_equal(train_to_end(SETTINGS, train, val)[0], state)
    assert not are_equal(train_to_end(change(seed=1), train, val)[0], state)


def test_trainings_that_take_turns_in_one_process_are_each_as_if_alone(train, val):
    """Four networks of other seeds and losses: as a sweep on one GPU may train them."""
    losses = [("bce+dice", "l1+ssim"), ("bce", "l1"), ("dice", "ssim"), ("focal", "mse")]
    chosen = [LossParams(mask=mask, depth=depth, mask_weight=1.0, depth_weight=1.0) for mask, depth in losses]

    def begin(seed):
        settings = change(seed=seed, augment=["flip"])
        state = start(settings, train, seed)
        return state, fit(state, train, val, build_criterion(chosen[seed]), settings)

    alone = [begin(seed) for seed in range(4)]
    for _, events in alone:
        list(events)
    together = [begin(seed) for seed in range(4)]
    for _ in zip(*(events for _, events in together), strict=True):
        pass
    for (state, _), (expected, _) in zip(together, alone, strict=True):
        assert [epoch.train for epoch in state.epochs] == [epoch.train for epoch in expected.epochs]
        assert are_equal(state, expected)


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "one_cycle", "plateau"])
@pytest.mark.parametrize("events_before", [1, 3, 4, 6, 8])
def test_resumed_equals_uninterrupted_bit_for_bit(train, val, tmp_path, schedule, events_before):
    settings = change(schedule=schedule, optimizer="sgd" if schedule == "step" else "adamw")
    whole, _ = train_to_end(settings, train, val)
    broken = start(settings, train)
    events = fit(broken, train, val, build_criterion(LOSS), settings)
    for _ in range(events_before):
        next(events)
    save_state(tmp_path, broken.state_dict(), broken.progress)

    resumed = start(settings, train, seed=5)
    resumed.load_state_dict(load_state(tmp_path).state)
    assert resumed.progress == events_before
    rest = list(fit(resumed, train, val, build_criterion(LOSS), settings))
    assert len(rest) == 8 - events_before
    assert are_equal(resumed, whole)
    for epoch, expected in zip(resumed.epochs, whole.epochs, strict=True):
        assert (epoch.train, epoch.val, epoch.learning_rate) == (expected.train, expected.val, expected.learning_rate)
    assert all(torch.equal(whole.best_weights[name], resumed.best_weights[name]) for name in whole.best_weights)


def test_a_training_left_within_a_validation_goes_on_as_if_nothing_had_happened(arrays, train, tmp_path):
    val = make_batches(arrays)
    whole, events = train_to_end(SETTINGS, train, val)
    assert [type(event) for event in events[:6]] == [Step, Step, Step, Pause, Pause, Epoch]
    broken = start(SETTINGS, train)
    for event in fit(broken, train, val, build_criterion(LOSS), SETTINGS):
        if isinstance(event, Pause):
            break
    save_state(tmp_path, broken.state_dict(), broken.progress)
    resumed = start(SETTINGS, train, seed=5)
    resumed.load_state_dict(load_state(tmp_path).state)
    rest = list(fit(resumed, train, val, build_criterion(LOSS), SETTINGS))
    assert [type(event) for event in rest[:3]] == [Pause, Pause, Epoch]
    assert are_equal(resumed, whole)
    assert [epoch.val for epoch in resumed.epochs] == [epoch.val for epoch in whole.epochs]


@pytest.fixture(scope="module")
def knowing(arrays):
    """The same pictures with the depth of the backgrounds, that of the second one excepted."""
    maps = np.stack([draw_background_depth(number) for number in (1, 2, 3)])
    return replace(arrays, background_depth=ShardedArray([maps]))


def make_knowing_batches(arrays, numbers=range(8), **wanted):
    numbers = np.array(numbers)
    columns = {f"{kind}_row": numbers for kind in ("composite", "mask", "depth")}
    of_background = pd.Series(numbers % 3).map({0: 0, 1: -1, 2: 2}).to_numpy()
    rows = pd.DataFrame({"sample_id": [f"s{number}" for number in numbers], "background_row": numbers % 3, **columns})
    return Batches(arrays, rows.assign(background_depth_row=of_background), 3, CPU, **wanted)


def test_data_that_know_the_depth_of_backgrounds_train_a_network_that_does_not_see_it_bit_for_bit(knowing, train, val):
    plain, events = train_to_end(SETTINGS, train, val)
    batches = make_knowing_batches(knowing), make_knowing_batches(knowing, range(4))
    state, others = train_to_end(SETTINGS, *batches)
    assert are_equal(state, plain)
    for one, other in zip(events, others, strict=True):
        if isinstance(one, Epoch):
            assert (one.train, one.val) == (other.train, other.val)


def train_knowing(knowing, events_before=None, folder=None, sees="+background_depth", **settings):
    """Train a network that sees the depth of the backgrounds, whole or with a break after some events."""
    settings = change(augment=["flip"], **settings)
    batches = [make_knowing_batches(knowing, part, with_background_depth=bool(sees)) for part in (range(8), range(4))]

    def begin(seed):
        torch.manual_seed(seed)
        network = build_network(NetworkSpec("dsunet", f"{SPEC.inputs}{sees}", SPEC.normalisation, 32))
        return TrainState(network, settings, len(batches[0]))

    state = begin(0)
    events = fit(state, *batches, build_criterion(LOSS), settings)
    if events_before is not None:
        for _ in range(events_before):
            next(events)
        save_state(folder, state.state_dict(), state.progress)
        state = begin(5)
        state.load_state_dict(load_state(folder).state)
        events = fit(state, *batches, build_criterion(LOSS), settings)
    for _ in events:
        pass
    return state


def test_a_network_that_sees_the_depth_of_backgrounds_resumes_bit_for_bit(knowing, tmp_path):
    whole = train_knowing(knowing)
    resumed = train_knowing(knowing, 5, tmp_path)
    assert are_equal(resumed, whole)
    assert [(epoch.train, epoch.val) for epoch in resumed.epochs] == [(one.train, one.val) for one in whole.epochs]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_depth_of_backgrounds_takes_nothing_from_a_network_that_is_asked_without_it(knowing, optimizer):
    knows, plain = (
        train_knowing(knowing, sees=sees, clip_norm=0.1, optimizer=optimizer).network
        for sees in ("+background_depth", "")
    )
    of_model = plain.model.state_dict()
    assert all(torch.equal(weights, of_model[name]) for name, weights in knows.model.state_dict().items())
    assert knows.fusion is not None


def test_of_a_network_that_sees_the_depth_of_backgrounds_the_loss_without_it_is_told_as_well(knowing):
    knows, plain = (train_knowing(knowing, sees=sees).epochs for sees in ("+background_depth", ""))
    assert [epoch.train["loss_alone"] for epoch in knows] == [epoch.train["loss"] for epoch in plain]
    assert "loss_alone" not in plain[0].train


def test_best_weights_are_those_of_the_best_epoch(train, val):
    state, _ = train_to_end(change(epochs=4), train, val)
    assert score(state.best.val) == max(score(epoch.val) for epoch in state.epochs)
    state.network.load_state_dict(state.best_weights)
    assert validated(state, val) == state.best.val


class Blind(Tiny):
    """Predicts NaN outside of training."""

    def forward(self, pictures):
        mask_logits, depth_logits = super().forward(pictures)
        return mask_logits, depth_logits if self.training else depth_logits * math.nan


def test_a_validation_of_nan_is_never_best(train, val):
    state = TrainState(Network(Blind(), SPEC), SETTINGS, len(train))
    events = list(fit(state, train, val, build_criterion(LOSS), SETTINGS))
    assert [event.is_best for event in events if isinstance(event, Epoch)] == [False, False]
    assert state.best is None
    assert state.best_weights == {}


def test_metrics_of_validation_do_not_depend_on_the_batch_size(arrays, train):
    state = start(SETTINGS, train)
    one, other = (validated(state, make_batches(arrays, size)) for size in (2, 8))
    assert one == pytest.approx(other, rel=1e-5)


def test_validation_changes_nothing(train, val):
    state = start(SETTINGS, train)
    before = {name: value.clone() for name, value in state.network.state_dict().items()}
    validated(state, val)
    assert all(torch.equal(value, before[name]) for name, value in state.network.state_dict().items())


def nan_at_third_update():
    criterion, calls = build_criterion(LOSS), []

    def poisoned(prediction, mask, depth):
        calls.append(1)
        terms = criterion(prediction, mask, depth)
        return {
            name: term * math.nan if len(calls) == 3 and name != "loss_mask_bce" else term
            for name, term in terms.items()
        }

    return poisoned


def test_a_loss_that_is_not_finite_names_step_terms_and_samples_and_spares_the_weights(train, val):
    state = start(SETTINGS, train)
    message = (
        r"loss, loss_depth_l1.* not finite by step 2 of epoch 0 \(loss nan, loss_mask_bce .*loss_depth_l1 nan.*; "
        r"samples of this step: s\d"
    )
    with pytest.raises(FloatingPointError, match=message):
        list(fit(state, train, val, nan_at_third_update(), SETTINGS))
    assert all(parameter.isfinite().all() for parameter in state.network.parameters())


def test_weights_that_are_not_finite_are_not_given_away(train):
    state = start(SETTINGS, train)
    nn.init.constant_(state.network.model.heads.bias, math.nan)
    with pytest.raises(FloatingPointError, match=r"model\.heads\.bias is not finite after step 0 of epoch 0; lower"):
        state.state_dict()


def learning_rates(settings, steps_per_epoch, scores=()):
    optimizer = build_optimizer(Network(Tiny(), SPEC), settings)
    scheduler = build_scheduler(optimizer, settings, steps_per_epoch)
    rates = []
    for value in scores or range(settings.epochs * steps_per_epoch):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*([value] if scores else []))
    return rates


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.8, 0.8, 0.8, 0.8]),
        ("step", [0.8, 0.8, 0.4, 0.4]),
        ("cosine", [0.8, 0.4 * (1 + math.sqrt(0.5)), 0.4, 0.4 * (1 - math.sqrt(0.5))]),
    ],
)
def test_schedules_follow_their_formula(schedule, expected):
    assert learning_rates(change(schedule=schedule, learning_rate=0.8), 2) == pytest.approx(expected)


def test_one_cycle_rises_to_the_learning_rate_and_falls_to_almost_nothing():
    rates = learning_rates(change(schedule="one_cycle", learning_rate=0.8, epochs=10), 10)
    assert rates[0] == pytest.approx(0.8 / 25)
    assert max(rates) == pytest.approx(0.8)
    assert rates.index(max(rates)) == pytest.approx(29, abs=1)
    assert rates[-1] < 0.001


def test_plateau_waits_for_its_patience_then_lowers():
    rates = learning_rates(change(schedule="plateau", learning_rate=0.8), 2, scores=(0.5, 0.6, 0.6, 0.6, 0.6))
    assert rates == pytest.approx([0.8, 0.8, 0.8, 0.8, 0.4])


def test_weight_decay_spares_scales_and_biases():
    groups = build_optimizer(Network(Tiny(), SPEC), SETTINGS).param_groups
    assert [(group["weight_decay"], {p.ndim for p in group["params"]}) for group in groups] == [(0.01, {4}), (0.0, {1})]


@pytest.mark.parametrize(("name", "kind"), [("adam", "Adam"), ("adamw", "AdamW"), ("muon", "Muon"), ("sgd", "SGD")])
def test_optimizers_go_by_their_names(name, kind):
    assert type(build_optimizer(Network(Tiny(), SPEC), change(optimizer=name))).__name__ == kind


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_momentum_is_the_first_beta(name):
    groups = build_optimizer(Network(Tiny(), SPEC), change(optimizer=name, momentum=0.7)).param_groups
    assert {group["betas"] for group in groups} == {(0.7, 0.999)}


def test_clipping_bounds_the_gradient_that_is_applied(train, val):
    # Plain descent with rate 1: no weight can move farther than the clipped gradient is long.
    settings = change(
        optimizer="sgd", learning_rate=1.0, momentum=0.0, weight_decay=0.0, schedule="constant", clip_norm=1e-3
    )
    state = start(settings, train)
    before = torch.nn.utils.parameters_to_vector(state.network.parameters()).clone()
    next(fit(state, train, val, build_criterion(LOSS), settings))
    moved = torch.nn.utils.parameters_to_vector(state.network.parameters()) - before
    assert 0 < moved.norm() <= 1.001e-3


def test_bfloat16_trains_to_about_the_same_loss(train, val):
    plain, _ = train_to_end(change(augment=[]), train, val)
    half, _ = train_to_end(change(augment=[], precision="bf16"), train, val)
    assert not are_equal(plain, half)
    assert half.epochs[-1].val["loss"] == pytest.approx(plain.epochs[-1].val["loss"], rel=0.05)
