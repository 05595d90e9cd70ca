"""Composites made: objects pasted where the rule puts them, encoded, and every placement noted."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from maskdepth.making.composing.composition import Composition, Plan
from maskdepth.making.composing.pictures import load_prepared
from maskdepth.making.composing.placing import RULES, Depth, Place, object_plane
from maskdepth.making.drawing.placing import Composite, place_object, resize_cutout
from maskdepth.making.layout_writer import File, Sample, encode_picture

COLUMNS = ("composite", "foreground", "background", "flip", "placement", "left", "top", "width", "height", "plane")


class Task(NamedTuple):
    """Composites for one process to make; they go into the same batch of archives.

    Attributes:
        plan: What is made, and how it is named.
        folder: Where the prepared pictures are.
        batch: Batch of archives.
        samples: The composites.
    """

    plan: Plan
    folder: Path
    batch: int
    samples: list[Sample]


class Rendered(NamedTuple):
    """One composite, ready to be written.

    Attributes:
        batch: Batch of archives that it belongs to.
        row: Its line of the manifest, the columns `COLUMNS`.
        files: Composite and mask, and depth where there is one.
    """

    batch: int
    row: str
    files: list[File]


def render_all(task: Task) -> list[Rendered]:
    """Make the composites of a task; each depends on the seed and on its own ids alone."""
    load = cache(lambda kind, number: load_prepared(task.folder, kind, number))

    @cache
    def object_at(number: int, height: int, flip: int) -> npt.NDArray[np.uint8]:
        cutout = resize_cutout(load("foreground", number), height)
        return cutout[:, ::-1] if flip else cutout

    composition = task.plan.composition
    rendered = []
    for sample in task.samples:
        depth = load("depth", sample.background) if composition.depths else None
        place = choose_place(composition, sample, load("foreground", sample.foreground).shape, depth)
        cutout = object_at(sample.foreground, place.height, sample.flip)
        composite, plane = paste(load("background", sample.background), depth, cutout, place)
        rendered.append(_encode(task, sample, composite, place, plane))
    return rendered


def choose_place(composition: Composition, sample: Sample, shape: tuple[int, ...], depth: Depth | None) -> Place:
    """Choose where an object goes; a mirrored one may share the place of its plain one.

    Args:
        composition: The settings.
        sample: Which object, background, flip and placement.
        shape: (h, w, 4) of the cut-out.
        depth: (S, S) depth of the background, [0, 1], 0 near; None where it is not known.
    """
    flip = sample.flip if composition.mirror == "independent" else 0
    rng = np.random.default_rng([composition.seed, sample.foreground, sample.background, flip, sample.placement])
    return RULES[composition.rule](rng, composition.size, composition.tall, shape[1] / shape[0], depth)


def paste(
    background: npt.NDArray[np.uint8], depth: Depth | None, cutout: npt.NDArray[np.uint8], place: Place
) -> tuple[Composite, float | None]:
    """Paste an object as a plane that faces the camera.

    Args:
        background: (S, S, 3) RGB.
        depth: (S, S) of the background, [0, 1], 0 near; None where it is not known.
        cutout: (h, w, 4) RGBA, the size of `place`.
        place: Where it goes.

    Returns:
        Composite, and the plane's depth. Without depth there is no plane, and the composite's depth means nothing.
    """
    assert cutout.shape[:2] == (place.height, place.width)
    if depth is None:
        flat = np.zeros(background.shape[:2], np.float32)
        nothing = np.zeros(cutout.shape[:2], np.float32)
        return place_object(background, flat, cutout, nothing, place.left, place.top), None
    plane = object_plane(depth, cutout[..., 3], place)
    planes = np.full(cutout.shape[:2], plane, np.float32)
    return place_object(background, depth, cutout, planes, place.left, place.top), plane


def _encode(task: Task, sample: Sample, composite: Composite, place: Place, plane: float | None) -> Rendered:
    settings = task.plan.composition
    made = {"composite": (composite.picture, settings.quality), "mask": (composite.mask, settings.mask_quality)}
    if plane is not None:
        made["depth"] = (np.round(255 * composite.depth).astype(np.uint8), settings.depth_quality)
    files = [(task.plan.path_of(kind, sample), encode_picture(*picture)) for kind, picture in made.items()]
    ids = (sample.foreground, sample.background, sample.flip, sample.placement)
    said = (files[0][0], *ids, *place, "" if plane is None else f"{plane:.4f}")
    return Rendered(task.batch, ",".join(map(str, said)) + "\n", files)
