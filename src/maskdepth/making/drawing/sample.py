"""The sample data set: drawn scenes with exactly known mask and depth, written as one of the known layouts.

Everything follows from the seed: the same call writes the same bytes, however many processors draw. There is no list
of what stands where; the layout's own names say it, as they do for photographs.
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from maskdepth.making.drawing.objects import OBJECT_KINDS, Cutout, draw_object
from maskdepth.making.drawing.placing import Composite, mirror_cutout, stand_object
from maskdepth.making.drawing.raycast import Scene
from maskdepth.making.drawing.scenes import SCENE_KINDS, draw_scene
from maskdepth.making.layout_writer import (
    DIGITS,
    File,
    Sample,
    Totals,
    WrittenLayout,
    encode_picture,
    find_written,
    label_line,
    path_of,
    put_on_white,
    write_files,
)
from maskdepth.process.console import progress
from maskdepth.process.workers import map_in_order, open_pool, usable_cores
from maskdepth.process.workspace import require_writable

_PLACEMENTS = DIGITS["placement"]  # of one object on one background, plain and mirrored each
_MOST_FOREGROUNDS = DIGITS["foreground"]  # the arithmetic of the positional layouts counts no farther
_SMALLEST_SIZE = 32  # [px]
_FEW = 16  # backgrounds that are drawn before another process has started
_QUALITIES = (60, 91)  # JPEG qualities, the second excluded
_STREAMS = {"background": 1, "foreground": 2, "composite": 3, "quality": 4}  # independent random numbers

Bytes = npt.NDArray[np.uint8]


def write_sample(
    out_dir: Path,
    layout: str,
    seed: int,
    num_backgrounds: int,
    num_foregrounds: int,
    num_composites: int,
    size: int,
    first: int = 1,
) -> None:
    """Draw a data set and write it as a folder of archives; nothing is left behind if it is interrupted.

    Args:
        out_dir: Folder to make; it must not exist, or be empty.
        layout: One of `written_layouts`.
        seed: Everything random follows from it.
        num_backgrounds: How many scenes.
        num_foregrounds: How many objects, at most 100.
        num_composites: How many objects on scenes; every background gets its even share.
        size: Height and width of backgrounds and composites [px]; foregrounds are half as large.
        first: Number of the first background and object in the names; what is drawn does not depend on it.

    Raises:
        ValueError: The layout is not known, a number is out of range, or the folder has something in it or cannot be
            written to.
    """
    totals = Totals(num_backgrounds, num_foregrounds, num_composites)
    written = replace(find_written(layout), first=first)
    _check_totals(totals, written, size)
    out_dir = out_dir.resolve()
    require_writable([out_dir if out_dir.exists() else out_dir.parent])
    if out_dir.exists() and any(out_dir.iterdir()):
        found = sorted(path.name for path in out_dir.iterdir())
        raise ValueError(f"{out_dir} is not empty (it has {found[0]}); name a new folder, or empty this one")
    part_dir = out_dir.with_name(f".{out_dir.name}.part")
    shutil.rmtree(part_dir, ignore_errors=True)
    try:
        write_files(part_dir, _draw_files(written, seed, totals, size))
        part_dir.replace(out_dir)
    finally:
        shutil.rmtree(part_dir, ignore_errors=True)


def plan_samples(totals: Totals, seed: int, mirrors: bool) -> list[Sample]:
    """Decide which object stands on which background: backgrounds in order, objects shuffled, no key twice.

    >>> [sample[1:] for sample in plan_samples(Totals(background=2, foreground=1, number=4), seed=0, mirrors=True)]
    [(1, 1, 0, 1), (1, 1, 1, 1), (1, 2, 0, 2), (1, 2, 1, 2)]
    """
    flips = 2 if mirrors else 1
    samples = []
    for index in range(totals.number):
        background = index * totals.background // totals.number + 1
        objects = _random(seed, "background", background).permutation(totals.foreground)
        # After all flips and placements the next round takes each with another object.
        turn, slot = divmod(index, flips * _PLACEMENTS)
        foreground = int(objects[(turn + slot) % totals.foreground]) + 1
        samples.append(Sample(index + 1, foreground, background, slot % flips, slot // flips + 1))
    return samples


def _check_totals(totals: Totals, layout: WrittenLayout, size: int) -> None:
    for name, count in totals._asdict().items():
        if count < 1:
            raise ValueError(f"number of {'composite' if name == 'number' else name}s is {count}; expected 1 or more")
    if "background" in layout.order and totals.background > DIGITS["background"]:
        raise ValueError(
            f"number of backgrounds is {totals.background}; the running numbers of this layout tell "
            f"{DIGITS['background']} apart: ask for fewer, or for another layout"
        )
    if layout.order and layout.first != 1:
        raise ValueError(
            f"the names of this layout are one number, made of all ids, and cannot begin with {layout.first}: ask for "
            "another layout"
        )
    if totals.foreground > _MOST_FOREGROUNDS:
        raise ValueError(f"number of foregrounds is {totals.foreground}; the layouts have at most {_MOST_FOREGROUNDS}")
    most = totals.background * totals.foreground * _PLACEMENTS * (1 + layout.mirrors)
    if totals.number > most:
        raise ValueError(
            f"{totals.number} composites are more than the {most} that {totals.foreground} objects on "
            f"{totals.background} backgrounds can make; ask for fewer, or for more objects"
        )
    if size < _SMALLEST_SIZE:
        raise ValueError(f"size is {size} px; expected {_SMALLEST_SIZE} or more")


def _random(seed: int, stream: str, number: int) -> np.random.Generator:
    """Random numbers of one picture: they do not depend on what is drawn before."""
    return np.random.default_rng([seed, _STREAMS[stream], number])


def _draw_files(layout: WrittenLayout, seed: int, totals: Totals, size: int) -> Iterator[File]:
    """Every file of the data set, in an order that does not depend on how many draw."""
    samples = plan_samples(totals, seed, layout.mirrors)
    by_background = {number: list(group) for number, group in groupby(samples, key=lambda sample: sample.background)}
    for number, cutout in enumerate(_draw_foregrounds(seed, totals.foreground), 1):
        yield from _encode_foreground(layout, seed, totals, size, number, cutout)
    work = [(number, by_background.get(number, [])) for number in range(1, totals.background + 1)]
    workers = usable_cores() if len(work) > _FEW else 1
    with open_pool(workers) as pool:
        tasks = map_in_order(pool, partial(_draw_background, layout, seed, totals, size), work, ahead=4 * workers)
        for files in progress(tasks, "drawing", total=totals.background):
            yield from files
    if layout.labels:
        yield "labels.txt", "".join(label_line(layout, totals, sample) for sample in samples).encode()


@lru_cache(maxsize=1)
def _draw_foregrounds(seed: int, count: int) -> list[Cutout]:
    """All objects; each process draws them once, which is as quick as to send them with every background."""
    kinds = list(OBJECT_KINDS)
    numbers = range(1, count + 1)
    return [draw_object(kinds[(number - 1) % len(kinds)], _random(seed, "foreground", number)) for number in numbers]


def _draw_background(
    layout: WrittenLayout, seed: int, totals: Totals, size: int, work: tuple[int, list[Sample]]
) -> list[File]:
    """One background, by its number, and all composites on it."""
    number, samples = work
    cutouts = _draw_foregrounds(seed, totals.foreground)
    kinds = list(SCENE_KINDS)
    rng = _random(seed, "background", number)
    scene = draw_scene(kinds[(number - 1) % len(kinds)], rng, size)
    files = _encode_background(layout, rng, number, scene)
    for sample in samples:
        rng = _random(seed, "composite", sample.number)
        cutout = cutouts[sample.foreground - 1]
        composite = stand_object(scene, mirror_cutout(cutout) if sample.flip else cutout, rng)
        files += _encode_composite(layout, rng, totals, sample, composite)
    return files


def _encode_background(layout: WrittenLayout, rng: np.random.Generator, number: int, scene: Scene) -> list[File]:
    """The background and, where the layout has a place for it, its depth, once in each archive; dark is near."""
    files = []
    for kind, picture in (("background", scene.picture), ("background_depth", _grey_levels(scene.depth))):
        template = layout.paths.get(kind)
        if template is None:
            continue
        content = _encode(picture, Path(template).suffix, rng)
        sample = Sample(number=0, foreground=0, background=number, flip=0, placement=0)
        paths = {layout.fill(kind, sample, batch + 1) for batch in range(layout.batches)}
        files += [(path, content) for path in sorted(paths)]
    return files


def _encode_foreground(
    layout: WrittenLayout, seed: int, totals: Totals, size: int, number: int, cutout: Cutout
) -> Iterator[File]:
    """The object alone, on a square of half the size: with its alpha, or on white where the layout has JPEG."""
    rng = _random(seed, "quality", number)
    picture = Image.fromarray(cutout.picture)
    picture.thumbnail((size // 2, size // 2))
    square = Image.new("RGBA", (size // 2, size // 2), (255, 255, 255, 0))
    square.paste(picture, ((size // 2 - picture.width) // 2, size // 2 - picture.height))
    alpha = np.asarray(square)[..., 3]
    sample = Sample(number=0, foreground=number, background=0, flip=0, placement=0)
    for kind in ("foreground", "foreground_mask"):
        path = path_of(layout, totals, kind, sample)
        suffix = Path(path).suffix
        if kind == "foreground_mask":
            yield path, _encode(alpha, suffix, rng)
        elif suffix == ".png":
            yield path, _encode(np.asarray(square), suffix, rng)
        else:
            yield path, _encode(put_on_white(np.asarray(square)), suffix, rng)


def _encode_composite(
    layout: WrittenLayout, rng: np.random.Generator, totals: Totals, sample: Sample, composite: Composite
) -> list[File]:
    """Composite, mask and depth; dark is near."""
    pictures = {"composite": composite.picture, "mask": composite.mask, "depth": _grey_levels(composite.depth)}
    return [
        (path_of(layout, totals, kind, sample), _encode(picture, ".jpg", rng)) for kind, picture in pictures.items()
    ]


def _grey_levels(depth: npt.NDArray[np.float32]) -> Bytes:
    """Depth, [0, 1], as it is stored."""
    return np.round(255 * depth).astype(np.uint8)


def _encode(picture: Bytes, suffix: str, rng: np.random.Generator) -> bytes:
    """The bytes of a picture file; JPEG qualities differ from file to file."""
    return encode_picture(picture, 0 if suffix == ".png" else int(rng.integers(*_QUALITIES)))
