"""Batches that do not fit into memory: cut into parts, as small as it takes."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol, TypeVar

import torch

from maskdepth.data.batches.batches import Batch
from maskdepth.device import is_out_of_memory, is_recording
from maskdepth.training.ranks import Ranks

Result = TypeVar("Result")

# Batch normalisation of one sample at a scale of one pixel has nothing to average over.
_SMALLEST_PART = 2


class Cut(Protocol):
    """What remembers how many samples are seen at a time, and who shares the work."""

    micro_batch: int
    ranks: Ranks


@dataclass
class Limit:
    """How many samples are seen at a time where nothing depends on it, which each process finds for itself."""

    micro_batch: int
    ranks: Ranks = field(default_factory=Ranks)


def cut_batch(batch: Batch, most: int) -> Iterator[Batch]:
    """Cut a batch into parts of almost equal size: at most so many samples each, but none of one sample."""
    size = len(batch.mask)
    count = max(1, min(math.ceil(size / most), size // _SMALLEST_PART))
    for start, end in pairwise(size * part // count for part in range(count + 1)):
        yield batch.part(start, end)


def within_memory(state: Cut, work: Callable[[], Result]) -> Result:
    """Do `work`; whenever memory runs out, do it again with half as many samples at a time, and keep to that.

    Raises:
        MemoryError: Not even two samples at a time fit, or several ranks share the work, which have to cut it alike.
    """
    while True:
        try:
            return work()
        except (MemoryError, RuntimeError) as error:
            # What is being recorded is not done yet, and cannot be done otherwise.
            if not is_out_of_memory(error) or is_recording():
                raise
            reason = str(error).partition("\n")[0]
        # Not before the exception is gone is what it holds given back.
        if state.ranks.size > 1:
            raise MemoryError(f"rank {state.ranks.rank}: {reason}; lower train.micro_batch, or start fewer processes")
        if state.micro_batch <= _SMALLEST_PART:
            raise MemoryError(
                f"{_SMALLEST_PART} samples at a time are too many ({reason}); lower data.image_size, or set model.name "
                "to a smaller network"
            )
        state.micro_batch = max(_SMALLEST_PART, state.micro_batch // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
