"""Two drawn pictures that any network should learn by heart."""

import torch
from torch.nn import functional

from maskdepth.models.network import Network


def learn_by_heart(network: Network, side: int, steps: int, learning_rate: float) -> tuple[float, float]:
    """Train on one batch; return the share of mask pixels that are right and the mean absolute error of depth.

    The masks are a corner and an off-centre block, depth is a ramp from left to right: a constant errs by 0.27 to 0.29.

    Args:
        network: Changed.
        side: Of the pictures [px].
        steps: Updates, at most.
        learning_rate: Of Adam.
    """
    background, composite = torch.rand(2, 2, 3, side, side, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(2, 1, side, side)
    mask[0, :, : side // 2, : side // 2] = mask[1, :, side // 4 :, side // 2 :] = 1
    depth = torch.linspace(0, 1, side).expand_as(mask)
    optimizer = torch.optim.Adam(network.train().parameters(), learning_rate)
    right, error = 0.0, 1.0
    for _ in range(steps):
        prediction = network(background, composite)
        depth_error = (prediction.depth - depth).abs().mean()
        right, error = ((prediction.mask_logits > 0) == mask.bool()).float().mean().item(), depth_error.item()
        if right > 0.97 and error < 0.08:
            break
        optimizer.zero_grad()
        (functional.binary_cross_entropy_with_logits(prediction.mask_logits, mask) + depth_error).backward()
        optimizer.step()
    return right, error
