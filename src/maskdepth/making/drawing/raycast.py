"""Ray casting of boxes, cylinders and ellipsoids: picture, depth and standing ground of a drawn scene.

Axes: x to the right, y up, z ahead [m]; the ground that objects stand on is y = 0. The camera stands at x = z = 0 and
looks along z, tilted down. Rays have length 1 along the optical axis, so a ray's parameter *is* its depth.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from maskdepth.making.drawing.camera import Camera
from maskdepth.making.drawing.textures import FloatArray, Texture

_NEAREST = 1e-3  # [m] a surface does not hide itself from the light
_FARTHEST = 100.0  # [m] nothing farther throws a shadow that is seen
_SUPERSAMPLING = 2  # rays a pixel, along each side: smooth edges, less flicker in fine textures

# From where the sky, or the walls of a room, light a point: overhead and four slanting directions.
_DOME = np.array([[0, 1, 0], [0.77, 0.64, 0], [-0.77, 0.64, 0], [0, 0.64, 0.77], [0, 0.64, -0.77]], dtype=np.float32)


@dataclass(frozen=True)
class Solid:
    """A box, upright cylinder or ellipsoid.

    Attributes:
        shape: Which of the three.
        centre: x, y, z [m].
        half: Half its extent along its own x, y, z [m].
        texture: Of its surface; `u, v` begin at its lower left edge, on a top they are its own x and z.
        top: Texture of top and bottom, where it differs.
        yaw: Turned to the left about the vertical through its centre [rad].
        standing: Objects may stand on it: its top is the ground.
        glow: Shines by itself: not shaded and throwing no shadow (lamps, windows).
    """

    shape: Literal["box", "cylinder", "ellipsoid"]
    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    texture: Texture
    top: Texture | None = None
    yaw: float = 0.0
    standing: bool = False
    glow: bool = False


def box(x: float, y: float, z: float, size: tuple[float, float, float], texture: Texture, yaw: float = 0.0) -> Solid:
    """A box of width, height and length [m] whose underside has its middle at x, y, z."""
    width, height, length = size
    return Solid("box", (x, y + height / 2, z), (width / 2, height / 2, length / 2), texture, yaw=yaw)


def cylinder(x: float, y: float, z: float, radius: float, height: float, texture: Texture) -> Solid:
    """An upright cylinder that begins at height y [m]."""
    return Solid("cylinder", (x, y + height / 2, z), (radius, height / 2, radius), texture)


def ellipsoid(x: float, y: float, z: float, half: tuple[float, float, float], texture: Texture) -> Solid:
    """An ellipsoid around x, y, z [m]."""
    return Solid("ellipsoid", (x, y, z), half, texture)


def ground(texture: Texture, size: float = 400.0) -> Solid:
    """A level square, as a box whose top is at 0; u and v of its texture are x and z from its middle [m]."""
    return Solid(
        "box",
        (0, -0.1, 0),
        (size / 2, 0.1, size / 2),
        texture=lambda u, v: texture(u - size / 2, v - size / 2),
        standing=True,
    )


@dataclass(frozen=True)
class Lamp:
    """A source of light of strength `colour` (3,): at a point [m], or from a direction of unit length, as the sun."""

    vector: FloatArray
    colour: FloatArray
    is_point: bool


@dataclass(frozen=True)
class View:
    """What to draw: solids, light and sky.

    Attributes:
        camera: From where.
        yaw: The whole scene turned about the camera [rad].
        solids: What there is to see.
        lamps: Light that throws shadows.
        ambient: (3,) light from everywhere, darker in corners.
        reach: How near a surface must be to darken a corner [m].
        sky: Texture of azimuth and elevation [rad], seen where no solid is.
        figure_height: Height of the tallest object that fits in [m].
    """

    camera: Camera
    yaw: float
    solids: list[Solid]
    lamps: list[Lamp]
    ambient: FloatArray
    reach: float
    sky: Texture
    figure_height: float


@dataclass(frozen=True)
class Scene:
    """A drawn background.

    Attributes:
        picture: (size, size, 3) uint8 RGB.
        depth: (size, size) float32 relative depth, [0, 1], 0 near.
        standing: (size, size) bool, where the ground is seen that objects can stand on.
        camera: Which drew it.
        figure_height: Height of the tallest object that fits the scene [m].
    """

    picture: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]
    standing: npt.NDArray[np.bool_]
    camera: Camera
    figure_height: float


def render(view: View, size: int) -> Scene:
    """Draw a view as a square picture of `size` [px] with its exact depth."""
    fine = size * _SUPERSAMPLING
    origin = np.array([[0.0], [view.camera.height], [0.0]], dtype=np.float32)
    rays = _build_rays(view, fine)
    metres, hit = _first_hits(view.solids, origin, rays)
    light = _sky_light(view, rays)
    standing = np.zeros(fine**2, dtype=bool)
    for index, solid in enumerate(view.solids):
        seen = np.flatnonzero(hit == index)
        if seen.size:
            # take, unlike [:, seen], keeps each axis contiguous: everything below is then five times faster.
            points = origin + rays.take(seen, axis=1) * metres[seen]
            light[seen], normal = _shade(view, solid, points, _pixels(seen, fine))
            standing[seen] = solid.standing & (normal[1] > 0.5)
    depth = view.camera.relative_depth(metres.astype(np.float64)).astype(np.float32)
    return Scene(
        picture=_develop(_average(light.reshape(fine, fine, 3))),
        depth=_average(depth.reshape(fine, fine, 1))[..., 0],
        standing=standing.reshape(fine, fine)[::_SUPERSAMPLING, ::_SUPERSAMPLING],
        camera=view.camera,
        figure_height=view.figure_height,
    )


def _pixels(seen: npt.NDArray[np.intp], fine: int) -> npt.NDArray[np.intp]:
    """(N,) number of the pixel that each of the rays belongs to."""
    row, column = np.divmod(seen, fine)
    return np.asarray(row // _SUPERSAMPLING * fine + column // _SUPERSAMPLING)


def _build_rays(view: View, fine: int) -> FloatArray:
    """(3, fine * fine) one ray a pixel, of length 1 along the optical axis."""
    middle = (np.arange(fine, dtype=np.float32) + 0.5) / fine
    up, right = np.meshgrid(view.camera.up(middle), -view.camera.up(middle), indexing="ij")
    pitch, yaw = view.camera.pitch, view.yaw
    level_ahead = np.cos(pitch) + up * np.sin(pitch)
    level_up = up * np.cos(pitch) - np.sin(pitch)
    x = right * np.cos(yaw) + level_ahead * np.sin(yaw)
    z = level_ahead * np.cos(yaw) - right * np.sin(yaw)
    return np.stack([x.ravel(), level_up.ravel(), z.ravel()]).astype(np.float32)


def _first_hits(solids: list[Solid], origin: FloatArray, rays: FloatArray) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """(N,) depth of the first solid on each ray (infinite: none) and (N,) its number (-1: none)."""
    metres = np.full(rays.shape[1], np.inf, dtype=np.float32)
    hit = np.full(rays.shape[1], -1)
    for index, solid in enumerate(solids):
        near, far = _interval(solid, origin, rays)
        closer = (near < far) & (near > _NEAREST) & (near < metres)
        metres[closer], hit[closer] = near[closer], index
    return metres, hit


def _interval(solid: Solid, origin: FloatArray, rays: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(N,) where each ray enters and leaves a solid; it misses where it enters after it leaves."""
    # In the solid's own axes, divided by its half extents, each shape is the unit one.
    half = np.array(solid.half, dtype=np.float32)[:, None]
    start = _turn(origin - np.array(solid.centre, dtype=np.float32)[:, None], -solid.yaw) / half
    along = _turn(rays, -solid.yaw) / half
    along = np.where(np.abs(along) < 1e-9, np.float32(1e-9), along)
    if solid.shape == "ellipsoid":
        return _round_interval(start, along)
    if solid.shape == "box":
        return _slab_interval(start, along)
    side, caps = _round_interval(start[::2], along[::2]), _slab_interval(start[1:2], along[1:2])
    return np.maximum(side[0], caps[0]), np.minimum(side[1], caps[1])


def _slab_interval(start: FloatArray, along: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Where rays cross |x| < 1 in every one of the (K, N) axes."""
    inverse = 1 / along
    middle, reach = -start * inverse, np.abs(inverse)
    return (middle - reach).max(axis=0), (middle + reach).min(axis=0)


def _round_interval(start: FloatArray, along: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Where rays cross the unit circle or sphere of the (K, N) axes."""
    square = (along * along).sum(axis=0)
    middle = -(start * along).sum(axis=0) / square
    nearest = start + along * middle
    reach = np.sqrt(np.maximum(1 - (nearest * nearest).sum(axis=0), 0) / square)
    # A ray that misses has reach 0: it enters where it leaves, which is no hit.
    return middle - reach, middle + reach


def _turn(vectors: FloatArray, yaw: float) -> FloatArray:
    """Turn (3, N) vectors about the vertical by `yaw` [rad]."""
    if yaw == 0:
        return vectors
    cosine, sine = np.float32(np.cos(yaw)), np.float32(np.sin(yaw))
    x, y, z = vectors
    return np.stack([x * cosine + z * sine, y, z * cosine - x * sine])


def _shade(view: View, solid: Solid, points: FloatArray, pixels: npt.NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
    """(N, 3) light from the (3, N) points of one solid towards the camera, and (3, N) its normals."""
    local = _turn(points - np.array(solid.centre, dtype=np.float32)[:, None], -solid.yaw)
    normal, u, v, is_top = _surface(solid, local)
    albedo = solid.texture(u, v)
    if solid.top is not None:
        albedo = np.where(is_top[:, None], solid.top(u, v), albedo)
    normal = _turn(normal, solid.yaw)
    if solid.glow:
        return albedo, normal
    # Light changes slowly: asking for it once a pixel, not once a ray, saves three quarters of the time.
    _, first, again = np.unique(pixels, return_index=True, return_inverse=True)
    light = _gather_light(view, points.take(first, axis=1), normal.take(first, axis=1))
    return albedo * light.take(again, axis=0), normal


def _gather_light(view: View, points: FloatArray, normal: FloatArray) -> FloatArray:
    """(N, 3) light that falls on (3, N) points."""
    others = [solid for solid in view.solids if not solid.standing and not solid.glow]
    light = view.ambient * _openness(others, points, normal, view.reach)[:, None]
    for lamp in view.lamps:
        light = light + lamp.colour * _lit_share(others, lamp, points, normal)[:, None]
    return light


def _surface(solid: Solid, local: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, npt.NDArray[np.bool_]]:
    """Normal (3, N), u and v (N,) [m] and whether it is top or bottom (N,), of points in the solid's own axes."""
    half = np.array(solid.half, dtype=np.float32)[:, None]
    (x, y, z), unit = local + half, local / half
    if solid.shape == "box":
        axis = np.abs(unit).argmax(axis=0)
        normal = np.sign(unit) * (axis == np.arange(3)[:, None])
        is_top = axis == 1
        return normal, np.where(axis == 0, z, x), np.where(is_top, z, y), is_top
    angle = np.arctan2(local[0], local[2])
    if solid.shape == "ellipsoid":
        normal = unit / half
        return normal / np.linalg.norm(normal, axis=0), angle * half[0], y, np.zeros(y.shape, dtype=bool)
    is_top = np.abs(unit[1]) > np.hypot(unit[0], unit[2])
    side = unit / half * np.array([[1], [0], [1]], dtype=np.float32)
    normal = np.where(is_top, np.sign(unit) * np.array([[0], [1], [0]]), side / np.linalg.norm(side, axis=0))
    return normal, np.where(is_top, local[0], angle * half[0]), np.where(is_top, local[2], y), is_top


def _hidden(solids: list[Solid], points: FloatArray, towards: FloatArray, limit: float) -> npt.NDArray[np.bool_]:
    """(N,) whether a solid lies between the (3, N) points and what is `limit` times `towards` away."""
    hidden = np.zeros(points.shape[1], dtype=bool)
    ends = points + towards * min(limit, _FARTHEST)
    low, high = np.minimum(points, ends).min(axis=1), np.maximum(points, ends).max(axis=1)
    # Most solids lie nowhere near: those whose sphere is clear of the box around all the segments need no rays.
    radius = np.array([np.hypot.reduce(solid.half) for solid in solids]).reshape(-1, 1)
    centre = np.array([solid.centre for solid in solids]).reshape(-1, 3)
    for index in np.flatnonzero(np.all((low - radius < centre) & (centre < high + radius), axis=1)):
        near, far = _interval(solids[index], points, towards)
        hidden |= (near < far) & (near > _NEAREST) & (near < limit)
    return hidden


def _openness(solids: list[Solid], points: FloatArray, normal: FloatArray, reach: float) -> FloatArray:
    """(N,) share of the surroundings that is open, [0.35, 1]: corners and the feet of things are darker."""
    total = np.full(points.shape[1], 1e-3, dtype=np.float32)
    unseen = np.zeros_like(total)
    for direction in _DOME[:, :, None]:
        weight = np.maximum((direction * normal).sum(axis=0), 0)
        total += weight
        unseen += weight * _hidden(solids, points, direction, reach)
    return 1 - 0.65 * unseen / total


def _lit_share(solids: list[Solid], lamp: Lamp, points: FloatArray, normal: FloatArray) -> FloatArray:
    """(N,) cosine of the light's angle where the lamp is seen, 0 in its shadow."""
    towards = lamp.vector[:, None] - points if lamp.is_point else lamp.vector[:, None]
    limit = 1.0 if lamp.is_point else np.inf
    cosine = np.maximum((towards * normal).sum(axis=0) / np.linalg.norm(towards, axis=0), 0)
    return np.asarray(cosine * ~_hidden(solids, points, towards, limit))


def _sky_light(view: View, rays: FloatArray) -> FloatArray:
    """(N, 3) light of the sky along each ray."""
    azimuth = np.arctan2(rays[0], rays[2])
    return view.sky(azimuth, np.arctan2(rays[1], np.hypot(rays[0], rays[2]))).astype(np.float32)


def _average(fine: FloatArray) -> npt.NDArray[np.float32]:
    """Mean over the rays of each pixel: (F, F, C) to (F / 2, F / 2, C)."""
    size = fine.shape[0] // _SUPERSAMPLING
    blocks = fine.reshape(size, _SUPERSAMPLING, size, _SUPERSAMPLING, -1)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))


def _develop(light: FloatArray) -> npt.NDArray[np.uint8]:
    """Turn light into bytes as a camera does: bright parts roll off instead of clipping."""
    return np.round(255 * (1 - np.exp(-1.6 * np.maximum(light, 0)))).astype(np.uint8)
