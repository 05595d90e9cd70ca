"""Changes of a training batch that leave its labels true; a seed decides them all, so a resumed run repeats them."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from maskdepth.data.batches.batches import Batch

# Cutout: one hole per picture with this share of the area and this ratio of width to height.
_HOLE_AREA = (0.02, 0.1)
_HOLE_RATIO = (0.5, 2.0)
# Grey of the hole, [0, 1]; student project mshilpaa fills with 153 of 255.
_HOLE_VALUE = 0.6
_HOLE_SHARE = 0.5

# Background jitter: share of the samples shifted and how far [px], share lit otherwise and how much, strongest noise
# [grey levels].
_SHIFT_SHARE, _LARGEST_SHIFT = 0.5, 3
_GAIN_SHARE, _LARGEST_GAIN = 0.7, 0.15
_STRONGEST_NOISE = 0.02 * 255


def augment(batch: Batch, names: Iterable[str], seed: int) -> Batch:
    """Apply the named changes, always in the order of the table, to a copy of the batch.

    Args:
        batch: What was read.
        names: Keys of AUGMENTATIONS.
        seed: Decides every random choice; the same seed gives the same result on the same kind of device.
    """
    generator = torch.Generator(batch.mask.device).manual_seed(seed)
    for name, change in AUGMENTATIONS.items():
        if name in names:
            batch = change(batch, generator)
    return batch


def flip(batch: Batch, generator: torch.Generator) -> Batch:
    """Mirror half of the samples left to right, all four pictures of a sample together."""
    chosen = _draw(batch, generator) < 0.5
    background, composite, mask, depth = (torch.where(chosen, picture.flip(-1), picture) for picture in batch[:4])
    return Batch(background, composite, mask, depth, batch.sample_ids)


def background_jitter(batch: Batch, generator: torch.Generator) -> Batch:
    """Shift, light and noise of the background alone: its photograph never fits the composite's to the pixel.

    Without it a network that sees the difference of the two pictures fails at a shift of one pixel. The result is
    rounded to grey levels, as a camera's would be.
    """
    moved = _shift(batch.background, _draw(batch, generator), _draw(batch, generator), _draw(batch, generator))
    gain = 1 + _LARGEST_GAIN * (2 * _draw(batch, generator, channels=3) - 1)
    lit = torch.where(_draw(batch, generator) < _GAIN_SHARE, moved * gain, moved)
    strength = _STRONGEST_NOISE * _draw(batch, generator)
    noise = torch.randn(lit.shape, generator=generator, device=lit.device)
    return batch._replace(background=(lit + strength * noise).round().clamp(0, 255).byte())


def cutout(batch: Batch, generator: torch.Generator) -> Batch:
    """Paint one grey hole into half of the samples, at the same place in both pictures; the labels stay whole.

    Reference:
        DeVries and Taylor 2017, Improved Regularization of Convolutional Neural Networks with Cutout,
        https://arxiv.org/abs/1708.04552.
    """
    from kornia.augmentation import RandomErasing

    erase = RandomErasing(_HOLE_AREA, _HOLE_RATIO, value=_HOLE_VALUE, p=_HOLE_SHARE)
    inputs = torch.cat([batch.background, batch.composite], dim=1) / 255  # kornia takes no bytes
    # kornia draws from the global CPU generator only: lend it ours and give it back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        background, composite = (erase(inputs) * 255).round().byte().chunk(2, dim=1)
    return batch._replace(background=background, composite=composite)


AUGMENTATIONS: dict[str, Callable[[Batch, torch.Generator], Batch]] = {
    "flip": flip,
    "background_jitter": background_jitter,
    "cutout": cutout,
}


def _draw(batch: Batch, generator: torch.Generator, channels: int = 1) -> Tensor:
    """Draw (B, channels, 1, 1) uniform numbers, [0, 1)."""
    shape = (len(batch.mask), channels, 1, 1)
    return torch.rand(shape, generator=generator, device=batch.mask.device)


def _shift(picture: Tensor, chance: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Move some pictures by whole pixels, repeating the border.

    Args:
        picture: (B, C, H, W).
        chance: (B, 1, 1, 1) uniform, [0, 1); below the share of shifted samples one is moved.
        down: (B, 1, 1, 1) uniform, [0, 1), which becomes -3 ... 3 [px].
        right: (B, 1, 1, 1) likewise.
    """
    height, width = picture.shape[-2:]
    steps = 2 * _LARGEST_SHIFT + 1
    is_moved = chance < _SHIFT_SHARE
    down, right = (
        torch.where(is_moved, (part * steps).long() - _LARGEST_SHIFT, 0).view(-1, 1) for part in (down, right)
    )
    rows = (torch.arange(height, device=picture.device) - down).clamp(0, height - 1)  # (B, H)
    columns = (torch.arange(width, device=picture.device) - right).clamp(0, width - 1)  # (B, W)
    sample = torch.arange(len(picture), device=picture.device).view(-1, 1, 1)
    moved = picture.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]]  # (B, H, W, C)
    return moved.permute(0, 3, 1, 2)
