"""What people look at: a panel of four titled pictures, depth in colours, the object alone or before another scene."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]

# Of each picture in a panel, and the least width of one, in which its title has room [px].
_HEIGHT, _WIDTH = 480, 300
_TITLE, _GAP, _FONT = 34, 8, 20
_PAPER, _INK = (255, 255, 255), (0, 0, 0)
# Near is bright, as in the reports: some of the colours of magma, from near to far.
_COLOURS = (
    (252, 253, 191), (254, 194, 135), (251, 135, 97), (229, 80, 100), (181, 54, 122),
    (131, 38, 129), (81, 18, 124), (29, 17, 71), (0, 0, 4),
)  # fmt: skip
# A probability up to the one is air, and from the other on solid: as alpha it would let through where it only doubts.
_AIR, _SOLID = 0.35, 0.65
_STEPS = np.linspace(0, 255, len(_COLOURS))
_PALETTE = np.stack([np.interp(np.arange(256), _STEPS, channel) for channel in zip(*_COLOURS, strict=True)], 1)
_LEVELS = _PALETTE.round().astype(np.uint8)


def colour_depth(depth: Map) -> Pixels:
    """Colour depth (H, W), [0, 1], 0 near: (H, W, 3) RGB, near is bright."""
    colours: Pixels = _LEVELS[(depth * 255).round().astype(np.uint8)]
    return colours


def cut_out(composite: Pixels, mask_prob: Map) -> Pixels:
    """Give the object alone: (H, W, 4) RGBA; black where nothing of it shows.

    Args:
        composite: (H, W, 3) RGB.
        mask_prob: (H, W) probability of the object, [0, 1].
    """
    alpha = _make_firm(mask_prob)
    return np.dstack([composite * (alpha > 0)[..., None], alpha])


def fit_scene(scene: Image.Image, width: int, height: int) -> Image.Image:
    """Bring a scene to the size of another picture [px], cropped evenly where its shape is another one."""
    return ImageOps.fit(scene, (width, height), Image.Resampling.BICUBIC)


def paste_onto(scene: Image.Image, composite: Pixels, mask_prob: Map) -> Pixels:
    """Put the object of a composite (H, W, 3) before another scene of the same size: (H, W, 3) RGB."""
    alpha = Image.fromarray(_make_firm(mask_prob))
    return np.asarray(Image.composite(Image.fromarray(composite), scene, alpha))


def draw_panel(background: Pixels, composite: Pixels, mask: NDArray[np.bool_], depth: Map) -> Pixels:
    """Draw two rows of two titled pictures: background and composite, object alone and depth in colours.

    Args:
        background: (H, W, 3) RGB.
        composite: (H, W, 3) RGB.
        mask: (H, W) the object; what is not object is dimmed.
        depth: (h, w) of the whole picture, [0, 1], 0 near.

    Returns:
        RGB, over 960 px high.
    """
    height, width = mask.shape
    size = max(1, round(_HEIGHT * width / height)), _HEIGHT
    dimmed = np.where(mask[..., None], composite, composite // 4)
    levels = Image.fromarray((depth * 255).round().astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    parts = [
        ("background", _scale(background, size)),
        ("composite", _scale(composite, size)),
        (f"mask: object {100 * mask.mean():.1f} % of the picture", _scale(dimmed, size)),
        ("depth: near is bright", Image.fromarray(_LEVELS[np.asarray(levels)])),
    ]
    cell = max(size[0], _WIDTH) + _GAP, _HEIGHT + _TITLE
    page = Image.new("RGB", (2 * cell[0] + _GAP, 2 * cell[1] + _GAP), _PAPER)
    for position, (title, part) in enumerate(parts):
        left, top = _GAP + position % 2 * cell[0], position // 2 * cell[1]
        page.paste(_write(title), (left, top))
        page.paste(part, (left, top + _TITLE))
    return np.asarray(page)


def _make_firm(mask_prob: Map) -> Pixels:
    """Make alpha (H, W) of a probability."""
    alpha = (mask_prob - _AIR) * (255 / (_SOLID - _AIR))
    return alpha.clip(0, 255).round().astype(np.uint8)


def _scale(pixels: Pixels, size: tuple[int, int]) -> Image.Image:
    # A photograph is first brought to twice the size by averaging, for a third of the time.
    return Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


@lru_cache(maxsize=64)
def _write(title: str) -> Image.Image:
    """Write a line of text."""
    strip = Image.new("RGB", (_WIDTH, _TITLE), _PAPER)
    font = ImageFont.load_default(_FONT)
    ImageDraw.Draw(strip).text((0, _TITLE / 2), title, _INK, font, anchor="lm")
    return strip
