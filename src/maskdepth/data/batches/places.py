"""Where the pictures of a batch lie between their arrays and the device that computes.

Each batch in turn is sent by a thread that reads, then received and left by the thread that computes.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from maskdepth.data.arrays.arrays import ShardedArray


class Place(Protocol):
    """What a batch passes through."""

    def send(self, kinds: Sequence[ShardedArray], rows: Sequence[np.ndarray]) -> list[Tensor]:
        """Read the rows of each kind of picture; give them, which the receiver alone may look at."""

    def receive(self, sent: list[Tensor]) -> list[Tensor]:
        """Make sure that the work that follows finds the pictures."""

    def leave(self) -> None:
        """Say that the work with what was received has begun."""


class HostPlace:
    """The memory of the host itself, new for each batch."""

    def send(self, kinds: Sequence[ShardedArray], rows: Sequence[np.ndarray]) -> list[Tensor]:
        """Read pictures."""
        return [torch.from_numpy(kind.take(wanted)) for kind, wanted in zip(kinds, rows, strict=True)]

    def receive(self, sent: list[Tensor]) -> list[Tensor]:
        """Give what was read."""
        return sent

    def leave(self) -> None:
        """Do nothing: this place is never used again."""


class PinnedPlace:
    """Memory of the host from which a CUDA device fetches a batch by itself, while it computes another.

    It is not filled again before the device is done with the batch that was in it: no more are on their way than there
    are places, however far the host runs ahead.

    Args:
        device: Where the pictures are wanted.
        stream: On which they are fetched.
    """

    def __init__(self, device: torch.device, stream: torch.cuda.Stream) -> None:
        self._device, self._stream = device, stream
        self._held: list[Tensor] = []
        self._left: torch.cuda.Event | None = None

    def send(self, kinds: Sequence[ShardedArray], rows: Sequence[np.ndarray]) -> list[Tensor]:
        """Read pictures, and begin to move them."""
        if self._left:
            self._left.synchronize()
        if not self._held:
            self._held = [torch.empty(0, dtype=torch.uint8) for _ in kinds]
        sent = []
        for number, (kind, wanted) in enumerate(zip(kinds, rows, strict=True)):
            shape = (len(wanted), *kind.shape[1:])
            if self._held[number].numel() < math.prod(shape):
                self._held[number] = torch.empty(math.prod(shape), dtype=torch.uint8, pin_memory=True)
            here = self._held[number][: math.prod(shape)].view(shape)
            kind.take(wanted, out=here.numpy())
            with torch.cuda.stream(self._stream):
                sent.append(here.to(self._device, non_blocking=True))
        self._arrived = self._stream.record_event()
        return sent

    def receive(self, sent: list[Tensor]) -> list[Tensor]:
        """Let the work of this thread wait, on the device, until the pictures are there."""
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(self._arrived)
        for pictures in sent:
            pictures.record_stream(stream)
        return sent

    def leave(self) -> None:
        """Note how far the device has to come before this place is free."""
        self._left = torch.cuda.current_stream(self._device).record_event()
