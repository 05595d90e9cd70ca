"""Two drawn pictures that any network should learn by heart, and the few steps in which it must."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def learn_by_heart(model: nn.Module, pictures: Tensor, steps: int, learning_rate: float) -> tuple[float, float]:
    """Train on one batch; return the share of mask pixels that are right and the mean absolute error of depth.

    The masks are a corner and an off-centre block, depth is a ramp from left to right: a constant errs by 0.27 to 0.29.

    Args:
        model: Maps pictures to raw mask and depth scores.
        pictures: (2, C, S, S).
        steps: Updates.
        learning_rate: Of Adam.
    """
    side = pictures.shape[-1]
    mask = torch.zeros(2, 1, side, side)
    mask[0, :, : side // 2, : side // 2] = mask[1, :, side // 4 :, side // 2 :] = 1
    depth = torch.linspace(0, 1, side).expand_as(mask)
    optimizer = torch.optim.Adam(model.parameters(), learning_rate)
    for _ in range(steps):
        mask_logits, depth_logits = model(pictures)
        depth_error = (depth_logits.sigmoid() - depth).abs().mean()
        optimizer.zero_grad()
        (F.binary_cross_entropy_with_logits(mask_logits, mask) + depth_error).backward()
        optimizer.step()
    return ((mask_logits > 0) == mask.bool()).float().mean().item(), depth_error.item()


def outputs_change_with_the_background(model: nn.Module, pictures: Tensor) -> bool:
    """Tell whether another background (the first three channels) gives other scores of both heads."""
    model.eval()
    changed = pictures.clone()
    changed[:, :3] = 1 - changed[:, :3]
    return not any(torch.allclose(*scores) for scores in zip(model(pictures), model(changed), strict=True))
