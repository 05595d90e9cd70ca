"""Drawn backgrounds: rooms, streets, tables and parks, each from its own numbers, with exact depth.

Every scene keeps free ground in its middle for objects to stand on. What helps to tell depth from a picture is there on
purpose: floors in perspective, known sizes (doors, cars, books), shadows, corners that darken.
"""

from collections.abc import Callable

import numpy as np

from maskdepth.making.drawing.indoors import build_room, build_tabletop
from maskdepth.making.drawing.outdoors import build_park, build_street
from maskdepth.making.drawing.raycast import Scene, View, render

SCENE_KINDS: dict[str, Callable[[np.random.Generator], View]] = {
    "room": build_room,
    "street": build_street,
    "tabletop": build_tabletop,
    "park": build_park,
}


def draw_scene(kind: str, rng: np.random.Generator, size: int) -> Scene:
    """Draw one background.

    Args:
        kind: One of `SCENE_KINDS`.
        rng: Source of everything random about it.
        size: Height and width of the picture [px].

    Raises:
        ValueError: The kind is not known.
    """
    if kind not in SCENE_KINDS:
        raise ValueError(f"scene kind {kind!r} is not known; known: {', '.join(SCENE_KINDS)}")
    return render(SCENE_KINDS[kind](rng), size)
