"""A batch of drawn squares, to predict and to measure."""

import torch

from maskdepth.data.batches.batches import Batch


def square_batch(num_samples: int = 3, size: int = 32) -> Batch:
    """A bright square on a dark, noisy ground; depth is a ramp with the square nearer."""
    random = torch.Generator().manual_seed(0)
    background = torch.randint(0, 10, (num_samples, 3, size, size), generator=random, dtype=torch.uint8)
    mask = torch.zeros(num_samples, 1, size, size, dtype=torch.uint8)
    for sample in range(num_samples):
        mask[sample, 0, 8 + sample : 20, 8:20] = 1
    composite = torch.where(mask > 0, 230, background).byte()
    ramp = torch.linspace(255, 0, size).view(1, 1, size, 1).expand(num_samples, 1, size, size)
    depth = torch.where(mask > 0, ramp / 2, ramp).byte()
    return Batch(background, composite, mask, depth, [str(sample) for sample in range(num_samples)])


def cut(batch: Batch, size: int) -> list[Batch]:
    return [batch.part(start, start + size) for start in range(0, len(batch.mask), size)]
