"""Proves with an acted CUDA graph that what is recorded is the step: the same bits, and eager ones where it fails.

The graph does nothing while it is recorded and, whenever it is replayed, what was recorded, with what was held then: a
batch in its buffers, the rate in its tensor, one generator.
"""

from contextlib import contextmanager
from functools import partial
from typing import ClassVar

import pytest
import torch
from support.tiny import LOSS, SPEC, Tiny, change, make_arrays, make_batches

from maskdepth.losses.catalogue import build_criterion
from maskdepth.models.network import Network
from maskdepth.training import fit as fit_module
from maskdepth.training.fit import TrainState, fit
from maskdepth.training.replay import Replay, rate_from


class ActedGraph:
    def __init__(self):
        self.is_recording, self.replays = False, 0

    def register_generator_state(self, generator):
        pass

    def replay(self):
        self.replays += 1
        self.again()


class Acted(Replay):
    """Replays on the CPU."""

    made: ClassVar[list["Acted"]] = []

    def __init__(self, work, optimizer, device, why_eager):
        super().__init__(self.work_or_record, optimizer, device, why_eager)
        self.why_eager, self.work, self.graph = why_eager, work, ActedGraph()
        # Of the host: a float32 there is would round it.
        self._rate, self._stream = torch.zeros((), dtype=torch.float64), None
        Acted.made.append(self)

    def _work_aside(self, batch):
        return self.work(batch, self._generator)

    def work_or_record(self, batch, generator):
        if not self.graph.is_recording:
            return self.work(batch, generator)
        self.graph.values = torch.zeros(4)  # the weighed loss, two terms, the length of the gradient

        def again():
            with rate_from(self._optimizer, self._rate):
                self.graph.values.copy_(self.work(batch, generator))

        self.graph.again = again
        return self.graph.values


@contextmanager
def record(graph, stream, capture_error_mode, error=None):
    graph.is_recording = True
    yield
    graph.is_recording = False
    if error:
        raise error


@pytest.fixture
def acted(monkeypatch):
    monkeypatch.setattr(Acted, "made", [])
    monkeypatch.setattr(fit_module, "Replay", Acted)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: Acted.made[-1].graph)
    monkeypatch.setattr(torch.cuda, "graph", record)
    return Acted.made


def train(settings):
    """Train on 32 samples, two epochs of ten batches of three and one of two."""
    batches = make_batches(make_arrays(), numbers=[*range(8)] * 4)
    torch.manual_seed(0)
    state = TrainState(Network(Tiny(), SPEC), settings, len(batches))
    for _ in fit(state, batches, batches, build_criterion(LOSS), settings):
        pass
    return state


def assert_equal(state, expected):
    weights, others = (each.network.state_dict() for each in (state, expected))
    assert all(torch.equal(weights[name], others[name]) for name in others)
    assert [(epoch.train, epoch.val) for epoch in state.epochs] == [(one.train, one.val) for one in expected.epochs]


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [("adamw", "one_cycle"), ("muon", "one_cycle"), ("adam", "plateau"), ("sgd", "cosine"), ("sgd", "constant")],
)
def test_replayed_steps_are_the_steps_bit_for_bit(acted, monkeypatch, optimizer, schedule):
    settings = change(optimizer=optimizer, schedule=schedule)
    replayed = train(settings)
    (replay,) = acted
    assert replay.graph.replays == 10 - 3 + 10  # all whole batches but the first three
    monkeypatch.setattr(fit_module, "Replay", Replay)
    assert_equal(replayed, train(settings))


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), RuntimeError("no\nnever")]
)
def test_a_graph_that_finds_no_room_or_no_way_leaves_the_steps_eager_and_says_why(acted, monkeypatch, error):
    monkeypatch.setattr(torch.cuda, "graph", partial(record, error=error))
    state = train(change())
    assert state.why_eager == str(error).partition("\n")[0]
    assert acted[0].graph.replays == 0
    monkeypatch.setattr(fit_module, "Replay", Replay)
    assert_equal(state, train(change()))


def test_nothing_is_recorded_where_the_settings_say_so(acted):
    assert train(change(compile="off")).why_eager == "train.compile is off"
    assert acted[0].graph.replays == 0
