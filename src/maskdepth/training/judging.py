"""What a network says of a batch and how wrong that is: the part of a step that torch's compiler may make faster.

Compiled, the many small kernels of a forward and a backward pass become fewer that move less memory. Making them takes
the compiler a minute or two, so that a training has to be long before they pay.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

from maskdepth.data.batches.batches import Batch
from maskdepth.losses.catalogue import Criterion
from maskdepth.losses.ssim import window_matrix
from maskdepth.models.network import Network

Judge = Callable[[Network, Criterion, str, Batch], list[dict[str, Tensor]]]

# [s] What is left of a training, from which on it earns back what the compiler takes.
_LONG = 600.0
# What one epoch may be longer than another for no reason.
_SPREAD = 1.02
# A loss of the compiled program may differ by so much from the plain one's, which is what bfloat16 leaves of it.
_TOLERANCE = 1e-2


class Judging:
    """How a training judges its batches: plainly, or compiled where much is left of it and that turns out to be faster.

    Attributes:
        judge: What judges a batch of the usual size.
        why_plain: Why that is `judge`, and stays so; "" while it may change, or has.
    """

    def __init__(self, why_plain: str) -> None:
        self.judge: Judge = judge
        self.why_plain = why_plain
        self._plain_seconds = math.inf

    def reconsider(self, seconds: float, epochs_left: int, compile_it: Callable[[], Judge]) -> bool:
        """Decide how the next epoch judges.

        Args:
            seconds: What the training part of the last epoch took [s].
            epochs_left: How many are to come.
            compile_it: Gives the compiled way, or raises RuntimeError.

        Returns:
            Whether it changes.
        """
        if self.why_plain:
            return False
        if self.judge is not judge:
            if seconds <= self._plain_seconds * _SPREAD:
                return False
            self.why_plain = f"an epoch took {seconds:.0f} s, and {self._plain_seconds:.0f} s before"
            self.judge = judge
            return True
        if seconds * epochs_left < _LONG:
            return False
        try:
            self.judge = compile_it()
        except RuntimeError as error:
            self.why_plain = str(error).partition("\n")[0] or type(error).__name__
            return False
        self._plain_seconds = seconds
        return True


def judge(network: Network, criterion: Criterion, precision: str, batch: Batch) -> list[dict[str, Tensor]]:
    """Give the loss terms of each prediction that a network makes of a batch.

    Args:
        network: In training or not.
        criterion: Prediction, mask, depth to the weighed sum `loss` and its unweighted terms by name.
        precision: "bf16" or "fp32", of the forward pass.
        batch: As it was read, augmented or not.
    """
    with autocast(batch.mask.device, precision):
        predictions = network.predict_each(*batch.inputs())
    return [criterion(prediction, *batch.targets()) for prediction in predictions]


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Give the context of a network's forward pass: bfloat16 where `precision` is "bf16", else float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def compile_judge(
    network: Network, criterion: Criterion, precision: str, batch: Batch, backend: str = "inductor"
) -> Judge:
    """Compile `judge` for batches of one size, forward and backward, and make sure that it says the same.

    Nothing of the network is changed, and it is left without gradients.

    Args:
        network: In training.
        criterion: As of `judge`.
        precision: As of `judge`.
        batch: Of that size.
        backend: Of torch's compiler.

    Returns:
        What takes the place of `judge` for batches of this size.

    Raises:
        RuntimeError: It cannot be compiled, or its losses are others; says why.
    """
    # Made once and brought to the device, which a step that is recorded as a CUDA graph could not do again.
    torch.compiler.assume_constant_result(window_matrix.__wrapped__)  # type: ignore[no-untyped-call]
    compiled: Judge = torch.compile(judge, fullgraph=True, dynamic=False, backend=backend)
    nameless = batch._replace(sample_ids=[])  # the compiler would make a program for each list of names
    losses = []
    for way in (judge, compiled):
        with _unchanged(network), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's, about what is made once: it makes it once more
            loss = torch.stack([terms["loss"] for terms in way(network, criterion, precision, nameless)]).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.item())
    if not abs(losses[1] / losses[0] - 1) <= _TOLERANCE:
        raise RuntimeError(f"its loss is {losses[1]:g} in place of {losses[0]:g}")
    return lambda network, criterion, precision, batch: compiled(
        network, criterion, precision, batch._replace(sample_ids=[])
    )


@contextmanager
def _unchanged(network: Network) -> Iterator[None]:
    """Take back what a step changes of a network before its weights, also where it fails."""
    kept = {name: buffer.clone() for name, buffer in network.named_buffers()}
    try:
        yield
    finally:
        network.zero_grad()
        for name, buffer in network.named_buffers():
            buffer.copy_(kept[name])
