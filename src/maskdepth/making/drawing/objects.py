"""Drawn objects with soft alpha: people, animals, furniture and things, built of smooth rounded shapes.

Coordinates: x to the right from the object's middle, y up from its foot; 1 is the object's height. A shape is painted
over what is there, shaded as if it were inflated, and leaves its thickness in a relief, from which depth is made.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskdepth.making.drawing.textures import FloatArray, cloud_noise, random_colour

Generator = np.random.Generator
Point = tuple[float, float]

_GRID = 160  # [px] of the sheet an object is drawn on, before it is trimmed
_TALL = 1.08  # heights of the object that the sheet covers: a margin for soft edges


@dataclass(frozen=True)
class Cutout:
    """A drawn object, trimmed to what is visible.

    Attributes:
        picture: (height, width, 4) uint8 RGBA, colours not multiplied by alpha.
        relief: (height, width) float32 how far the surface comes forward, in object heights, 0 at its rim.
        share: Height as a share of the tallest object that fits a scene.
    """

    picture: npt.NDArray[np.uint8]
    relief: npt.NDArray[np.float32]
    share: float


def draw_object(kind: str, rng: Generator) -> Cutout:
    """Draw one object.

    Args:
        kind: One of `OBJECT_KINDS`.
        rng: Source of its colours and proportions.

    Raises:
        ValueError: The kind is not known.
    """
    if kind not in OBJECT_KINDS:
        raise ValueError(f"object kind {kind!r} is not known; known: {', '.join(OBJECT_KINDS)}")
    draw, share = OBJECT_KINDS[kind]
    sheet = _Sheet(rng)
    draw(sheet, rng)
    return sheet.trim(min(1.0, share * rng.uniform(0.85, 1.15)))


class _Sheet:
    """A square drawing sheet: paint on it in order, from back to front."""

    def __init__(self, rng: Generator) -> None:
        middle = (np.arange(_GRID, dtype=np.float32) + 0.5) / _GRID * _TALL
        self.x, self.y = np.meshgrid(middle - _TALL / 2, _TALL - middle - (_TALL - 1) / 2)
        self.colour = np.zeros((_GRID, _GRID, 3), dtype=np.float32)
        self.alpha = np.zeros((_GRID, _GRID), dtype=np.float32)
        self.relief = np.zeros((_GRID, _GRID), dtype=np.float32)
        side = rng.choice([-1, 1]) * rng.uniform(0.3, 0.7)
        self._light = (np.array([side, 0.55, 0.7]) / np.linalg.norm([side, 0.55, 0.7])).tolist()
        offset = rng.random(2)
        noise = cloud_noise(self.x * 0.5 + offset[0], self.y * 0.5 + offset[1]) - 0.5
        self._noise = noise.astype(np.float32)

    def limb(self, start: Point, end: Point, radii: Point, colour: FloatArray, fur: float = 0.1) -> None:
        """A rounded bar that tapers from one radius to the other."""
        along = np.subtract(end, start)
        x, y = self.x - start[0], self.y - start[1]
        share = np.clip((x * along[0] + y * along[1]) / max(along @ along, 1e-9), 0, 1)
        radius = radii[0] + (radii[1] - radii[0]) * share
        self._paint((x - along[0] * share) / radius, (y - along[1] * share) / radius, radius, colour, fur)

    def blob(self, middle: Point, half: Point, colour: FloatArray, turn: float = 0.0, fur: float = 0.1) -> None:
        """An ellipse of half width and half height `half`, turned to the left by `turn` [rad]."""
        x, y = self.x - middle[0], self.y - middle[1]
        cosine, sine = np.cos(turn), np.sin(turn)
        right, up = (x * cosine + y * sine) / half[0], (y * cosine - x * sine) / half[1]
        radius = np.full(x.shape, min(half))
        self._paint(right * cosine - up * sine, right * sine + up * cosine, radius, colour, fur)

    def slab(self, low: Point, high: Point, rounding: float, colour: FloatArray, fur: float = 0.1) -> None:
        """A rectangle with rounded edges, flat in its middle."""
        middle, half = np.add(low, high) / 2, np.subtract(high, low) / 2 - rounding
        x, y = self.x - middle[0], self.y - middle[1]
        beyond_x = np.sign(x) * np.maximum(np.abs(x) - half[0], 0) / rounding
        beyond_y = np.sign(y) * np.maximum(np.abs(y) - half[1], 0) / rounding
        self._paint(beyond_x, beyond_y, np.full(x.shape, rounding), colour, fur)

    def turned(self, profile: list[Point], colour: FloatArray, fur: float = 0.1) -> None:
        """A body of revolution from (y, radius) pairs, from its foot up."""
        heights, radii = zip(*profile, strict=True)
        radius = np.maximum(np.interp(self.y, heights, radii), 1e-4)
        beyond = np.maximum(self.y - heights[-1], 0) + np.maximum(heights[0] - self.y, 0)
        self._paint(self.x / radius, beyond * _GRID / _TALL, radius, colour, fur)

    def _paint(self, right: FloatArray, up: FloatArray, radius: FloatArray, colour: FloatArray, fur: float) -> None:
        """Paint where right^2 + up^2 < 1: both are the surface's slope towards its rim, which lies `radius` away."""
        right, up, radius = right.astype(np.float32), up.astype(np.float32), radius.astype(np.float32)
        square = right**2 + up**2
        rim = (1 - np.sqrt(square)) * radius * _GRID / _TALL  # [px] inside the outline
        cover = np.clip(rim / 1.6 + 0.5, 0, 1)
        front = np.sqrt(np.clip(1 - square, 0, 1))
        lit = np.maximum(right * self._light[0] + up * self._light[1] + front * self._light[2], 0)
        shade = (0.4 + 0.65 * lit) * (1 + 3.5 * fur * self._noise)
        painted = np.clip(colour.astype(np.float32) * shade[..., None], 0, 1)
        self.colour += (painted - self.colour) * cover[..., None]
        self.relief += (front * radius - self.relief) * cover
        self.alpha = np.maximum(self.alpha, cover)

    def trim(self, share: float) -> Cutout:
        """Cut away the empty margin."""
        rows, columns = np.flatnonzero(self.alpha.max(axis=1) > 0.02), np.flatnonzero(self.alpha.max(axis=0) > 0.02)
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        # Painting over nothing mixed in black: divide it out, alpha carries the soft edge.
        colour = np.clip(self.colour / np.maximum(self.alpha, 1e-3)[..., None], 0, 1)
        rgba = np.round(255 * np.concatenate([colour, self.alpha[..., None]], axis=2)).astype(np.uint8)
        return Cutout(rgba[box], self.relief[box].astype(np.float32), share)


def _skin(rng: Generator) -> FloatArray:
    return np.asarray(np.array([0.95, 0.75, 0.6]) * rng.uniform(0.4, 1.05))


def _fur(rng: Generator) -> FloatArray:
    """Browns, greys, black and white."""
    return np.clip(np.array([0.75, 0.58, 0.42]) * rng.uniform(0.25, 1.3) + rng.uniform(-0.05, 0.15), 0.05, 1)


def _bright(rng: Generator) -> FloatArray:
    return random_colour(rng, (0.4, 1.0), 0.9)


def _person(sheet: _Sheet, rng: Generator) -> None:
    skin, shirt, trousers, hair = _skin(rng), _bright(rng), _bright(rng) * 0.6, _fur(rng) * 0.6
    stride, swing, stout = rng.uniform(0.02, 0.1), rng.uniform(0.05, 0.16), rng.uniform(0.9, 1.3)
    for side in (-1, 1):
        foot = side * (0.03 + stride)
        sheet.limb((side * 0.045, 0.48), (foot, 0.05), (0.06 * stout, 0.035), trousers)
        sheet.limb((foot, 0.025), (foot + 0.05, 0.02), (0.028, 0.02), hair * 0.5)
        elbow = (side * (0.11 + swing * 0.6) * stout, 0.6)
        sheet.limb((side * 0.1 * stout, 0.78), elbow, (0.04, 0.032), shirt)
        sheet.limb(elbow, (elbow[0] + swing * 0.3, 0.46), (0.028, 0.022), skin)
    sheet.limb((0, 0.76), (0, 0.52), (0.105 * stout, 0.085 * stout), shirt)
    sheet.limb((0, 0.86), (0, 0.8), (0.03, 0.035), skin)
    sheet.blob((0, 0.925), (0.055, 0.072), hair)
    sheet.blob((0.01, 0.915), (0.046, 0.06), skin)
    if rng.random() < 0.4:
        sheet.limb((-0.05, 0.955), (0.06, 0.955), (0.03, 0.02), _bright(rng))


def _woman(sheet: _Sheet, rng: Generator) -> None:
    skin, dress, hair, hem = _skin(rng), _bright(rng), _fur(rng) * 0.7, rng.uniform(0.12, 0.3)
    for side in (-1, 1):
        sheet.limb((side * 0.04, hem + 0.05), (side * 0.045, 0.03), (0.035, 0.022), skin)
        sheet.limb((side * 0.1, 0.76), (side * rng.uniform(0.14, 0.26), 0.5), (0.03, 0.02), skin)
    sheet.blob((0, 0.88), (0.085, 0.11), hair)
    sheet.turned([(hem, rng.uniform(0.15, 0.24)), (0.56, 0.075), (0.72, 0.11), (0.8, 0.06)], dress)
    sheet.limb((0, 0.86), (0, 0.8), (0.026, 0.03), skin)
    sheet.blob((0, 0.915), (0.047, 0.063), skin)
    sheet.blob((0, 0.965), (0.06, 0.035), hair)


def _dog(sheet: _Sheet, rng: Generator) -> None:
    fur, thick = _fur(rng), rng.uniform(0.8, 1.3)
    _quadruped(sheet, rng, fur, thick, neck=rng.uniform(0.1, 0.22), leg=rng.uniform(0.3, 0.48))
    sheet.blob((0.36, 0.82), (0.05, 0.1), fur * 0.6, turn=rng.uniform(-0.5, 0.5))


def _horse(sheet: _Sheet, rng: Generator) -> None:
    fur = _fur(rng)
    _quadruped(sheet, rng, fur, rng.uniform(0.7, 0.95), neck=0.3, leg=0.5)
    sheet.limb((0.2, 0.66), (0.33, 0.93), (0.03, 0.035), fur * 0.35, fur=0.4)


def _sheep(sheet: _Sheet, rng: Generator) -> None:
    wool = np.clip(_fur(rng) + 0.3, 0, 1)
    _quadruped(sheet, rng, wool * 0.4, 0.9, neck=0.16, leg=0.3)
    for x, y in zip(np.linspace(-0.32, 0.22, 6), rng.uniform(0.52, 0.64, 6), strict=True):
        sheet.blob((float(x), float(y)), (0.15, 0.17), wool, fur=0.3)


def _quadruped(sheet: _Sheet, rng: Generator, fur: FloatArray, thick: float, neck: float, leg: float) -> None:
    """Body, four legs, tail, neck and head of an animal that looks to the right."""
    back = leg + 0.12
    for x, shade in ((-0.24, 0.7), (0.2, 0.7), (-0.3, 1.0), (0.14, 1.0)):
        foot = x + rng.uniform(-0.06, 0.06)
        sheet.limb((x, back), (foot, 0.035), (0.065 * thick, 0.032), fur * shade, fur=0.2)
    sheet.limb((-0.33, back + 0.04), (-0.46, back + rng.uniform(-0.25, 0.2)), (0.035, 0.018), fur * 0.85, fur=0.3)
    sheet.limb((-0.26, back), (0.18, back + 0.02), (0.14 * thick, 0.15 * thick), fur, fur=0.25)
    head = (0.36, min(back + 0.1 + neck, 0.88))
    sheet.limb((0.2, back + 0.05), head, (0.11 * thick, 0.075), fur, fur=0.25)
    sheet.limb(head, (0.47, head[1] - 0.06), (0.09, 0.045), fur, fur=0.2)
    sheet.limb((0.31, head[1] + 0.05), (0.29, min(head[1] + 0.14, 0.99)), (0.035, 0.012), fur * 0.8)
    sheet.blob((0.41, head[1] + 0.015), (0.013, 0.013), np.full(3, 0.03))
    sheet.blob((0.505, head[1] - 0.06), (0.018, 0.016), fur * 0.3)


def _cat(sheet: _Sheet, rng: Generator) -> None:
    fur, chest = _fur(rng), _fur(rng)
    sheet.limb((0.12, 0.06), (0.34, rng.uniform(0.1, 0.4)), (0.05, 0.035), fur * 0.8, fur=0.3)
    sheet.turned([(0.02, 0.2), (0.15, 0.25), (0.5, 0.17), (0.68, 0.09)], fur, fur=0.3)
    sheet.blob((0, 0.35), (0.09, 0.2), chest, fur=0.3)
    for side in (-1, 1):
        sheet.limb((side * 0.07, 0.35), (side * 0.08, 0.04), (0.055, 0.045), fur, fur=0.2)
        sheet.limb((side * 0.12, 0.84), (side * 0.155, 0.95), (0.055, 0.012), fur * 0.8)
    sheet.blob((0, 0.76), (0.19, 0.15), fur, fur=0.25)
    for side in (-1, 1):
        sheet.blob((side * 0.075, 0.79), (0.03, 0.03), np.array([0.7, 0.8, 0.2]))
        sheet.blob((side * 0.075, 0.79), (0.012, 0.026), np.full(3, 0.03))
    sheet.blob((0, 0.72), (0.025, 0.018), np.array([0.8, 0.4, 0.4]))


def _rabbit(sheet: _Sheet, rng: Generator) -> None:
    fur = _fur(rng)
    sheet.blob((-0.27, 0.14), (0.08, 0.08), np.clip(fur + 0.3, 0, 1), fur=0.4)
    sheet.blob((-0.05, 0.24), (0.26, 0.23), fur, fur=0.3)
    sheet.blob((0.14, 0.08), (0.14, 0.065), fur * 0.9, fur=0.2)
    for shift in (-0.05, 0.04):
        sheet.limb((0.1 + shift, 0.6), (0.02 + 2 * shift, 0.95), (0.04, 0.045), fur * 0.85)
    sheet.blob((0.15, 0.5), (0.15, 0.14), fur, fur=0.25)
    sheet.blob((0.21, 0.53), (0.02, 0.022), np.full(3, 0.03))


def _bird(sheet: _Sheet, rng: Generator) -> None:
    plumage, wing, beak = _bright(rng), _bright(rng) * 0.8, np.array([0.95, 0.6, 0.1])
    for x in (-0.04, 0.07):
        sheet.limb((x, 0.3), (x, 0.03), (0.018, 0.014), beak * 0.8)
        sheet.limb((x, 0.02), (x + 0.09, 0.02), (0.018, 0.012), beak * 0.8)
    sheet.limb((-0.2, 0.42), (-0.46, rng.uniform(0.3, 0.6)), (0.09, 0.04), wing, fur=0.3)
    sheet.blob((0, 0.46), (0.27, 0.22), plumage, turn=0.3, fur=0.2)
    sheet.limb((0.14, 0.56), (0.2, 0.84), (0.13, 0.1), plumage, fur=0.2)
    sheet.blob((-0.06, 0.48), (0.2, 0.11), wing, turn=-0.25, fur=0.4)
    sheet.limb((0.28, 0.85), (0.42, 0.82), (0.05, 0.012), beak)
    sheet.blob((0.23, 0.88), (0.02, 0.02), np.full(3, 0.03))


def _bottle(sheet: _Sheet, rng: Generator) -> None:
    glass, label, radius = _bright(rng) * 0.7, _bright(rng), rng.uniform(0.11, 0.17)
    shoulder = rng.uniform(0.5, 0.68)
    sheet.turned([(0, radius), (shoulder, radius), (shoulder + 0.14, 0.045), (0.93, 0.042)], glass, fur=0.05)
    sheet.turned([(0.14, radius * 1.01), (shoulder - 0.1, radius * 1.01)], label)
    sheet.turned([(0.91, 0.05), (1.0, 0.05)], _bright(rng))


def _vase(sheet: _Sheet, rng: Generator) -> None:
    clay, neck = _bright(rng), rng.uniform(0.07, 0.16)
    belly, waist = rng.uniform(0.24, 0.38), rng.uniform(0.3, 0.5)
    heights = np.linspace(0, 1, 24)
    radii = np.interp(heights, [0, waist, 0.8, 0.95, 1], [0.13, belly, neck, neck * 1.2, neck * 1.5])
    sheet.turned([(float(y), float(r)) for y, r in zip(heights, radii, strict=True)], clay, fur=0.15)
    band = float(np.interp(waist, heights, radii))
    sheet.turned([(waist - 0.03, band * 0.97), (waist + 0.03, band * 0.98)], _bright(rng))


def _lamp(sheet: _Sheet, rng: Generator) -> None:
    metal, shade = np.full(3, rng.uniform(0.15, 0.7)), np.clip(_bright(rng) + 0.25, 0, 1)
    width, below = rng.uniform(0.16, 0.26), rng.uniform(0.62, 0.72)
    sheet.turned([(0, 0.15), (0.035, 0.13)], metal)
    sheet.turned([(0.03, 0.016), (below + 0.05, 0.016)], metal)
    sheet.turned([(below, width), (1.0, width * rng.uniform(0.45, 0.8))], shade)


def _chair(sheet: _Sheet, rng: Generator) -> None:
    wood, seat = _fur(rng), _bright(rng)
    for x, foot, shade in ((-0.15, 0.06, 0.6), (0.2, 0.06, 0.6), (-0.24, 0.0, 1.0), (0.24, 0.0, 1.0)):
        sheet.slab((x - 0.025, foot), (x + 0.025, 0.48), 0.015, wood * shade)
    sheet.slab((-0.25, 0.44), (-0.2, 1.0), 0.02, wood)
    sheet.slab((0.2, 0.44), (0.25, 1.0), 0.02, wood)
    for y in np.linspace(0.6, 0.9, int(rng.integers(2, 5))):
        sheet.slab((-0.23, float(y)), (0.23, float(y) + 0.07), 0.02, wood * 0.85)
    sheet.slab((-0.28, 0.42), (0.28, 0.52), 0.04, seat)


def _ball(sheet: _Sheet, rng: Generator) -> None:
    leather = _bright(rng)
    sheet.blob((0, 0.5), (0.5, 0.5), leather, fur=0.05)
    patch, turn = _bright(rng), rng.uniform(0, 2 * np.pi)
    for angle in turn + np.arange(5) * 2 * np.pi / 5:
        sheet.blob((0.27 * np.cos(angle), 0.5 + 0.27 * np.sin(angle)), (0.1, 0.07), patch, turn=angle + np.pi / 2)


def _plant(sheet: _Sheet, rng: Generator) -> None:
    leaf, pot = np.array([0.25, 0.55, 0.2]) * rng.uniform(0.6, 1.4), _bright(rng)
    for angle in np.linspace(-1.2, 1.2, int(rng.integers(7, 12))) + rng.uniform(-0.1, 0.1):
        reach = rng.uniform(0.4, 0.6) * (1 - 0.25 * abs(angle))
        tip = (reach * np.sin(angle), min(0.4 + reach * np.cos(angle), 0.98))
        sheet.limb((0, 0.33), tip, (0.035, rng.uniform(0.01, 0.05)), leaf * rng.uniform(0.7, 1.3), fur=0.2)
    sheet.turned([(0, 0.12), (0.3, 0.19), (0.31, 0.21), (0.37, 0.21)], pot)


def _cactus(sheet: _Sheet, rng: Generator) -> None:
    green = np.array([0.3, 0.55, 0.3]) * rng.uniform(0.7, 1.3)
    for side in (-1, 1):
        y = rng.uniform(0.4, 0.6)
        sheet.limb((0, y), (side * 0.22, y + 0.02), (0.05, 0.05), green * 0.9, fur=0.3)
        sheet.limb((side * 0.22, y + 0.02), (side * 0.23, y + rng.uniform(0.12, 0.3)), (0.055, 0.05), green, fur=0.3)
    sheet.limb((0, 0.2), (0, 0.88), (0.1, 0.1), green, fur=0.3)
    sheet.turned([(0, 0.12), (0.2, 0.18), (0.26, 0.19)], _bright(rng))


def _teddy(sheet: _Sheet, rng: Generator) -> None:
    fur = _fur(rng) + 0.05
    light = np.clip(fur * 1.5, 0, 1)
    for side in (-1, 1):
        sheet.limb((side * 0.12, 0.16), (side * 0.25, 0.09), (0.11, 0.09), fur, fur=0.3)
        sheet.limb((side * 0.2, 0.48), (side * 0.33, 0.3), (0.09, 0.075), fur, fur=0.3)
        sheet.blob((side * 0.18, 0.9), (0.085, 0.085), fur, fur=0.3)
    sheet.blob((0, 0.34), (0.24, 0.27), fur, fur=0.3)
    sheet.blob((0, 0.32), (0.14, 0.17), light, fur=0.3)
    sheet.blob((0, 0.74), (0.23, 0.2), fur, fur=0.3)
    sheet.blob((0, 0.68), (0.1, 0.08), light, fur=0.2)
    for x, y, radius in ((-0.09, 0.79, 0.022), (0.09, 0.79, 0.022), (0, 0.71, 0.03)):
        sheet.blob((x, y), (radius, radius), np.full(3, 0.04))


def _cone(sheet: _Sheet, rng: Generator) -> None:
    orange, white = np.array([0.95, 0.4, 0.1]) * rng.uniform(0.8, 1.05), np.full(3, 0.92)
    sheet.slab((-0.32, 0.0), (0.32, 0.08), 0.03, orange * 0.7)
    sheet.turned([(0.06, 0.24), (1.0, 0.04)], orange)
    for low in (0.28, 0.58):
        radii = np.interp([low, low + 0.16], [0.06, 1.0], [0.242, 0.042])
        sheet.turned([(low, float(radii[0])), (low + 0.16, float(radii[1]))], white)


def _suitcase(sheet: _Sheet, rng: Generator) -> None:
    shell, half = _bright(rng), rng.uniform(0.24, 0.34)
    for side in (-1, 1):
        sheet.slab((side * 0.12 - 0.012, 0.7), (side * 0.12 + 0.012, 0.99), 0.01, np.full(3, 0.5))
        sheet.blob((side * (half - 0.06), 0.04), (0.04, 0.04), np.full(3, 0.1))
    sheet.slab((-0.14, 0.96), (0.14, 1.0), 0.018, np.full(3, 0.15))
    sheet.slab((-half, 0.05), (half, 0.76), 0.07, shell)
    for x in np.linspace(-0.6, 0.6, 4) * half:
        sheet.slab((float(x) - 0.012, 0.1), (float(x) + 0.012, 0.71), 0.01, shell * 0.75)


# What can be drawn, and how tall it is, as a share of the tallest that fits a scene.
OBJECT_KINDS: dict[str, tuple[Callable[[_Sheet, Generator], None], float]] = {
    "person": (_person, 1.0),
    "dog": (_dog, 0.62),
    "bottle": (_bottle, 0.7),
    "woman": (_woman, 0.95),
    "cat": (_cat, 0.6),
    "lamp": (_lamp, 0.95),
    "horse": (_horse, 0.9),
    "plant": (_plant, 0.75),
    "rabbit": (_rabbit, 0.55),
    "chair": (_chair, 0.75),
    "ball": (_ball, 0.5),
    "sheep": (_sheep, 0.65),
    "teddy": (_teddy, 0.6),
    "vase": (_vase, 0.6),
    "bird": (_bird, 0.55),
    "cone": (_cone, 0.6),
    "cactus": (_cactus, 0.7),
    "suitcase": (_suitcase, 0.65),
}
