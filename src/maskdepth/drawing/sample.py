"""The sample data set: drawn scenes with exactly known mask and depth, written as one of the known layouts.

Everything follows from the seed: the same call writes the same bytes, however many processors draw. There is no list
of what stands where; the layout's own names say it, as they do for photographs.
"""

import io
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from maskdepth.console import track
from maskdepth.drawing.objects import OBJECT_KINDS, Cutout, draw_object
from maskdepth.drawing.placing import Composite, mirror_cutout, stand_object
from maskdepth.drawing.scenes import SCENE_KINDS, draw_scene

_PLACEMENTS = 20  # of one object on one background, plain and mirrored each: as many as the students made
_MOST_FOREGROUNDS = 100  # the arithmetic of the positional layouts counts no farther
_SMALLEST_SIZE = 32  # [px]
_QUALITIES = (60, 91)  # JPEG qualities, the second excluded
_STREAMS = {"background": 1, "foreground": 2, "composite": 3, "quality": 4}  # independent random numbers

Bytes = npt.NDArray[np.uint8]
File = tuple[str, bytes]  # path below the data set, and content


class Sample(NamedTuple):
    """One composite of the plan."""

    number: int
    foreground: int
    background: int
    flip: int
    placement: int


class Totals(NamedTuple):
    """How many there are of each."""

    background: int
    foreground: int
    number: int


@dataclass(frozen=True)
class SampleLayout:
    """How to name the files of a data set; what comes before `.zip/` is the archive.

    Attributes:
        paths: Template of the path of each kind of picture, with the fields of `Sample`, and `batch`.
        order: Digits, outermost first, of the number in the names; empty for the running number.
        batches: Into how many archives the composites are dealt.
        batch_by: By what they are dealt.
        mirrors: Whether every other composite shows its object mirrored.
        labels: Columns, each a kind, of a table `labels.txt` of paths.
    """

    paths: dict[str, str]
    order: tuple[str, ...] = ()
    batches: int = 1
    batch_by: Literal["foreground", "background", "number"] = "number"
    mirrors: bool = True
    labels: tuple[str, ...] = ()


SAMPLE_LAYOUTS = {
    "sudhakarmlal": SampleLayout(
        paths={
            "background": "batch{batch}_images.zip/bg_jpg/bg_img_{background}.jpg",
            "foreground": "batch{batch}_images.zip/fg_jpg/fg_img_{foreground}.jpg",
            "foreground_mask": "batch{batch}_images.zip/mask_jpg/mask_img_{foreground}.jpg",
            "composite": "batch{batch}_images.zip/fg_bg_jpg/fg_bg_{foreground}_{background}_{flip}_{placement}.jpg",
            "mask": "batch{batch}_images.zip/mask_black_jpg/bg_mask_{foreground}_{background}_{flip}_{placement}.jpg",
            "depth": "batch{batch}_images.zip/depth_fg_bg_jpg/"
            "depth_fg_bg_{foreground}_{background}_{flip}_{placement}.jpg",
        },
        batches=4,
        batch_by="foreground",
    ),
    "mshilpaa": SampleLayout(
        paths={
            "background": "Background/bg{background}.jpg",
            "foreground": "Foreground/fg{foreground}.png",
            "foreground_mask": "Mask/mask{foreground}.jpg",
            "composite": "Dataset/data_part{batch}.zip/data_{batch}/Fg-Bg/fg-bg{number}.jpg",
            "mask": "Dataset/data_part{batch}.zip/data_{batch}/Fg-Bg-Mask/fg-bg-mask{number}.jpg",
            "depth": "Dataset/data_part{batch}.zip/data_{batch}/Depth/depth{number}.jpg",
        },
        batches=2,
        labels=("background", "foreground", "composite", "mask", "depth"),
    ),
    "deepjyotisaha85": SampleLayout(
        paths={
            "background": "bg/bg_{background}.jpg",
            "foreground": "fg/fg_{foreground}.png",
            "foreground_mask": "fg_mask/fg_{foreground}.jpg",
            "composite": "fg_bg.zip/image/fg_bg_{number}.jpg",
            "mask": "fg_bg.zip/mask/fg_bg_mask_{number}.jpg",
            "depth": "depth_{batch}.zip/depthmap/depth_{number}.jpg",
        },
        order=("background", "foreground", "placement", "flip"),
        batches=2,
    ),
    "sajnanshetty": SampleLayout(
        paths={
            "background": "background/{background}.jpg",
            "foreground": "foreground/{foreground}.png",
            "foreground_mask": "fg_mask/{foreground}.jpg",
            "composite": "fg_bg/fg_bg_{background:03d}.zip/bg_{background:03d}/{number}.jpg",
            "mask": "fg_bg_mask/fg_bg_mask_{background:03d}.zip/bg_{background:03d}/{number}.jpg",
            "depth": "dense_depth/fg_bg_depth_{background:03d}.zip/bg_{background:03d}/{number}.jpg",
        },
        order=("background", "foreground", "flip", "placement"),
    ),
    "sumankanukollu": SampleLayout(
        paths={
            "background": "bg/{background}_bg.jpg",
            "foreground": "fg/{foreground}_fg.jpg",
            "foreground_mask": "mask/{foreground}_fg_mask.jpg",
            "composite": "zipFiles/batch_{batch}.zip/bg_fg_1/{background}_bg_{number}_fg.jpg",
            "mask": "zipFiles/batch_{batch}.zip/bg_fg_mask_1/{background}_bg_{number}_fg.jpg",
            "depth": "zipFiles/batch_{batch}.zip/depthMap/{background}_bg_{number}_fg.jpg",
        },
        order=("foreground", "placement"),
        batches=4,
        batch_by="background",
        mirrors=False,
    ),
}


def write_sample(
    out_dir: Path,
    layout: str,
    seed: int,
    num_backgrounds: int,
    num_foregrounds: int,
    num_composites: int,
    size: int,
) -> None:
    """Draw a data set and write it as a folder of archives; nothing is left behind if it is interrupted.

    Args:
        out_dir: Folder to make; it must not exist, or be empty.
        layout: One of `SAMPLE_LAYOUTS`.
        seed: Everything random follows from it.
        num_backgrounds: How many scenes.
        num_foregrounds: How many objects, at most 100.
        num_composites: How many objects on scenes; every background gets its even share.
        size: Height and width of backgrounds and composites [px]; foregrounds are half as large.

    Raises:
        ValueError: The layout is not known, a number is out of range, or the folder has something in it.
    """
    totals = Totals(num_backgrounds, num_foregrounds, num_composites)
    if layout not in SAMPLE_LAYOUTS:
        raise ValueError(f"layout {layout!r} cannot be written; known: {', '.join(SAMPLE_LAYOUTS)}")
    _check_totals(totals, SAMPLE_LAYOUTS[layout], size)
    out_dir = out_dir.resolve()
    if out_dir.exists() and any(out_dir.iterdir()):
        found = sorted(path.name for path in out_dir.iterdir())
        raise ValueError(f"{out_dir} is not empty (it has {found[0]}); name a new folder, or empty this one")
    part_dir = out_dir.with_name(f".{out_dir.name}.part")
    shutil.rmtree(part_dir, ignore_errors=True)
    try:
        _write_files(part_dir, _draw_files(SAMPLE_LAYOUTS[layout], seed, totals, size))
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


def _check_totals(totals: Totals, layout: SampleLayout, size: int) -> None:
    for name, count in totals._asdict().items():
        if count < 1:
            raise ValueError(f"number of {'composite' if name == 'number' else name}s is {count}; expected 1 or more")
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


def _draw_files(layout: SampleLayout, seed: int, totals: Totals, size: int) -> Iterator[File]:
    """Every file of the data set, in an order that does not depend on how many draw."""
    samples = plan_samples(totals, seed, layout.mirrors)
    by_background = {number: list(group) for number, group in groupby(samples, key=lambda sample: sample.background)}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # numpy and Pillow release the interpreter's lock where they spend their time.
        cutouts = list(pool.map(partial(_draw_foreground, seed), range(1, totals.foreground + 1)))
        for number, cutout in enumerate(cutouts, 1):
            yield from _encode_foreground(layout, seed, totals, size, number, cutout)
        draw = partial(_draw_background, layout, seed, totals, size, cutouts)
        numbers = range(1, totals.background + 1)
        tasks = pool.map(draw, numbers, [by_background.get(number, []) for number in numbers])
        for files in track(tasks, "drawing", total=totals.background):
            yield from files
    if layout.labels:
        yield "labels.txt", _label_table(layout, totals, samples).encode()


def _draw_foreground(seed: int, number: int) -> Cutout:
    kinds = list(OBJECT_KINDS)
    return draw_object(kinds[(number - 1) % len(kinds)], _random(seed, "foreground", number))


def _draw_background(
    layout: SampleLayout,
    seed: int,
    totals: Totals,
    size: int,
    cutouts: list[Cutout],
    number: int,
    samples: list[Sample],
) -> list[File]:
    """One background and all composites on it."""
    kinds = list(SCENE_KINDS)
    rng = _random(seed, "background", number)
    scene = draw_scene(kinds[(number - 1) % len(kinds)], rng, size)
    files = _encode_background(layout, rng, number, scene.picture)
    for sample in samples:
        rng = _random(seed, "composite", sample.number)
        cutout = cutouts[sample.foreground - 1]
        composite = stand_object(scene, mirror_cutout(cutout) if sample.flip else cutout, rng)
        files += _encode_composite(layout, rng, totals, sample, composite)
    return files


def _encode_background(layout: SampleLayout, rng: np.random.Generator, number: int, picture: Bytes) -> list[File]:
    """The background, once in each archive that wants it."""
    content = _encode(picture, ".jpg", rng)
    template = layout.paths["background"]
    paths = {template.format(background=number, batch=batch + 1) for batch in range(layout.batches)}
    return [(path, content) for path in sorted(paths)]


def _encode_foreground(
    layout: SampleLayout, seed: int, totals: Totals, size: int, number: int, cutout: Cutout
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
        path = _path_of(layout, totals, kind, sample)
        suffix = Path(path).suffix
        if kind == "foreground_mask":
            yield path, _encode(alpha, suffix, rng)
        elif suffix == ".png":
            yield path, _encode(np.asarray(square), suffix, rng)
        else:
            white = Image.new("RGBA", square.size, (255, 255, 255, 255))
            yield path, _encode(np.asarray(Image.alpha_composite(white, square).convert("RGB")), suffix, rng)


def _encode_composite(
    layout: SampleLayout, rng: np.random.Generator, totals: Totals, sample: Sample, composite: Composite
) -> list[File]:
    """Composite, mask and depth; dark is near."""
    depth = np.round(255 * composite.depth).astype(np.uint8)
    pictures = {"composite": composite.picture, "mask": composite.mask, "depth": depth}
    return [
        (_path_of(layout, totals, kind, sample), _encode(picture, ".jpg", rng)) for kind, picture in pictures.items()
    ]


def _encode(picture: Bytes, suffix: str, rng: np.random.Generator) -> bytes:
    """The bytes of a picture file; JPEG qualities differ from file to file."""
    content = io.BytesIO()
    if suffix == ".png":
        Image.fromarray(picture).save(content, "PNG")
    else:
        Image.fromarray(picture).save(content, "JPEG", quality=int(rng.integers(*_QUALITIES)))
    return content.getvalue()


def _path_of(layout: SampleLayout, totals: Totals, kind: str, sample: Sample) -> str:
    """Path of a picture of one sample below the data set."""
    dealt_by, total = getattr(sample, layout.batch_by), getattr(totals, layout.batch_by)
    batch = max(dealt_by - 1, 0) * layout.batches // total + 1
    number = _number_of(layout, sample)
    return layout.paths[kind].format(**sample._replace(number=number)._asdict(), batch=batch)


def _number_of(layout: SampleLayout, sample: Sample) -> int:
    """The number in the names: the digits of the layout's order, or the running number.

    >>> _number_of(SAMPLE_LAYOUTS["deepjyotisaha85"], Sample(7, foreground=16, background=1, flip=1, placement=19))
    638
    """
    if not layout.order:
        return sample.number
    radix = {"background": 0, "foreground": _MOST_FOREGROUNDS, "flip": 2, "placement": _PLACEMENTS}
    number = 0
    for digit in layout.order:
        number = number * radix[digit] + getattr(sample, digit) - (digit != "flip")
    return number + 1


def _label_table(layout: SampleLayout, totals: Totals, samples: Iterable[Sample]) -> str:
    """One line per composite: the paths of its pictures, below their archives, separated by tabs."""
    lines = []
    for sample in samples:
        paths = (_path_of(layout, totals, kind, sample) for kind in layout.labels)
        lines.append("\t".join(path.rpartition(".zip/")[2] for path in paths))
    return "\n".join(lines) + "\n"


def _write_files(out_dir: Path, files: Iterable[File]) -> None:
    """Write files, those below a `.zip` into that archive."""
    archives: dict[str, zipfile.ZipFile] = {}
    with ExitStack() as open_archives:
        for path, content in files:
            archive, is_member, name = path.rpartition(".zip/")
            target = out_dir / (f"{archive}.zip" if is_member else path)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not is_member:
                target.write_bytes(content)
                continue
            if archive not in archives:
                archives[archive] = open_archives.enter_context(zipfile.ZipFile(target, "x"))
            archives[archive].writestr(_member(name), content)


def _member(name: str) -> zipfile.ZipInfo:
    """A member without a clock: stored as it is, dated as early as zip archives can say."""
    member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    member.external_attr = 0o644 << 16
    return member
