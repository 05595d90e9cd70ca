"""Drawn scenes indoors: furnished rooms, and tables seen from close by."""

import numpy as np

from maskdepth.making.drawing import textures
from maskdepth.making.drawing.camera import Camera
from maskdepth.making.drawing.raycast import Lamp, Solid, View, box, cylinder, ellipsoid, ground
from maskdepth.making.drawing.textures import GREY, WOOD, FloatArray, pick_texture, random_colour, varied_colour, wood

Generator = np.random.Generator


def build_room(rng: Generator) -> View:
    """Build a furnished room with a lamp below its ceiling, seen by somebody who stands in it."""
    width, length, height = rng.uniform(3.4, 6), rng.uniform(3.8, 7.5), rng.uniform(2.4, 3.0)
    camera = Camera(height=rng.uniform(1.25, 1.75), pitch=rng.uniform(0.12, 0.36), focal=rng.uniform(0.75, 1.05))
    aside = rng.uniform(-0.25, 0.25) * width
    solids = _room_shell(rng, width, length, height, aside) + _furniture(rng, width, length, aside)
    warm = np.array([1.0, 0.93, 0.82], dtype=np.float32) * rng.uniform(0.8, 1.25)
    lamp = np.array([aside + rng.uniform(-1, 1), height - 0.25, rng.uniform(0.35, 0.75) * length])
    return View(
        camera=camera,
        yaw=rng.uniform(-0.4, 0.4),
        solids=solids,
        lamps=_soft_lamps(rng, lamp, warm * 0.75, spread=0.25),
        ambient=warm * rng.uniform(0.45, 0.7),
        reach=0.8,
        sky=textures.plain(rng, np.full(3, 0.7, np.float32)),
        figure_height=1.4,
    )


def _soft_lamps(rng: Generator, middle: FloatArray, colour: FloatArray, spread: float) -> list[Lamp]:
    """Three points [m] around one: shadows with soft edges."""
    offsets = rng.uniform(-spread, spread, (3, 3)) * [1, 0, 1]
    return [Lamp((middle + offset).astype(np.float32), colour / 3, is_point=True) for offset in offsets]


def _room_shell(rng: Generator, width: float, length: float, height: float, aside: float) -> list[Solid]:
    """Floor, walls and ceiling; the wall behind the camera is left open."""
    paint = random_colour(rng, (0.6, 0.95), 0.35)
    wall = pick_texture(
        rng,
        [
            lambda: textures.plain(rng, paint),
            lambda: textures.stripes(rng, (paint, varied_colour(rng, paint)), rng.uniform(0.12, 0.4)),
            lambda: textures.courses(rng, varied_colour(rng, paint), paint * 0.8, (0.24, 0.08)),
            lambda: textures.rough(rng, paint, 0.35, 0.5),
        ],
    )
    floor = pick_texture(
        rng,
        [
            lambda: wood(rng, rng.uniform(0.1, 0.2)),
            lambda: textures.tiles(rng, (random_colour(rng, (0.4, 0.9), 0.2), GREY), rng.uniform(0.3, 0.6)),
            lambda: textures.rough(rng, random_colour(rng, (0.3, 0.7), 0.6), 0.5, 0.4),
        ],
    )
    back = -1.5
    middle_z, half_z = (length + back) / 2, (length - back) / 2
    left, right = aside - width / 2, aside + width / 2
    trim = textures.plain(rng, np.full(3, rng.uniform(0.3, 0.95), np.float32))
    return [
        ground(floor, 30.0),
        Solid("box", (left - 0.1, height / 2, middle_z), (0.1, height / 2, half_z), wall),
        Solid("box", (right + 0.1, height / 2, middle_z), (0.1, height / 2, half_z), wall),
        Solid("box", (aside, height / 2, length + 0.1), (width / 2, height / 2, 0.1), wall),
        box(aside, height, middle_z, (width, 0.1, 2 * half_z), textures.plain(rng, np.full(3, 0.9, np.float32))),
        box(aside, 0, length, (width, 0.1, 0.04), trim),
        box(left, 0, middle_z, (0.04, 0.1, 2 * half_z), trim),
        box(right, 0, middle_z, (0.04, 0.1, 2 * half_z), trim),
    ]


def _furniture(rng: Generator, width: float, length: float, aside: float) -> list[Solid]:
    """Along the three walls, leaving the middle of the floor free."""
    solids = _back_wall(rng, width, length, aside)
    for side in (-1, 1):
        wall_x = aside + side * width / 2
        for z in np.arange(rng.uniform(2.0, 2.8), length - 1.0, rng.uniform(1.3, 2.0)):
            maker = [_sofa, _cabinet, _shelf, _side_table, _plant, _poster][int(rng.integers(6))]
            solids += maker(rng, wall_x, float(z), -side * np.pi / 2)
    if rng.random() < 0.5:
        rug = textures.stripes(rng, (random_colour(rng, (0.3, 0.9), 0.8), random_colour(rng, (0.3, 0.9))), 0.3)
        half = (rng.uniform(0.6, 1.1), 0.004, rng.uniform(0.5, 0.9))
        solids.append(Solid("box", (aside, 0, 0.5 * length), half, rug, standing=True))
    if rng.random() < 0.4:
        solids += _table(rng, aside + rng.uniform(-0.6, 0.6), length - 1.3)
    return solids


def _back_wall(rng: Generator, width: float, length: float, aside: float) -> list[Solid]:
    """Two or three things side by side along the far wall."""
    makers = [_sofa, _cabinet, _shelf, _window, _door, _poster, _plant]
    places = int(width // 1.5)
    solids: list[Solid] = []
    for place in range(places):
        x = aside + width * ((place + 0.5) / places - 0.5)
        solids += makers[int(rng.integers(len(makers)))](rng, x, length, np.pi)
    return solids


def _against(x: float, z: float, facing: float, away: float) -> tuple[float, float]:
    """The point `away` [m] in front of a wall's point x, z, for something that looks along `facing` [rad]."""
    return x + away * np.sin(facing), z + away * np.cos(facing)


def _sofa(rng: Generator, x: float, z: float, facing: float) -> list[Solid]:
    cloth = textures.rough(rng, random_colour(rng, (0.3, 0.85), 0.8), 0.4, 0.15)
    length, depth = rng.uniform(1.1, 1.7), 0.8
    parts = [  # middle away from the wall, shift along it, size
        (depth / 2, 0.0, (length, 0.42, depth)),
        (0.12, 0.0, (length, 0.85, 0.22)),
        (depth / 2, length / 2 - 0.08, (0.16, 0.6, depth)),
        (depth / 2, -length / 2 + 0.08, (0.16, 0.6, depth)),
    ]
    solids = []
    for away, along, size in parts:
        part_x, part_z = _against(x, z, facing, away)
        solids.append(box(part_x + along * np.cos(facing), 0, part_z - along * np.sin(facing), size, cloth, facing))
    return solids


def _cabinet(rng: Generator, x: float, z: float, facing: float) -> list[Solid]:
    size = (rng.uniform(0.7, 1.2), rng.uniform(0.7, 2.0), rng.uniform(0.4, 0.6))
    front = textures.door(rng, varied_colour(rng, WOOD, 0.4) * rng.uniform(0.6, 1.5), size[0] / 2, size[1])
    place = _against(x, z, facing, size[2] / 2)
    solids = [box(place[0], 0, place[1], size, front, facing)]
    if size[1] < 1.2:
        glass = textures.plain(rng, random_colour(rng, (0.4, 0.95), 0.9))
        solids.append(cylinder(place[0], size[1], place[1], rng.uniform(0.06, 0.12), rng.uniform(0.15, 0.4), glass))
    return solids


def _shelf(rng: Generator, x: float, z: float, facing: float) -> list[Solid]:
    size = (rng.uniform(0.7, 1.3), rng.uniform(1.4, 2.1), 0.32)
    front = textures.books(rng, varied_colour(rng, WOOD), rng.uniform(0.28, 0.36))
    place = _against(x, z, facing, size[2] / 2)
    return [box(place[0], 0, place[1], size, front, facing)]


def _window(rng: Generator, x: float, z: float, facing: float) -> list[Solid]:
    size = (rng.uniform(0.9, 1.3), rng.uniform(1.0, 1.4), 0.04)
    light = textures.plain(rng, random_colour(rng, (1.0, 1.5), 0.2), 0.6, 1.5)
    frame = textures.plain(rng, np.full(3, 0.9, np.float32))
    place, inner = _against(x, z, facing, 0.02), _against(x, z, facing, 0.03)
    pane = box(inner[0], 0.96, inner[1], (size[0] - 0.12, size[1] - 0.12, 0.04), light, facing)
    bar = _against(x, z, facing, 0.05)
    return [
        box(place[0], 0.9, place[1], size, frame, facing),
        Solid(pane.shape, pane.centre, pane.half, light, yaw=facing, glow=True),
        box(bar[0], 0.9, bar[1], (0.05, size[1], 0.03), frame, facing),
    ]


def _door(rng: Generator, x: float, z: float, facing: float) -> list[Solid]:
    front = textures.door(rng, random_colour(rng, (0.4, 0.95), 0.5), 0.85, 2.0)
    place = _against(x, z, facing, 0.03)
    return [box(place[0], 0, place[1], (0.85, 2.0, 0.06), front, facing)]


def _poster(rng: Generator, x: float, z: float, facing: float) -> list[Solid]:
    width, height = rng.uniform(0.4, 0.9), rng.uniform(0.4, 0.8)
    place = _against(x, z, facing, 0.02)
    return [box(place[0], 1.2, place[1], (width, height, 0.04), textures.print_on(rng, width, height), facing)]


def _side_table(rng: Generator, x: float, z: float, facing: float) -> list[Solid]:
    place = _against(x, z, facing, 0.35)
    return _table(rng, *place, half=0.3)


def _table(rng: Generator, x: float, z: float, half: float = 0.55) -> list[Solid]:
    boards, height = wood(rng, 0.12), rng.uniform(0.45, 0.75)
    legs = [
        box(x + side * (half - 0.06), 0, z + end * (half - 0.06), (0.06, height, 0.06), boards)
        for side in (-1, 1)
        for end in (-1, 1)
    ]
    vase = textures.plain(rng, random_colour(rng, (0.4, 0.95), 0.9))
    return [
        *legs,
        box(x, height, z, (2 * half, 0.05, 2 * half), boards),
        cylinder(x, height + 0.05, z, rng.uniform(0.05, 0.1), rng.uniform(0.12, 0.35), vase),
    ]


def _plant(rng: Generator, x: float, z: float, facing: float) -> list[Solid]:
    place = _against(x, z, facing, 0.35)
    pot = textures.plain(rng, random_colour(rng, (0.3, 0.9), 0.7))
    leaves = textures.rough(rng, varied_colour(rng, np.array([0.25, 0.5, 0.2], np.float32)), 1.2, 0.12)
    height = rng.uniform(0.7, 1.4)
    return [
        cylinder(place[0], 0, place[1], 0.17, 0.35, pot),
        ellipsoid(place[0], height, place[1], (0.32, height - 0.3, 0.32), leaves),
    ]


def build_tabletop(rng: Generator) -> View:
    """Build a table seen from close by, with boxes, tins and bowls towards its back, and a wall behind."""
    camera = Camera(height=rng.uniform(0.32, 0.6), pitch=rng.uniform(0.3, 0.65), focal=rng.uniform(0.85, 1.3))
    cloth = random_colour(rng, (0.4, 0.95), 0.6)
    top = pick_texture(
        rng,
        [
            lambda: wood(rng, rng.uniform(0.06, 0.15)),
            lambda: textures.tiles(rng, (cloth, varied_colour(rng, cloth, 0.4)), rng.uniform(0.04, 0.12)),
            lambda: textures.rough(rng, cloth, 0.3, 0.08),
        ],
    )
    back = rng.uniform(0.9, 1.7)
    paint = random_colour(rng, (0.4, 0.9), 0.4)
    wall = pick_texture(
        rng,
        [
            lambda: textures.plain(rng, paint),
            lambda: textures.tiles(rng, (paint, paint * 0.9), 0.1),
            lambda: textures.stripes(rng, (paint, varied_colour(rng, paint)), 0.08),
        ],
    )
    solids = [ground(top, 12.0), box(0, 0, back + 0.3, (8.0, 4.0, 0.1), wall)]
    for _ in range(int(rng.integers(8, 15))):
        z = rng.uniform(0.55, 1.1) * back
        solids += _goods(rng, rng.uniform(-0.6, 0.6) * (0.3 + z), z)
    white = np.full(3, rng.uniform(0.8, 1.2), np.float32)
    lamp = np.array([rng.uniform(-1.2, 1.2), rng.uniform(1.2, 2.2), rng.uniform(-0.3, 0.8)])
    lamps = _soft_lamps(rng, lamp, white * 0.7, spread=0.15)
    sky = textures.plain(rng, paint)
    yaw = rng.uniform(-0.35, 0.35)
    return View(camera, yaw, solids, lamps, white * 0.5, reach=0.2, sky=sky, figure_height=0.34)


def _goods(rng: Generator, x: float, z: float) -> list[Solid]:
    """Something from a kitchen: a packet, a tin, a bowl, a fruit or a book."""
    kind, yaw = rng.integers(5), rng.uniform(-0.8, 0.8)
    if kind == 0:
        size = (rng.uniform(0.1, 0.2), rng.uniform(0.14, 0.3), rng.uniform(0.04, 0.08))
        return [box(x, 0, z, size, textures.print_on(rng, size[0], size[1]), yaw)]
    if kind == 1:
        radius, height = rng.uniform(0.03, 0.06), rng.uniform(0.08, 0.2)
        label = textures.stripes(rng, (random_colour(rng, (0.4, 0.95), 0.9), random_colour(rng, (0.4, 0.95))), radius)
        tin = cylinder(x, 0, z, radius, height, label)
        return [Solid(tin.shape, tin.centre, tin.half, label, top=textures.plain(rng, GREY))]
    if kind == 2:
        china = textures.plain(rng, random_colour(rng, (0.6, 0.95), 0.5), 0.1)
        inside = textures.plain(rng, random_colour(rng, (0.2, 0.8), 0.7))
        bowl = cylinder(x, 0, z, rng.uniform(0.06, 0.11), rng.uniform(0.04, 0.08), china)
        return [Solid(bowl.shape, bowl.centre, bowl.half, china, top=inside)]
    if kind == 3:
        radius = rng.uniform(0.03, 0.06)
        return [
            ellipsoid(
                x, radius, z, (radius, radius, radius), textures.plain(rng, random_colour(rng, (0.5, 0.95), 0.95))
            )
        ]
    size = (rng.uniform(0.14, 0.26), rng.uniform(0.02, 0.06), rng.uniform(0.1, 0.2))
    return [box(x, 0, z, size, textures.print_on(rng, size[0], size[2]), yaw)]
