"""Changes of a training batch that leave its labels true; one generator decides all: a resumed run repeats them."""

import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from maskdepth.data.batches.batches import ESTIMATED_DEPTH, UNKNOWN_DEPTH, Batch

# Cutout: one hole per picture with this share of the area and this ratio of width to height.
_HOLE_AREA = (0.02, 0.1)
_HOLE_RATIO = (0.5, 2.0)
# Grey level of the hole, as student project mshilpaa fills it.
_HOLE_VALUE = 153
_HOLE_SHARE = 0.5

# Scene: share of the samples; of a crop the area, as a share of the picture's; change of light: exponent, factor, and
# factor of the distance from grey, all even in the logarithm.
_SCENE_SHARE = 0.5
_CROP_AREA = (0.35, 1.0)
_GAMMA, _GAIN, _SATURATION = 1.4, 1.25, 1.6
# Share of the object, by its area, that a crop has to show, and the width of its edge [px]. Range of the depth behind
# it, by its quantiles, and how many times it may be stretched: more than that is a wall and the rounding of its levels.
_SHOWN_SHARE, _SOFT_EDGE = 0.5, 2
_RANGE = (0.01, 0.99)
_MOST_STRETCHED = 3.0

# Camera jitter: share of the samples. Of their backgrounds the largest shift [px] and change of light; of both pictures
# the strongest noise [grey levels], and the share that is compressed besides, at most so strongly: 1 is quality 50.
_JITTER_SHARE = 0.1
_LARGEST_SHIFT, _LARGEST_GAIN = 0.75, 0.04
_STRONGEST_NOISE = 8.0
_COMPRESSED_SHARE, _WEAKEST, _STRONGEST = 0.5, 0.1, 1.0
# Steps to which JPEG rounds the waves of an 8 x 8 block at quality 50, by rows (ITU-T T.81, table K.1).
_BLOCK = 8
_STEPS = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)

# Depth of backgrounds: share of the samples that get an estimate of it.
_ESTIMATED_SHARE = 2 / 3
# An estimate: side to which it is reduced and enlarged again [px]; bumps by how many fit side by side, and their
# height; the strongest change of its range, as a share of it, and of its middle. Depth is in [0, 1].
_BLURRED_SIDE = 10
_BUMPS = {4: 0.06, 12: 0.06}
_LARGEST_STRETCH, _LARGEST_OFFSET = 0.4, 0.1


def augment(batch: Batch, names: Iterable[str], generator: torch.Generator) -> Batch:
    """Apply the named changes, always in the order of the table, to a copy of the batch.

    The depth of backgrounds, where a batch has it, is always disturbed as well: a network that only ever saw it exact
    would trust any other.

    Args:
        batch: What was read.
        names: Keys of AUGMENTATIONS.
        generator: Of the batch's device; every random choice is drawn from it there, so that nothing has to come over.
    """
    for name, change in AUGMENTATIONS.items():
        if name in names:
            batch = change(batch, generator)
    return batch if batch.background_depth is None else disturb_depth(batch, generator)


def flip(batch: Batch, generator: torch.Generator) -> Batch:
    """Mirror half of the samples left to right, all pictures of a sample together."""
    chosen = _draw(batch, generator) < 0.5
    mirrored: dict[str, Any] = {
        name: torch.where(chosen, picture.flip(-1), picture)
        for name, picture in batch._asdict().items()
        if isinstance(picture, Tensor)
    }
    return batch._replace(**mirrored)


def scene(batch: Batch, generator: torch.Generator) -> Batch:
    """Make another scene of half of the samples: a part of it, enlarged, in another light; all pictures alike.

    Depth is relative, to each picture its own: what lies behind the object gets the range that it had in the whole
    picture, and the object moves with it. A part stays a whole where that would stretch noise, or where most of the
    object would be lost.

    Reference:
        Eigen, Puhrsch and Fergus 2014, Depth map prediction from a single image using a multi-scale deep network,
        https://arxiv.org/abs/1406.2283; their depth is in metres, and is divided by the scale of the crop.
    """
    is_chosen = _draw(batch, generator) < _SCENE_SHARE
    side = _between(*_CROP_AREA, _draw(batch, generator)).sqrt()
    down, right = ((1 - side) * (2 * _draw(batch, generator) - 1) for _ in range(2))
    gamma, gain, saturation = (
        (math.log(most) * (2 * _draw(batch, generator) - 1)).exp() for most in (_GAMMA, _GAIN, _SATURATION)
    )
    kinds = [batch.background, batch.composite, batch.mask, batch.depth]
    if batch.background_depth is not None:
        kinds.append(batch.background_depth[:, :1])
    part = _crop(torch.cat(kinds, 1).float(), side, down, right)
    background, composite, mask, *depths = torch.split(part, [kind.shape[1] for kind in kinds], 1)
    mask = mask > 0.5
    (low, reach), (cut_low, cut_reach) = _depth_range(batch.depth, batch.mask > 0), _depth_range(depths[0], mask)
    shown = mask.sum((2, 3), keepdim=True) * side**2
    is_seen = shown >= _SHOWN_SHARE * batch.mask.sum((2, 3), keepdim=True)
    is_chosen = is_chosen & is_seen & (reach > 0) & (reach < _MOST_STRETCHED * cut_reach)
    lit = [_relight(picture, gamma, gain, saturation) for picture in (background, composite)]
    maps = [low + (levels - cut_low) * (reach / cut_reach.clamp(min=1)) for levels in depths]
    new = [picture.round().clamp(0, 255).byte() for picture in (*lit, mask.float(), *maps)]
    made = [torch.where(is_chosen, *pair) for pair in zip(new, kinds, strict=True)]
    background, composite, mask, depth, *behind = made
    changed = batch._replace(background=background, composite=composite, mask=mask, depth=depth)
    if batch.background_depth is None:
        return changed
    return changed._replace(background_depth=torch.cat([*behind, batch.background_depth[:, 1:]], 1))


def camera_jitter(batch: Batch, generator: torch.Generator) -> Batch:
    """Make two photographs of some samples: what a registration leaves of a motion and of the light, noise, and JPEG.

    Composites whose background is the very picture that was pasted on differ from it in the object alone. A network
    that saw no others takes whatever differs for an object.
    """
    is_chosen = _draw(batch, generator) < _JITTER_SHARE
    down, right = (_LARGEST_SHIFT * (2 * _draw(batch, generator) - 1) for _ in range(2))
    gain = 1 + _LARGEST_GAIN * (2 * _draw(batch, generator, channels=3) - 1)
    background = _shift(batch.background.float(), down, right) * gain
    taken = [_take_photograph(picture, batch, generator) for picture in (background, batch.composite.float())]
    kept = batch.background, batch.composite
    background, composite = (torch.where(is_chosen, new, old) for new, old in zip(taken, kept, strict=True))
    return batch._replace(background=background, composite=composite)


def cutout(batch: Batch, generator: torch.Generator) -> Batch:
    """Paint one grey hole into half of the samples, at the same place in both pictures; the labels stay whole.

    Reference:
        DeVries and Taylor 2017, Improved Regularization of Convolutional Neural Networks with Cutout,
        https://arxiv.org/abs/1708.04552.
    """
    height, width = batch.mask.shape[-2:]
    is_cut = _draw(batch, generator) < _HOLE_SHARE
    area = _between(*_HOLE_AREA, _draw(batch, generator)) * (height * width)
    # Even in the logarithm: a hole is as often twice as wide as high as the other way round.
    ratio = _between(math.log(_HOLE_RATIO[0]), math.log(_HOLE_RATIO[1]), _draw(batch, generator)).exp()
    is_row = _is_within(height, (area / ratio).sqrt(), _draw(batch, generator)).unsqueeze(-1)
    is_column = _is_within(width, (area * ratio).sqrt(), _draw(batch, generator)).unsqueeze(-2)
    is_hole = is_cut & is_row & is_column  # (B, 1, H, W)
    background, composite = (
        picture.masked_fill(is_hole, _HOLE_VALUE) for picture in (batch.background, batch.composite)
    )
    return batch._replace(background=background, composite=composite)


def disturb_depth(batch: Batch, generator: torch.Generator) -> Batch:
    """Show the depth of some backgrounds as it is, and to most of the samples an estimate of it.

    An estimate, as of a network, is blurred, has bumps as wide as furniture and as rooms, and another range.
    """
    assert batch.background_depth is not None
    levels, known = batch.background_depth.chunk(2, dim=1)
    is_estimated = _draw(batch, generator) < _ESTIMATED_SHARE
    estimate = (_estimate(levels.float() / 255, generator) * 255).round().byte()
    levels = torch.where(is_estimated, estimate, levels)
    told = torch.where(is_estimated, known.clamp(max=ESTIMATED_DEPTH), known)
    shown = torch.cat([levels, told], 1).masked_fill(known == UNKNOWN_DEPTH, UNKNOWN_DEPTH)
    return batch._replace(background_depth=shown)


AUGMENTATIONS: dict[str, Callable[[Batch, torch.Generator], Batch]] = {
    "flip": flip,
    "scene": scene,
    "camera_jitter": camera_jitter,
    "cutout": cutout,
}


def _draw(batch: Batch, generator: torch.Generator, channels: int = 1) -> Tensor:
    """Draw (B, channels, 1, 1) uniform numbers, [0, 1)."""
    shape = (len(batch.mask), channels, 1, 1)
    return torch.rand(shape, generator=generator, device=batch.mask.device)


def _between(low: float, high: float, chance: Tensor) -> Tensor:
    return low + (high - low) * chance


def _crop(pictures: Tensor, side: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Cut a part out of pictures, (B, C, H, W) float, and enlarge it to their size.

    Args:
        pictures: Of any kinds.
        side: (B, 1, 1, 1) of the part, as a share of the picture's, (0, 1].
        down: (B, 1, 1, 1) its middle, [-1, 1] from the upper to the lower border.
        right: (B, 1, 1, 1) likewise.
    """
    nothing = torch.zeros_like(side)
    where = torch.cat([side, nothing, right, nothing, side, down], -1).view(-1, 2, 3)
    places = functional.affine_grid(where, list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, places, padding_mode="border", align_corners=False)


def _depth_range(depth: Tensor, is_object: Tensor) -> tuple[Tensor, Tensor]:
    """Find where the depth behind the object begins, and how far it reaches: (B, 1, 1, 1) each, [levels].

    Args:
        depth: (B, 1, H, W) [levels].
        is_object: (B, 1, H, W) bool; these pixels do not count. Where all are, it reaches nowhere.
    """
    # The soft edge of the object is as near as neither.
    is_near_object = functional.max_pool2d(is_object.float(), 2 * _SOFT_EDGE + 1, stride=1, padding=_SOFT_EDGE) > 0
    levels = depth.float().masked_fill(is_near_object, math.inf).flatten(1).sort(1).values
    last = (~is_near_object).flatten(1).sum(1, keepdim=True) - 1
    low, high = (levels.gather(1, (share * last).long().clamp(min=0)).view(-1, 1, 1, 1) for share in _RANGE)
    return low, (high - low).nan_to_num(0)


def _relight(picture: Tensor, gamma: Tensor, gain: Tensor, saturation: Tensor) -> Tensor:
    """Change the light of (B, 3, H, W) levels, [0, 255], by (B, 1, 1, 1) exponents and factors."""
    lit = (picture / 255) ** gamma * (255 * gain)
    return torch.lerp(lit.mean(1, keepdim=True), lit, saturation)


def _is_within(side: int, length: Tensor, chance: Tensor) -> Tensor:
    """Put one hole of a length into each side, anywhere, and tell which pixels it covers.

    Args:
        side: Of the picture [px].
        length: (B, 1, 1, 1) of the hole [px]; rounded, at least one.
        chance: (B, 1, 1, 1) uniform, [0, 1): where.

    Returns:
        (B, 1, side) bool.
    """
    length = length.round().clamp(1, side)
    start = (chance * (side - length + 1)).floor()
    pixels = torch.arange(side, device=chance.device)
    return ((pixels >= start) & (pixels < start + length)).squeeze(2)


def _estimate(depth: Tensor, generator: torch.Generator) -> Tensor:
    """Make of exact depth, (B, 1, H, W), [0, 1], what another eye might see of it, strongly or hardly changed."""

    def uniform() -> Tensor:
        return torch.rand((len(depth), 1, 1, 1), generator=generator, device=depth.device)

    def bumps(side: int) -> Tensor:
        drawn = torch.randn((len(depth), 1, side, side), generator=generator, device=depth.device)
        return _enlarge(drawn, depth)

    blurred = _enlarge(functional.interpolate(depth, size=(_BLURRED_SIDE, _BLURRED_SIDE), mode="area"), depth)
    seen = torch.lerp(depth, blurred, uniform())
    strength = uniform()
    for side, height in _BUMPS.items():
        seen = seen + strength * height * bumps(side)
    middle = seen.mean((1, 2, 3), keepdim=True)
    gain, shift = 1 + _LARGEST_STRETCH * (2 * uniform() - 1), _LARGEST_OFFSET * (2 * uniform() - 1)
    return (middle + gain * (seen - middle) + shift).clamp(0, 1)


def _enlarge(small: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(small, size=like.shape[-2:], mode="bicubic", align_corners=False)


def _take_photograph(light: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
    """Add a sensor's noise to (B, 3, H, W) levels, [0, 255], and compress some of them: uint8."""
    noise = torch.randn(light.shape, generator=generator, device=light.device)
    seen = light + _STRONGEST_NOISE * _draw(batch, generator) * noise
    is_compressed = _draw(batch, generator) < _COMPRESSED_SHARE
    strength = _between(_WEAKEST, _STRONGEST, _draw(batch, generator))
    return torch.where(is_compressed, _compress(seen, strength), seen).round().clamp(0, 255).byte()


def _compress(levels: Tensor, strength: Tensor) -> Tensor:
    """Do to each channel what JPEG does to brightness: round the cosine waves of blocks of 8 x 8 pixels.

    Args:
        levels: (B, C, H, W), [0, 255].
        strength: (B, 1, 1, 1) factor of the steps that are rounded to.
    """
    height, width = levels.shape[-2:]
    padded = functional.pad(levels - 128, (0, -width % _BLOCK, 0, -height % _BLOCK), mode="replicate")
    rows, columns = (side // _BLOCK for side in padded.shape[-2:])
    blocks = padded.reshape(*padded.shape[:2], rows, _BLOCK, columns, _BLOCK).transpose(3, 4)  # (B, C, h, w, 8, 8)
    waves, table = _cosines(levels.device)
    steps = (table * strength).clamp(min=1)[:, :, None, None]
    rounded = (waves @ blocks @ waves.T / steps).round() * steps
    whole: Tensor = (waves.T @ rounded @ waves).transpose(3, 4).reshape(padded.shape)
    return whole[..., :height, :width] + 128


@cache
def _cosines(device: torch.device) -> tuple[Tensor, Tensor]:
    """Give the discrete cosine transform of 8 values, a wave a row, and the steps of JPEG, (1, 8, 8) once a device."""
    position = torch.arange(_BLOCK, dtype=torch.float32, device=device)
    waves = torch.cos((2 * position + 1) * position.unsqueeze(1) * (math.pi / (2 * _BLOCK))) / 2
    waves[0] /= math.sqrt(2)
    return waves, torch.tensor(_STEPS, dtype=torch.float32, device=device).unsqueeze(0)


def _shift(pictures: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Move pictures by parts of a pixel; what comes in mirrors the border.

    Args:
        pictures: (B, C, H, W) float.
        down: (B, 1, 1, 1) [px].
        right: (B, 1, 1, 1) likewise.
    """
    height, width = pictures.shape[-2:]
    still = torch.eye(2, 3, device=pictures.device).expand(len(pictures), 2, 3)
    places = functional.affine_grid(still, list(pictures.shape), align_corners=False)
    # The grid's unit is half a picture, and it says where what is seen comes from.
    offset = torch.cat([right * (2 / width), down * (2 / height)], -1)
    return functional.grid_sample(
        pictures, places - offset, mode="bicubic", padding_mode="reflection", align_corners=False
    )
