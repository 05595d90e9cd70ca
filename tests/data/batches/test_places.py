"""Proves that pictures on their way to a CUDA device are whole and in order, and that few are on their way.

Streams and events are acted: they only note what waits for what.
"""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from maskdepth.data.arrays.arrays import ShardedArray
from maskdepth.data.batches.batches import StreamedPictures
from maskdepth.data.batches.places import PinnedPlace

CPU = torch.device("cpu")
# Batches of three, with a last one of four.
PARTS = np.split(np.random.default_rng(0).permutation(31), range(3, 28, 3))


class Acted:
    """A stream, all of whose work waits until somebody waits for it."""

    def __init__(self):
        self.events, self.waited_for = 0, []

    def record_event(self):
        self.events += 1
        return ActedEvent(self, self.events)

    def wait_event(self, event):
        self.waited_for.append(event)


class ActedEvent:
    def __init__(self, stream, number):
        self.stream, self.number, self.is_over = stream, number, False

    def synchronize(self):
        self.is_over = True


@pytest.fixture
def compute(monkeypatch):
    """Act a device: give the stream on which it computes."""
    stream, empty = Acted(), torch.empty

    @contextmanager
    def on(other):
        yield

    def pinned(*size, pin_memory=False, **kwargs):
        if pin_memory:
            stream.allocated += 1
        return empty(*size, **kwargs)

    stream.allocated = 0
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, on: None)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *where, **how: tensor.clone())
    monkeypatch.setattr(torch, "empty", pinned)
    return stream


@pytest.fixture
def pictures():
    random = np.random.default_rng(1)
    wide, flat = (random.integers(0, 256, shape, np.uint8) for shape in ((31, 4, 4, 3), (31, 4, 4)))
    return [ShardedArray([wide[:9], wide[9:]]), ShardedArray([flat])]


def test_batches_come_whole_and_in_order_through_places_that_are_used_again(compute, pictures, monkeypatch):
    wanted = [np.arange(31), np.arange(31)[::-1]]
    places = [PinnedPlace(CPU, Acted()) for _ in range(3)]
    streamed = StreamedPictures(pictures, wanted, CPU)
    expected = [[kind.clone() for kind in batch] for batch in streamed.read(PARTS)]
    monkeypatch.setattr(streamed, "_open_places", lambda: places)
    for batch, kinds in zip(streamed.read(PARTS), expected, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(batch, kinds, strict=True))
    # A last batch that is larger needs a larger place.
    assert compute.allocated == len(pictures) * (len(places) + 1)
    assert len(compute.waited_for) == len(PARTS)


def test_a_place_is_filled_again_only_when_the_device_is_done_with_what_was_in_it(compute, pictures):
    place, rows = PinnedPlace(CPU, Acted()), [np.arange(3), np.arange(3)]
    sent = place.send(pictures, rows)
    assert place.receive(sent) is sent
    (arrived,) = compute.waited_for
    place.leave()
    left = place._left
    assert (left.stream, left.is_over, arrived.is_over) == (compute, False, False)
    place.send(pictures, rows)
    assert left.is_over
