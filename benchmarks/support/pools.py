"""Pools of drawn scenes: equally many composites in each, on few backgrounds or on many, as `maskdepth sample` draws.

A pool can be drawn with one thing taken out that differs between its scenes. That is done to the scene before it is
drawn, so all else, the random numbers too, stays as it was.
"""

import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from maskdepth.data.arrays.arrays import Arrays, ShardedArray
from maskdepth.data.pictures.decoding import BACKGROUND_DEPTH, PICTURE_KINDS
from maskdepth.making.drawing.objects import OBJECT_KINDS, Cutout, draw_object
from maskdepth.making.drawing.placing import mirror_cutout, stand_object
from maskdepth.making.drawing.raycast import Solid, View, render
from maskdepth.making.drawing.scenes import SCENE_KINDS
from maskdepth.making.drawing.textures import FloatArray, Texture
from maskdepth.making.layout_writer import encode_picture
from maskdepth.process.files import replacing

_OBJECTS = 60
# Independent random numbers of objects, scenes and composites. `maskdepth sample` seeds with three numbers
# and not with two: nothing is drawn by both.
_OBJECT, _SCENE, _COMPOSITE = 1, 2, 3
# Qualities of JPEG, the second excluded, as of `maskdepth sample`; at twice the size, as larger photographs have it.
_QUALITIES = (60, 91)
# The middle of what each kind of scene is drawn with: how far the camera looks down [rad]; focal length of all kinds.
_PITCH = {"room": 0.24, "street": 0.13, "tabletop": 0.475, "park": 0.165}
_FOCAL = 0.93
# [figure heights] What reaches no farther than this from its middle is a thing, not a wall, a house or the ground.
_THING = 1.2

# Of the photographs' maps: these quantiles of the depth of a background are brought to these depths.
_QUANTILES, _RANGE = (0.005, 0.99), (0.16, 0.96)

Bytes = npt.NDArray[np.uint8]


def draw_pools(change: str, sizes: Iterable[int], composites: int, side: int, folder: Path) -> None:
    """Draw pools of which each has the first backgrounds of the largest, and write those that are not there.

    Args:
        change: A key of `CHANGES`, or "nothing".
        sizes: Numbers of backgrounds; divisors of `composites`.
        composites: Of each pool.
        side: Height and width [px].
        folder: Where the arrays are written, a file a pool.
    """
    wanted = [size for size in sizes if not pool_file(folder, change, size).exists()]
    if not wanted:
        return
    cutouts = [
        draw_object(list(OBJECT_KINDS)[number % len(OBJECT_KINDS)], np.random.default_rng([_OBJECT, number]))
        for number in range(_OBJECTS)
    ]
    pools = {size: _empty_pool(size, composites, side) for size in wanted}
    for number in range(max(wanted)):
        kind = list(SCENE_KINDS)[number % len(SCENE_KINDS)]
        rng = np.random.default_rng([_SCENE, number])
        scene = render(CHANGES[change](kind, SCENE_KINDS[kind](rng)), side)
        compressed = _compress(scene.picture, rng)
        for size, pool in pools.items():
            if number >= size:
                continue
            pool["background"][number] = compressed
            pool[BACKGROUND_DEPTH][number] = np.round(255 * scene.depth)
            for index in range(number, composites, size):
                rng = np.random.default_rng([_COMPOSITE, index])
                composite = stand_object(scene, _choose(cutouts, rng), rng)
                pool["composite"][index] = _compress(composite.picture, rng)
                pool["mask"][index] = composite.mask > 127
                pool["depth"][index] = np.round(255 * composite.depth)
    for size, pool in pools.items():
        with replacing(pool_file(folder, change, size)) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **pool)


def pool_file(folder: Path, change: str, size: int) -> Path:
    """Name the file of a pool."""
    return folder / f"{change.replace(' ', '_')}-{size}.npz"


def load_pool(path: Path) -> Arrays:
    """Read a pool; composite number i is on the background of number i modulo their count."""
    with np.load(path) as held:
        kinds = {kind: ShardedArray([held[kind]]) for kind in (*PICTURE_KINDS, BACKGROUND_DEPTH)}
    return Arrays(kinds["background"].shape[1], **kinds)


def stretch_depth(pool: Arrays) -> Arrays:
    """Give all depth maps the range of the photographs' maps: both are linear in nearness, and differ in that alone."""
    assert pool.background_depth is not None
    kinds = (pool.depth, pool.mask, pool.background_depth)
    depth, mask, scenes = (kind.take(np.arange(len(kind))) for kind in kinds)
    behind = np.where(mask, np.nan, depth.astype(np.float32))
    stretched = [ShardedArray([_stretch(*maps)]) for maps in ((depth, behind), (scenes, scenes.astype(np.float32)))]
    return replace(pool, depth=stretched[0], background_depth=stretched[1])


def _stretch(maps: Bytes, behind: npt.NDArray[np.float32]) -> Bytes:
    """Bring the quantiles of what lies behind the object, NaN where it stands, to the photographs' range."""
    low, high = np.nanquantile(behind.reshape(len(maps), -1), _QUANTILES, axis=1)[..., None, None]
    near, far = _RANGE
    share = (maps - low) / np.maximum(high - low, 1)
    levels: Bytes = np.round(255 * np.clip(near + (far - near) * share, 0, 1)).astype(np.uint8)
    return levels


def _empty_pool(size: int, composites: int, side: int) -> dict[str, Bytes]:
    maps: tuple[int, ...] = (composites, side, side)
    shapes = {
        "background": (size, side, side, 3),
        "composite": (*maps, 3),
        "mask": maps,
        "depth": maps,
        BACKGROUND_DEPTH: (size, side, side),
    }
    return {kind: np.empty(shape, np.uint8) for kind, shape in shapes.items()}


def _choose(cutouts: list[Cutout], rng: np.random.Generator) -> Cutout:
    cutout = cutouts[int(rng.integers(len(cutouts)))]
    return mirror_cutout(cutout) if rng.random() < 0.5 else cutout


def _compress(picture: Bytes, rng: np.random.Generator) -> Bytes:
    """Show what a JPEG of twice the size leaves of a picture."""
    image = Image.fromarray(picture)
    large = image.resize((2 * image.width, 2 * image.height), Image.Resampling.BICUBIC)
    file = io.BytesIO(encode_picture(np.asarray(large), int(rng.integers(*_QUALITIES))))
    return np.asarray(Image.open(file).resize(image.size, Image.Resampling.BOX))


def _one_focal_length(_: str, view: View) -> View:
    return replace(view, camera=replace(view.camera, focal=_FOCAL))


def _one_tilt(kind: str, view: View) -> View:
    return replace(view, camera=replace(view.camera, pitch=_PITCH[kind]))


def _no_turn(_: str, view: View) -> View:
    return replace(view, yaw=0.0)


def _no_things(_: str, view: View) -> View:
    kept = [solid for solid in view.solids if solid.standing or max(solid.half) >= _THING * view.figure_height]
    return replace(view, solids=kept)


def _no_shadows(_: str, view: View) -> View:
    # A surface that nothing darkens has the light of the lamps at an angle, and that of the sky or of the walls.
    light = view.ambient + sum(lamp.colour for lamp in view.lamps) / 2
    return replace(view, lamps=[], ambient=light, reach=0.0)


def _no_textures(_: str, view: View) -> View:
    return replace(view, solids=[_paint(solid) for solid in view.solids])


def _paint(solid: Solid) -> Solid:
    return replace(solid, texture=_mean(solid.texture), top=None if solid.top is None else _mean(solid.top))


def _mean(texture: Texture) -> Texture:
    """Give the mean of a texture over two metres everywhere."""
    u, v = (axis.ravel() for axis in np.meshgrid(*[np.linspace(0, 2, 24, dtype=np.float32)] * 2))
    colour = texture(u, v).mean(0, dtype=np.float32)

    def plain(u: FloatArray, v: FloatArray) -> FloatArray:
        return np.broadcast_to(colour, (len(u), 3))

    return plain


CHANGES: dict[str, Callable[[str, View], View]] = {
    "nothing": lambda _, view: view,
    "focal length": _one_focal_length,
    "tilt": _one_tilt,
    "turn": _no_turn,
    "things": _no_things,
    "shadows": _no_shadows,
    "textures": _no_textures,
}
