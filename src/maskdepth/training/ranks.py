"""Several processes, the ranks, that train one network: each does some parts of every batch, and all add up all parts.

Each rank holds the whole network, reads the same batches in the same order and draws the same chance, so that after a
step all hold the same weights to the last bit, and any of their states is the state of the training. One collective
operation a step carries all that they tell one another; what it carries is in the order of the parts, which a sum
within the collective (`all_reduce`) would not keep.
"""

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from maskdepth.device import is_out_of_memory
from maskdepth.params import TrainParams
from maskdepth.training.states import Dependencies, tell_differences

Item = TypeVar("Item")

# How long ranks wait until all are here: one may start later than another, or read from a slower disk.
_MEETING = timedelta(minutes=5)


class Ranks:
    """The processes that share a training, of which this is one.

    Args:
        rank: The number of this one, [0, size); the first alone writes and speaks.
        size: How many there are.

    Attributes:
        asked: Tells by which signal this process was asked to stop, 0 while none was.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self.asked: Callable[[], int] = lambda: 0
        self._asked = torch.zeros(1)  # of each rank, as of the last collective operation

    @property
    def stop(self) -> int:
        """The signal that ends this training, 0 for none; all ranks learn of it between the same two steps."""
        return self.asked() if self.size == 1 else int(self._asked.max())

    def in_order(self, function: Callable[[Item], Tensor], items: Sequence[Item]) -> Iterator[Tensor]:
        """Give what `function` makes of each item, in their order, while each rank does its share of them.

        Args:
            function: Makes (N) numbers, as many of each item.
            items: The same on all ranks, at least one.

        Raises:
            ChildProcessError: Another rank has died, or does not answer.
        """
        if self.size == 1:
            yield from map(function, items)
            return
        bounds = [len(items) * rank // self.size for rank in range(self.size + 1)]
        # A rank without an item of its own would only wait. It does the last one for nothing, so that all know as much.
        mine = [function(item) for item in items[bounds[self.rank] : bounds[self.rank + 1]] or items[-1:]]
        sent = mine[0].new_zeros(math.ceil(len(items) / self.size), len(mine[0]) + 1)
        sent[: len(mine), :-1] = torch.stack(mine)
        sent[:, -1] = self.asked()
        received = [torch.empty_like(sent) for _ in range(self.size)]
        with self._among_others():
            dist.all_gather(received, sent)
        self._asked = torch.stack([of_rank[0, -1] for of_rank in received])
        for rank, of_rank in enumerate(received):
            yield from of_rank[: bounds[rank + 1] - bounds[rank], :-1]

    def require_same(self, training: Dependencies) -> None:
        """Make sure that all ranks train the same.

        Args:
            training: What the weights depend on, by name.

        Raises:
            ValueError: A rank differs from the first one; names it, and what differs.
            ChildProcessError: Another rank has died, or does not answer.
        """
        if self.size == 1:
            return
        theirs: list[Any] = [None] * self.size
        with self._among_others():
            dist.all_gather_object(theirs, training)
        for rank, other in enumerate(theirs):
            if told := tell_differences(theirs[0], other):
                raise ValueError(f"rank {rank} would train something else than rank 0: {told}; give all the same")

    def of_first(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Give all ranks the state of the first: tensors, on the CPU, and plain values, nested.

        Raises:
            ChildProcessError: Another rank has died, or does not answer.
        """
        content: list[bytes | None] = [None]
        if self.rank == 0:
            buffer = io.BytesIO()
            torch.save(state, buffer)
            content = [buffer.getvalue()]
        with self._among_others():
            dist.broadcast_object_list(content, src=0)
        assert content[0] is not None
        received: dict[str, Any] = torch.load(io.BytesIO(content[0]), map_location="cpu", weights_only=True)
        return received

    def leave(self) -> None:
        """Part from the others when all have come here: a launcher ends those that are left when one has failed."""
        if self.size == 1:
            return
        with self._among_others():
            dist.barrier()
            dist.destroy_process_group()

    @contextmanager
    def _among_others(self) -> Iterator[None]:
        with blaming_others(f"rank {self.rank} of {self.size}"):
            yield


@contextmanager
def blaming_others(who: str) -> Iterator[None]:
    """Say in a sentence what goes wrong between processes, for which each library has an error of its own."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        # Gloo begins with the line of its source, and ends with advice.
        reason = re.sub(r"^\[\S*\] ", "", str(error).partition("\n")[0]).partition(". ")[0]
        raise ChildProcessError(
            f"{who} has lost another rank, which died, hangs, or is out of reach ({reason}); run again to go on from "
            "the last saved state"
        ) from error


def join_ranks(rank: int, size: int, attempt: str, device: torch.device, patience: float) -> Ranks:
    """Meet the other ranks where the environment says (MASTER_ADDR, MASTER_PORT).

    Args:
        rank: The number of this one.
        attempt: Names this start of the ranks: the place still knows where those of an earlier one were, now dead.
        size: How many there are; nobody is waited for where it is 1.
        device: Where this rank computes.
        patience: How long it waits for another at most, once all are here [s].

    Raises:
        ChildProcessError: They did not meet in time.
    """
    if size > 1:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        with blaming_others(f"rank {rank} of {size}"):
            place, _, _ = next(rendezvous("env://", rank, size, timeout=_MEETING))
            place = PrefixStore(f"attempt {attempt}", place)
            place.set(f"rank {rank}", "here")
            place.wait([f"rank {other}" for other in range(size)], _MEETING)
            # What is no tensor of a step goes over the host.
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(
                backend, store=place, rank=rank, world_size=size, timeout=timedelta(seconds=patience)
            )
    return Ranks(rank, size)


def check_shares(size: int, params: TrainParams) -> None:
    """Make sure that ranks can share a batch evenly.

    Args:
        size: How many there are.
        params: Section train of params.yaml.

    Raises:
        ValueError: They do not divide its parts.
    """
    if params.parts % size:
        raise ValueError(
            f"train.micro_batch: {params.micro_batch} cuts a batch of {params.batch_size} into {params.parts}, which "
            f"{size} processes cannot share evenly; set it to {max(2, params.batch_size // size)}, which changes what "
            "batch normalisation sees, or start as many processes as divide the parts"
        )
