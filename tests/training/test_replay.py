"""Proves that a replayed step is the step: with eager ones, after a break, and with a batch of another size."""

import copy

import pytest
import torch
from support.tiny import LOSS, SPEC, Tiny, change, make_arrays, make_batches

from maskdepth.losses.catalogue import build_criterion
from maskdepth.models.network import Network
from maskdepth.training.fit import Step, TrainState, fit
from maskdepth.training.optimisation import build_optimizer
from maskdepth.training.replay import rate_from
from maskdepth.training.states import load_state, save_state

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
ASKED = "the test asks for it"


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon", "sgd"])
def test_a_rate_that_is_read_from_a_tensor_is_the_rate(optimizer):
    torch.manual_seed(0)
    network = Tiny()
    twin = copy.deepcopy(network)
    learner, other = (build_optimizer(Network(one, SPEC), change(optimizer=optimizer)) for one in (network, twin))
    for parameter in [*network.parameters(), *twin.parameters()]:
        parameter.grad = torch.ones_like(parameter)
    learner.step()
    rate = torch.tensor(learner.param_groups[0]["lr"])
    for group in other.param_groups:
        group["lr"] = 9.0
    before = [{name: value for name, value in group.items() if name != "params"} for group in other.param_groups]
    with rate_from(other, rate):
        other.step()
    after = [{name: value for name, value in group.items() if name != "params"} for group in other.param_groups]
    assert after == before
    for parameter, expected in zip(twin.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected)


def begin(settings, device=CUDA, why_eager="", seed=0, criterion=None):
    """Start on 32 samples: ten batches of three and one of two."""
    batches = make_batches(make_arrays(), numbers=[*range(8)] * 4, device=device)
    torch.manual_seed(seed)
    state = TrainState(Network(Tiny(), SPEC).to(device), settings, len(batches))
    state.why_eager = why_eager
    return state, fit(state, batches, batches, criterion or build_criterion(LOSS), settings)


def train(settings, device=CUDA, why_eager="", events_before=None, folder=None):
    """Train to the end, whole or with a break after some events."""
    state, events = begin(settings, device, why_eager)
    if events_before is not None:
        for _ in range(events_before):
            next(events)
        save_state(folder, state.state_dict(), state.progress)
        state, events = begin(settings, device, why_eager, seed=5)
        state.load_state_dict(load_state(folder).state)
    assert any(isinstance(event, Step) for event in list(events))
    if device.type == "cuda":
        assert state.why_eager == why_eager
    return state


def assert_same_curves(state, expected, rel):
    for epoch, other in zip(state.epochs, expected.epochs, strict=True):
        assert epoch.train == pytest.approx(other.train, rel=rel)
        assert epoch.val == pytest.approx(other.val, rel=rel)


def test_a_cpu_does_each_step_anew_and_resumes_as_on_any_device(tmp_path):
    whole = train(change(epochs=1), CPU)
    assert whole.why_eager == "not a CUDA device"
    assert_same_curves(train(change(epochs=1), CPU, events_before=4, folder=tmp_path), whole, 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="only a CUDA device records steps, and there is none here")
class TestOnAGpu:
    @pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon", "sgd"])
    @pytest.mark.parametrize("schedule", ["constant", "one_cycle", "cosine", "plateau"])
    @pytest.mark.parametrize(("precision", "rel"), [("fp32", 1e-3), ("bf16", 1e-2)])
    def test_replayed_equals_eager(self, optimizer, schedule, precision, rel):
        settings = change(optimizer=optimizer, schedule=schedule, precision=precision, learning_rate=0.003)
        assert_same_curves(train(settings), train(settings, why_eager=ASKED), rel)

    def test_float32_on_the_device_equals_the_cpu(self):
        settings = change(augment=[], learning_rate=0.003)
        assert_same_curves(train(settings, why_eager=ASKED), train(settings, CPU), 1e-3)

    @pytest.mark.parametrize("events_before", [2, 7, 12])
    def test_resumed_equals_uninterrupted(self, events_before, tmp_path):
        settings = change(learning_rate=0.003)
        assert_same_curves(train(settings, events_before=events_before, folder=tmp_path), train(settings), 1e-3)

    @pytest.mark.parametrize("why_eager", ["", ASKED])
    def test_no_step_waits_for_the_device(self, why_eager):
        _, events = begin(change(epochs=1), why_eager=why_eager)
        for _ in range(6):  # the first looks at its sums, the fourth is recorded
            next(events)
        torch.cuda.set_sync_debug_mode("error")
        try:
            next(events)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    def test_a_step_that_cannot_be_recorded_is_done_eagerly_and_that_is_told(self):
        plain = build_criterion(LOSS)

        def looking(prediction, mask, depth):
            terms = plain(prediction, mask, depth)
            terms["loss"].item()
            return terms

        state, events = begin(change(epochs=1), criterion=looking)
        list(events)
        assert state.why_eager
        assert_same_curves(state, train(change(epochs=1), why_eager=ASKED), 1e-3)
