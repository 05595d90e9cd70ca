"""The pictures that a data set is composed of: found, checked, and brought to size once, before any composite is made.

What is brought to size lies in a folder of arrays, so that every worker finds it without decoding, and none is held
in memory.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from maskdepth.data.files import read_colour, read_whole
from maskdepth.data.pictures.decoding import SAME_SHAPE
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.making.composing.composition import Composition
from maskdepth.making.composing.placing import width_of
from maskdepth.making.drawing.placing import resize_cutout
from maskdepth.process.files import digest_file

_SUFFIXES = (".jpeg", ".jpg", ".png")
# Opacity up to which the border of a cut-out counts as empty: matting leaves a haze.
_FAINTEST = 5
_LARGEST_ALPHA = 255
# Largest values of grey depth maps, by colour mode.
_GREY_LEVELS = {"1": 1, "L": 255, "I;16": 65535, "I;16B": 65535, "I": 65535}


class Inputs(NamedTuple):
    """The files of a composition; pictures are numbered in this order, from 1.

    Attributes:
        foregrounds: Cut-outs.
        backgrounds: Scenes.
        depths: Depth map of each background; empty where there are none.
    """

    foregrounds: list[Path]
    backgrounds: list[Path]
    depths: list[Path]


class Preparation(NamedTuple):
    """One picture to be brought to size.

    Attributes:
        kind: "foreground" or "background".
        number: Its number.
        path: The file.
        depth: Depth map of a background; None where there is none.
        composition: The settings.
        folder: Where the arrays go.
    """

    kind: str
    number: int
    path: Path
    depth: Path | None
    composition: Composition
    folder: Path


def find_inputs(composition: Composition) -> Inputs:
    """List the files of all folders, numbers in names counted as numbers: fg2 comes before fg10.

    Raises:
        FileNotFoundError: A folder or the depth map of a background is missing.
        ValueError: A folder has no pictures, or a background has two depth maps.
    """
    foregrounds, backgrounds = _find_pictures(composition.foregrounds), _find_pictures(composition.backgrounds)
    depths = []
    if composition.depths is not None:
        depths = _find_depths(composition.depths, composition.backgrounds, backgrounds)
    return Inputs(foregrounds, backgrounds, depths)


def describe_inputs(composition: Composition, inputs: Inputs) -> dict[str, list[dict[str, Any]]]:
    """Name every file by its number, its path below its folder and the SHA-256 of its bytes."""
    folders = (composition.foregrounds, composition.backgrounds, composition.depths)
    return {
        kind: [
            {"number": number, "file": path.relative_to(folder).as_posix(), "sha256": digest_file(path, "sha256")}
            for number, path in enumerate(paths, 1)
        ]
        for (kind, paths), folder in zip(inputs._asdict().items(), folders, strict=True)
        if folder is not None
    }


def preparations(composition: Composition, inputs: Inputs, folder: Path) -> list[Preparation]:
    """List the work of bringing all pictures to size."""
    work = [
        Preparation("foreground", number, path, None, composition, folder)
        for number, path in enumerate(inputs.foregrounds, 1)
    ]
    depths: Sequence[Path | None] = inputs.depths or [None] * len(inputs.backgrounds)
    return work + [
        Preparation("background", number, path, depth, composition, folder)
        for number, (path, depth) in enumerate(zip(inputs.backgrounds, depths, strict=True), 1)
    ]


def prepare(work: Preparation) -> str:
    """Bring one picture to size and keep it; give back why it cannot be used, or ""."""
    try:
        if work.kind == "foreground":
            _keep(work, work.kind, read_cutout(work.path, work.composition.tall, work.composition.size))
        else:
            _prepare_background(work)
    except RefusedError as error:
        return str(error)
    return ""


def load_prepared(folder: Path, kind: str, number: int) -> npt.NDArray[Any]:
    """Load what `prepare` kept: (h, w, 4) uint8 of a foreground, (S, S, 3) uint8 of a background, or its depth,
    (S, S) float32, [0, 1], 0 near.
    """
    prepared: npt.NDArray[Any] = np.load(_prepared_path(folder, kind, number))
    return prepared


def read_cutout(path: Path, tall: int, size: int) -> npt.NDArray[np.uint8]:
    """Decode a cut-out, cut away its empty border, and make it as tall as it is at most needed.

    Args:
        path: A picture with alpha.
        tall: Height of the result [px].
        size: Largest width of the result [px].

    Returns:
        (tall, w, 4) RGBA, colours not multiplied by alpha.

    Raises:
        RefusedError: It is damaged, has no alpha or one that cuts nothing out, or is too wide.
    """
    image = read_whole(path)
    cure = "cut the object out, and save it as PNG with transparency around it"
    if not image.has_transparency_data:
        raise RefusedError(f"it has no alpha (its colour mode is {image.mode})", cure, str(path))
    image = image.convert("RGBA")
    alpha = image.getchannel("A")
    box = alpha.point(lambda opacity: opacity > _FAINTEST and _LARGEST_ALPHA).getbbox()
    if box is None or alpha.getextrema()[0] == _LARGEST_ALPHA:
        raise RefusedError(f"its alpha shows {'nothing' if box is None else 'all of the picture'}", cure, str(path))
    cutout = np.asarray(image.crop(box))
    if (width := width_of(tall, cutout.shape[1] / cutout.shape[0])) > size:
        raise RefusedError(
            f"its object would be {width} x {tall} px on pictures of {size} x {size} px",
            f"make objects at most {tall * size // width} px tall",
            str(path),
        )
    return resize_cutout(cutout, tall)


def _decode_depth(path: Path) -> Image.Image:
    """Decode a grey depth map of 8 or 16 bits to float32, [0, 1]."""
    image = read_whole(path)
    if image.mode not in _GREY_LEVELS:
        raise RefusedError(f"its colour mode is {image.mode}", "save depth in grey of 8 or 16 bits", str(path))
    return Image.fromarray(np.asarray(image, np.float32) / np.float32(_GREY_LEVELS[image.mode]))


def _prepare_background(work: Preparation) -> None:
    """Cut the square out of the middle of a background, and of its depth map; enlarge it as far as it makes sense.

    Raises:
        RefusedError: It cannot be decoded, is smaller than an object, or does not fit its depth map.
    """
    size, tall = work.composition.size, work.composition.tall
    image = read_colour(work.path)
    if min(image.size) < tall:
        raise RefusedError(
            f"it has {image.width} x {image.height} pixels, an object is {tall} px tall",
            "use a larger picture, or make objects smaller",
            str(work.path),
        )
    if work.depth is not None:
        depth = _decode_depth(work.depth)
        ratio = depth.width * image.height / (depth.height * image.width)
        if not 1 - SAME_SHAPE < ratio < 1 + SAME_SHAPE:
            raise RefusedError(
                f"it has {depth.width} x {depth.height} pixels, but its background {image.width} x {image.height}",
                "give both the same shape",
                str(work.depth),
            )
        _keep(work, "depth", np.asarray(ImageOps.fit(depth, (size, size), Image.Resampling.BILINEAR), np.float32))
    _keep(work, work.kind, np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)))


def _keep(work: Preparation, kind: str, pixels: npt.NDArray[Any]) -> None:
    np.save(_prepared_path(work.folder, kind, work.number), pixels)


def _prepared_path(folder: Path, kind: str, number: int) -> Path:
    return folder / f"{kind}_{number}.npy"


def _find_pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; name a folder of pictures")
    found = [path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file()]
    shown = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if not shown:
        raise ValueError(f"{folder} has no pictures; expected files in {', '.join(_SUFFIXES)}")
    return sorted(shown, key=lambda path: _natural(path.relative_to(folder).as_posix()))


def _find_depths(folder: Path, backgrounds_dir: Path, backgrounds: Sequence[Path]) -> list[Path]:
    """Find the depth map of each background: the same path below its folder, but for the suffix."""
    maps: dict[Path, Path] = {}
    for path in _find_pictures(folder):
        other = maps.setdefault(path.relative_to(folder).with_suffix(""), path)
        if other is not path:
            raise ValueError(f"{other} and {path} differ in their suffix only; keep one of these depth maps")
    names = [path.relative_to(backgrounds_dir).with_suffix("") for path in backgrounds]
    for path, name in zip(backgrounds, names, strict=True):
        if name not in maps:
            raise FileNotFoundError(f"{path} has no depth map; expected {folder / name}.png")
    return [maps[name] for name in names]


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key by which numbers in names count as numbers.

    >>> sorted(["fg10.png", "fg2.png", "fg1.png"], key=_natural)
    ['fg1.png', 'fg2.png', 'fg10.png']
    """
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts] + [(-2, name)]
