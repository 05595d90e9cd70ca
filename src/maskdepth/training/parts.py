"""A batch done in parts: what each part leaves is added up in their order, whichever process did it.

Samples are normalised together within a part, so that what is computed depends on how a batch is cut, a setting
(`train.micro_batch`), and not on how many processes share the parts. Sums of floats depend on their order: it is always
that of the parts.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import chain

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from maskdepth.data.batches.batches import Batch
from maskdepth.models.network import Network
from maskdepth.training.ranks import Ranks


def add_up_parts(
    network: Network,
    ranks: Ranks,
    parts: Sequence[Batch],
    work: Callable[[Batch, float], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """Leave in a network what the parts of a batch make of it: the sum of gradients, the mean of running statistics.

    Each part finds the running statistics as the step found them; one after the other would move them as many times as
    there are parts, and processes apart only by what each has seen.

    Args:
        network: Of which every rank holds the same copy, before and after.
        ranks: Who shares the parts.
        parts: All of the batch, on every rank.
        work: Does a part, given its share of the batch, (0, 1]: adds gradients to the network's, and returns terms by
            name, each () float32; both weighed by the share.

    Returns:
        The sum of each term.
    """
    size = sum(len(part.mask) for part in parts)
    weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    statistics = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var) if buffer is not None]
    found = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    names: list[str] = []

    def do(part: Batch) -> Tensor:
        """Do a part; give its gradients, statistics and terms in one piece."""
        network.zero_grad()
        for buffer, before in found:
            buffer.copy_(before)
        share = len(part.mask) / size
        terms = work(part, share)
        names[:] = terms
        left = chain(_gradients(weights), (buffer * share for buffer in statistics), terms.values())
        return torch.cat([values.detach().flatten() for values in left])

    total = reduce(torch.add, ranks.in_order(do, parts))
    places = [*_gradients(weights), *statistics]
    *sums, terms = torch.split(total, [place.numel() for place in places] + [len(names)])
    for place, values in zip(places, sums, strict=True):
        place.detach().copy_(values.view(place.shape))
    return dict(zip(names, terms.unbind(), strict=True))


def _gradients(weights: Sequence[Tensor]) -> list[Tensor]:
    """List the gradients that there are: a weight that no loss depends on has none."""
    return [weight.grad for weight in weights if weight.grad is not None]
