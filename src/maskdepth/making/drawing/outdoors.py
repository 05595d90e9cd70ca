"""Drawn scenes in the open: streets of houses and parked cars, and parks."""

import numpy as np

from maskdepth.making.drawing import textures
from maskdepth.making.drawing.camera import Camera
from maskdepth.making.drawing.raycast import Lamp, Solid, View, box, cylinder, ellipsoid, ground
from maskdepth.making.drawing.textures import (
    GREY,
    WOOD,
    FloatArray,
    Texture,
    pick_texture,
    random_colour,
    varied_colour,
    wood,
)

Generator = np.random.Generator

_BRICK = np.array([0.6, 0.33, 0.25], dtype=np.float32)


def _sky(rng: Generator) -> Texture:
    """Blue that pales towards the horizon, with clouds; sometimes overcast."""
    zenith = np.array([0.35, 0.6, 1.0], np.float32) * rng.uniform(0.7, 1.0)
    pale, cover, u0 = np.array([0.95, 1.0, 1.1], np.float32), rng.uniform(0.2, 0.9), rng.random()

    def sky(azimuth: FloatArray, elevation: FloatArray) -> FloatArray:
        rise = np.clip(elevation / 0.7, 0, 1)[:, None]
        cloud = np.clip(4 * (textures.cloud_noise(azimuth * 0.25 + u0, elevation * 0.7) - 1 + cover), 0, 1)[:, None]
        clear = pale + (zenith - pale) * rise
        return np.asarray(clear + (1.15 - clear) * cloud * 0.8)

    return sky


def _daylight(rng: Generator) -> tuple[list[Lamp], FloatArray]:
    """Sun from some height and side, and the light of the sky."""
    elevation, azimuth = rng.uniform(0.5, 1.1), rng.uniform(-np.pi, np.pi)
    strength, lamps = rng.uniform(0.3, 1.0), []
    for spread in (-0.02, 0.02):
        level = np.cos(elevation + spread)
        sun = np.array([level * np.sin(azimuth + spread), np.sin(elevation + spread), level * np.cos(azimuth + spread)])
        colour = np.array([1.0, 0.95, 0.85], np.float32) * strength / 2
        lamps.append(Lamp(sun.astype(np.float32), colour, is_point=False))
    return lamps, np.array([0.9, 0.97, 1.05], np.float32) * (1.05 - 0.5 * strength)


def _outdoors(rng: Generator, solids: list[Solid], camera: Camera, yaw: float) -> View:
    lamps, ambient = _daylight(rng)
    return View(camera, yaw, solids, lamps, ambient, reach=2.5, sky=_sky(rng), figure_height=1.85)


def build_street(rng: Generator) -> View:
    """Build a road between pavements, with houses or trees on either side."""
    camera = Camera(height=rng.uniform(1.4, 2.3), pitch=rng.uniform(0.02, 0.24), focal=rng.uniform(0.75, 1.1))
    lane, pavement, aside = rng.uniform(2.6, 3.8), rng.uniform(1.5, 3.0), rng.uniform(-1.5, 1.5)
    stones = textures.courses(rng, random_colour(rng, (0.4, 0.75), 0.25), GREY, (0.6, 0.4))
    asphalt = textures.road(rng, lane)

    def surface(u: FloatArray, v: FloatArray) -> FloatArray:
        is_road = np.abs(u - aside) < lane + 0.2
        return np.where(is_road[:, None], asphalt(u - aside, v), stones(u, v))

    solids = [ground(surface)]
    for side in (-1, 1):
        edge = aside + side * (lane + 0.2 + pavement)
        solids += _houses(rng, edge, side) if rng.random() < 0.8 else _trees(rng, edge, side)
        solids += _parked_cars(rng, aside + side * (lane - 0.9))
    if rng.random() < 0.4:
        solids.append(_house(rng, aside, rng.uniform(35, 60), (24.0, rng.uniform(6, 14), 8.0)))
    return _outdoors(rng, solids, camera, rng.uniform(-0.3, 0.3))


def _house(rng: Generator, x: float, z: float, size: tuple[float, float, float]) -> Solid:
    colour = random_colour(rng, (0.5, 0.95), 0.45)
    wall = pick_texture(
        rng,
        [
            lambda: textures.plain(rng, colour, 0.3, 4.0),
            lambda: textures.courses(rng, varied_colour(rng, _BRICK), GREY, (0.5, 0.2)),
        ],
    )
    front = textures.windows(rng, wall, (rng.uniform(1.6, 3.0), rng.uniform(2.6, 3.4)))
    roof = textures.plain(rng, np.array([0.4, 0.3, 0.28], np.float32))
    width, height, length = size
    return Solid("box", (x, height / 2, z), (width / 2, height / 2, length / 2), front, top=roof)


def _houses(rng: Generator, edge: float, side: int) -> list[Solid]:
    """A row of houses of different heights whose fronts stand at x = edge."""
    solids, z = [], -4.0
    while z < 60:
        length = rng.uniform(5, 14)
        if rng.random() < 0.9:
            setback = rng.uniform(0, 1.5)
            solids.append(_house(rng, edge + side * (5 + setback), z + length / 2, (10.0, rng.uniform(4, 13), length)))
        z += length + rng.uniform(0, 2.0)
    return solids


def _tree(rng: Generator, x: float, z: float) -> list[Solid]:
    height, radius = rng.uniform(2.8, 6.0), rng.uniform(0.9, 2.0)
    leaves = textures.rough(rng, varied_colour(rng, np.array([0.28, 0.45, 0.18], np.float32), 0.4), 1.3, 0.5)
    bark = textures.rough(rng, WOOD * 0.6, 0.6, 0.2)
    crown = [
        ellipsoid(x + dx * radius, height + dy * radius, z, (radius * s, radius * s, radius * s), leaves)
        for dx, dy, s in ((0, 0, 1.0), (-0.6, -0.4, 0.7), (0.6, -0.3, 0.75))
    ]
    return [cylinder(x, 0, z, rng.uniform(0.1, 0.25), height, bark), *crown]


def _trees(rng: Generator, edge: float, side: int) -> list[Solid]:
    """A row of trees in front of a hedge."""
    hedge = textures.rough(rng, np.array([0.25, 0.4, 0.16], np.float32), 1.3, 0.4)
    solids = [box(edge + side * 2.5, 0, 30, (1.0, rng.uniform(1.0, 2.2), 80), hedge)]
    for z in np.arange(rng.uniform(3, 6), 32, rng.uniform(4.5, 8)):
        solids += _tree(rng, edge + side * rng.uniform(0.3, 1.2), float(z))
    return solids


def _parked_cars(rng: Generator, x: float) -> list[Solid]:
    solids: list[Solid] = []
    for z in np.arange(rng.uniform(5, 9), 30, 6.0):
        if rng.random() < 0.4:
            solids += _car(rng, x, float(z))
    return solids


def _car(rng: Generator, x: float, z: float) -> list[Solid]:
    paint = textures.plain(rng, random_colour(rng, (0.2, 0.95), 0.9), 0.1)
    glass, tyre = np.array([0.16, 0.2, 0.25], np.float32), textures.plain(rng, np.full(3, 0.08, np.float32))
    cabin = Solid("box", (x, 1.15, z + 0.2), (0.72, 0.28, 1.1), textures.plain(rng, glass), top=paint)
    wheels = [
        ellipsoid(x + side * 0.82, 0.32, z + end * 1.3, (0.1, 0.32, 0.32), tyre) for side in (-1, 1) for end in (-1, 1)
    ]
    return [box(x, 0.28, z, (1.7, 0.6, 4.1), paint), cabin, *wheels]


def build_park(rng: Generator) -> View:
    """Build a park: grass with a path, trees, and a fence or bushes."""
    camera = Camera(height=rng.uniform(1.2, 2.2), pitch=rng.uniform(0.05, 0.28), focal=rng.uniform(0.75, 1.1))
    grass = textures.rough(rng, varied_colour(rng, np.array([0.36, 0.5, 0.2], np.float32)), 0.8, 0.35)
    gravel = textures.rough(rng, varied_colour(rng, np.array([0.66, 0.58, 0.46], np.float32), 0.1), 0.4, 0.3)
    path_x, bend, width = rng.uniform(-1.5, 1.5), rng.uniform(-0.3, 0.3), rng.uniform(0.7, 1.8)

    def surface(u: FloatArray, v: FloatArray) -> FloatArray:
        is_path = np.abs(u - path_x - bend * v) < width
        return np.where(is_path[:, None], gravel(u, v), grass(u, v))

    solids = [ground(surface)]
    for side in (-1, 1):
        for z in np.arange(rng.uniform(4, 7), 40, rng.uniform(4, 7)):
            solids += _tree(rng, side * rng.uniform(2.5, 4 + 0.4 * float(z)), float(z))
    solids += _fence(rng, rng.uniform(9, 22)) if rng.random() < 0.5 else _bushes(rng)
    return _outdoors(rng, solids, camera, rng.uniform(-0.3, 0.3))


def _fence(rng: Generator, z: float) -> list[Solid]:
    boards = wood(rng, 0.15)
    return [box(0, 0.1, z, (60, rng.uniform(0.9, 1.6), 0.05), boards)]


def _bushes(rng: Generator) -> list[Solid]:
    leaves = textures.rough(rng, varied_colour(rng, np.array([0.22, 0.4, 0.16], np.float32)), 1.3, 0.25)
    solids = []
    for _ in range(8):
        radius, z = rng.uniform(0.4, 1.1), rng.uniform(6, 22)
        x = rng.choice([-1, 1]) * rng.uniform(1.5, 1 + 0.5 * z)
        solids.append(ellipsoid(x, radius * 0.6, z, (radius * 1.3, radius, radius), leaves))
    return solids
