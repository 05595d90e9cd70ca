"""A step of training recorded once and replayed: a CUDA graph, as this process starts kernels slower than they run.

What is recorded may look at no value of its device, and finds all that changes from step to step where it was: the
batch in buffers, the learning rate in a tensor, chance in a generator that the graph knows.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from maskdepth.data.batches.batches import Batch

Work = Callable[[Batch, torch.Generator], Tensor]

# Steps that are done for real before one is recorded: they make what is made once, and let cuDNN choose its kernels.
_WARM_UP = 3


class Replay:
    """Does steps: one by one, or on a CUDA device, once it is recorded, as one graph. An uneven batch is always eager.

    Args:
        work: The step: a batch and the generator of its chance in, a tensor of values out. It is called again to record
            it, so that all it does has to be done on the device.
        optimizer: Whose steps they are.
        device: Where.
        why_eager: Why nothing is to be recorded; "" lets it be.
    """

    def __init__(self, work: Work, optimizer: Optimizer, device: torch.device, why_eager: str) -> None:
        self.why_eager = why_eager if device.type == "cuda" else "not a CUDA device"
        self._work, self._optimizer, self._device = work, optimizer, device
        self._generator = torch.Generator(device)
        self._done = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batch: Batch | None = None
        if not self.why_eager:
            self._rate = torch.zeros((), device=device)
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, batch: Batch, seed: int) -> Tensor:
        """Do one step.

        Args:
            batch: As it was read.
            seed: Of its chance.

        Returns:
            What the work returns; the next step may write over it.
        """
        self._generator.manual_seed(seed)
        if not self.why_eager and self._graph is None and self._done >= _WARM_UP:
            self._record(batch)
        self._generator.manual_seed(seed)
        if self._graph is None or self._batch is None or len(batch.mask) != len(self._batch.mask):
            self._done += 1
            return self._work(batch, self._generator) if self.why_eager else self._work_aside(batch)
        for place, picture in zip(_pictures(self._batch), _pictures(batch), strict=True):
            place.copy_(picture)
        self._rate.fill_(self._optimizer.param_groups[0]["lr"])
        self._graph.replay()
        return self._values

    def _work_aside(self, batch: Batch) -> Tensor:
        """Do one step on the stream on which one is recorded: what is made once is then at home there."""
        here = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            values = self._work(batch, self._generator)
        here.wait_stream(self._stream)
        return values

    def _record(self, batch: Batch) -> None:
        """Record the step of batches of this size, doing nothing of it; where that fails, say why and be eager."""
        copies: dict[str, Any] = {
            name: picture.clone() for name, picture in batch._asdict().items() if isinstance(picture, Tensor)
        }
        held = batch._replace(**copies)
        graph = torch.cuda.CUDAGraph()
        try:
            graph.register_generator_state(self._generator)
            # Other threads of this process may go on calling CUDA meanwhile, such as the one that reads batches.
            with (
                rate_from(self._optimizer, self._rate),
                torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
            ):
                self._values = self._work(held, self._generator)
        except RuntimeError as error:  # memory that ran out is one, too
            self.why_eager = str(error).partition("\n")[0] or type(error).__name__
            self._generator = torch.Generator(self._device)  # the other one still thinks that it is recorded
            return
        self._graph, self._batch = graph, held


@contextmanager
def rate_from(optimizer: Optimizer, rate: Tensor) -> Iterator[None]:
    """Let an optimiser read its learning rate from a tensor of its device, for as long as a step is recorded.

    The schedule goes on computing in numbers of the host, and so a saved state is the same on every device.
    """
    known = [(group["lr"], group.get("capturable")) for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = rate
        if "capturable" in group:
            group["capturable"] = True
    try:
        yield
    finally:
        for group, (number, capturable) in zip(optimizer.param_groups, known, strict=True):
            group["lr"] = number
            if "capturable" in group:
                group["capturable"] = capturable


def _pictures(batch: Batch) -> list[Tensor]:
    return [picture for picture in batch if isinstance(picture, Tensor)]
