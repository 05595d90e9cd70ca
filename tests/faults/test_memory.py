"""Proves that a training which runs out of memory goes on in smaller parts with the same batches, and remembers it."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from support.settings import SHIPPED_PARAMS
from support.toy_arrays import make_toy_arrays
from torch import nn

from maskdepth.data.batches.batches import Batches
from maskdepth.losses.catalogue import build_criterion
from maskdepth.models.network import Network, NetworkSpec, Normalisation
from maskdepth.params import LossParams, load_params
from maskdepth.process.command import NO_RESOURCE, guard
from maskdepth.tracking.journal import Journal
from maskdepth.training.fit import TrainState, fit
from maskdepth.training.states import load_state
from stages.train import follow

HALF = (0.5, 0.5, 0.5)
SPEC = NetworkSpec("tiny", "background+composite", Normalisation(HALF, HALF, HALF, HALF), 32)
CRITERION = build_criterion(LossParams(mask="bce", depth="l1", mask_weight=1.0, depth_weight=1.0))
CHANGES = {"epochs": 2, "batch_size": 8, "precision": "fp32", "optimizer": "sgd", "schedule": "constant"}
SETTINGS = load_params(SHIPPED_PARAMS).train.model_copy(update=CHANGES)


class Cramped(nn.Module):
    """A small network on a device with room for so many samples; counts how often they were too many."""

    def __init__(self, room, normalise=False, fail=torch.OutOfMemoryError):
        super().__init__()
        norm = nn.BatchNorm2d(4) if normalise else nn.Identity()
        self.body = nn.Sequential(nn.Conv2d(6, 4, 3, padding=1), norm, nn.ReLU(), nn.Conv2d(4, 2, 1))
        self.room, self.fail, self.failures = room, fail, 0

    def forward(self, pictures):
        if len(pictures) > self.room:
            self.failures += 1
            raise self.fail("CUDA out of memory. Tried to allocate 2.00 GiB.")
        scores = self.body(pictures)
        return scores[:, :1], scores[:, 1:]


class Greedy(Cramped):
    """Asks the CPU's allocator for more than any machine has, as a batch that is too large would."""

    def forward(self, pictures):
        if len(pictures) > self.room:
            self.failures += 1
            torch.empty(2**60, dtype=torch.uint8)
        return super().forward(pictures)


@pytest.fixture(scope="module")
def batches_of(tmp_path_factory):
    _, arrays = make_toy_arrays(tmp_path_factory.mktemp("toy"))
    numbers = np.arange(24)
    rows = {f"{kind}_row": numbers for kind in ("composite", "mask", "depth")}
    table = pd.DataFrame({"sample_id": numbers.astype(str), "background_row": numbers % 3, **rows})
    return partial(Batches, arrays, table, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def batches(batches_of):
    return batches_of(SETTINGS.batch_size)


def start(model, batches):
    torch.manual_seed(0)
    model.body.apply(lambda part: part.reset_parameters() if hasattr(part, "reset_parameters") else None)
    return TrainState(Network(model, SPEC), SETTINGS, len(batches))


def train(model, batches):
    state = start(model, batches)
    for _ in fit(state, batches, batches, CRITERION, SETTINGS):
        pass
    return state


def largest_difference(one, other):
    weights = other.network.state_dict()
    return max((value - weights[name]).abs().max().item() for name, value in one.network.state_dict().items())


@pytest.mark.parametrize(("network", "room", "parts"), [(Cramped, 4, 4), (Cramped, 3, 2), (Greedy, 5, 4)])
def test_the_same_batches_in_parts_give_the_same_weights(batches, network, room, parts):
    whole, cramped = train(Cramped(room=99), batches), train(network(room), batches)
    assert cramped.micro_batch == parts
    assert largest_difference(whole, cramped) < 1e-6
    assert cramped.epochs[-1].train == pytest.approx(whole.epochs[-1].train, rel=1e-4)
    assert cramped.epochs[-1].val == pytest.approx(whole.epochs[-1].val, rel=1e-4)


def test_only_batch_normalisation_sees_the_parts(batches):
    whole, cramped = (train(Cramped(room, normalise=True), batches) for room in (99, 4))
    assert largest_difference(whole, cramped) > 1e-4
    assert cramped.epochs[-1].val["loss"] == pytest.approx(whole.epochs[-1].val["loss"], rel=0.1)


def test_memory_that_suffices_is_used_whole(batches):
    state = train(Cramped(room=8), batches)
    assert state.micro_batch > 8
    assert state.network.model.failures == 0


def test_what_was_learned_about_memory_is_in_the_state(batches):
    first = train(Cramped(room=4), batches)
    assert first.network.model.failures == 1
    resumed = start(Cramped(room=4), batches)
    resumed.load_state_dict(first.state_dict() | {"epoch": 0})
    for _ in fit(resumed, batches, batches, CRITERION, SETTINGS):
        pass
    assert resumed.network.model.failures == 0


def test_validation_batches_that_are_too_large_are_cut_and_those_of_the_training_are_not(batches_of, batches):
    whole, state = train(Cramped(room=99), batches), start(Cramped(room=9), batches)
    large = batches_of(24)
    for _ in fit(state, batches, large, CRITERION, SETTINGS):
        pass
    assert state.network.model.failures == 2  # with 24 and 12, and never again
    assert state.micro_batch > SETTINGS.batch_size
    assert largest_difference(whole, state) == 0
    assert state.epochs[-1].val == pytest.approx(whole.epochs[-1].val, rel=1e-6)


def test_another_error_is_not_taken_for_a_lack_of_memory(batches):
    with pytest.raises(RuntimeError, match="CUDA error: an illegal memory access"):
        train(Cramped(room=4, fail=lambda _: RuntimeError("CUDA error: an illegal memory access")), batches)


def test_where_two_samples_do_not_fit_the_command_ends_in_one_line(batches, capsys):
    with pytest.raises(SystemExit) as stopped:
        guard(lambda: train(Cramped(room=1), batches))
    assert stopped.value.code == NO_RESOURCE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: out of memory: 2 samples at a time are too many (CUDA out of memory.")
    assert "model.name" in line


def test_the_stage_says_once_that_it_goes_on_in_parts(batches, tmp_path, capsys):
    state = start(Cramped(room=4), batches)
    events = fit(state, batches, batches, CRITERION, SETTINGS)
    follow(events, state, SETTINGS, tmp_path, Journal(tmp_path / "train.jsonl"))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: out of memory at epoch 1 step 1; going on with 4 samples at a time")


def test_a_kernel_that_fails_ends_in_one_line_and_leaves_the_state_before_it(batches, tmp_path, capsys):
    class Failing(Cramped):
        def forward(self, pictures):
            self.failures += 1
            if self.failures == 3:
                raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nAdvice.")
            return super().forward(pictures)

    state = start(Failing(room=99), batches)
    settings = SETTINGS.model_copy(update={"checkpoint_seconds": 1e-9})
    events = fit(state, batches, batches, CRITERION, settings)
    with pytest.raises(SystemExit) as stopped:
        guard(lambda: follow(events, state, settings, tmp_path, Journal(tmp_path / "train.jsonl")))
    assert stopped.value.code == NO_RESOURCE
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "error: the CUDA device failed (an illegal memory access was encountered); run again, or on the CPU: "
        "MASKDEPTH_DEVICE=cpu"
    )
    assert load_state(tmp_path).state["step"] == 2
