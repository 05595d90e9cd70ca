"""The files of a prediction: which pictures make a pair, what the results are called, and safe reading and writing.

Input may come from anywhere: a picture that cannot be used is refused alone, no name leads out of the output folder,
and no file is replaced unasked.
"""

import csv
import hashlib
import io
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskdepth.data.layouts.layout import Layout, read_layouts
from maskdepth.data.pictures.decoding import SAME_SHAPE, decode_colour, decode_picture
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.process.console import printable, readable_size
from maskdepth.process.files import replace_text, replacing

PREDICTED, FAILED = "predicted", "failed"

# Longer side of a picture as it is shown to people [px].
SHOWN_SIDE = 256

_SUFFIXES = {".jpg", ".jpeg", ".png"}
# File systems take 255 bytes; the endings and the digest need some of them.
_LONGEST_NAME = 120


class Pair(NamedTuple):
    """Two picture files of one scene, and the name that its results get."""

    name: str
    background: Path
    composite: Path


class Outcome(NamedTuple):
    """One row of the report: the name of a pair, PREDICTED or FAILED, and why it failed or how it was registered."""

    name: str
    status: str
    reason: str


class Decoded(NamedTuple):
    """One picture, decoded twice.

    Attributes:
        seen: (S, S, 3) uint8 RGB, as the network sees it.
        shown: (SHOWN_SIDE, SHOWN_SIDE, 3) uint8 RGB, for people.
        width: Of the file, upright [px].
        height: Of the file, upright [px].
        whole: (height, width, 3) uint8 RGB; None where nobody asked for it.
    """

    seen: NDArray[np.uint8]
    shown: NDArray[np.uint8]
    width: int
    height: int
    whole: NDArray[np.uint8] | None


def require_inputs(background: Path, composite: Path, model: Path) -> None:
    """Make sure, before anything large is loaded, that all is there that a prediction is made of.

    Raises:
        FileNotFoundError: There is no such file or folder; says which.
    """
    for path in (background, composite):
        if not path.is_file() and not path.is_dir():
            raise FileNotFoundError(f"{path} is missing; expected a JPEG or PNG picture, or a folder of such")
    if not model.is_file():
        raise FileNotFoundError(f"{model} is missing; `dvc repro train` makes it")


def find_pairs(background: Path, composite: Path) -> tuple[list[Pair], list[Outcome]]:
    """Pair pictures without and with an object: two files, two folders by file name, or one file with a whole folder.

    File names of a known layout are paired by the background that they name, as `bg_img_7` and `fg_bg_3_7_0_1`.

    Returns:
        The pairs, by file name, and a failure for every picture of a folder that is left over.

    Raises:
        ValueError: A folder without pictures, two pictures of one name, or no pair at all.
    """
    if composite.is_dir():
        composites = _list_pictures(composite)
        backgrounds = _list_pictures(background) if background.is_dir() else dict.fromkeys(composites, background)
        if not composites.keys() & backgrounds.keys():
            backgrounds = _pair_by_layout(backgrounds, composites) or backgrounds
    elif background.is_dir():
        raise ValueError(
            f"{background} is a folder but {composite} is one picture; name the background of that picture"
        )
    else:
        composites, backgrounds = {_stem(composite): composite}, {_stem(composite): background}
    pairs = [Pair(slug(stem), backgrounds[stem], composites[stem]) for stem in composites if stem in backgrounds]
    if not pairs:
        raise ValueError(f"no file name of {composite} is also in {background}; a pair has one name, up to the suffix")
    left_over = [(stem, f"no background of this name in {background}") for stem in composites.keys() - backgrounds]
    left_over += [(stem, f"no composite of this name in {composite}") for stem in backgrounds.keys() - composites]
    return pairs, [Outcome(slug(stem), FAILED, printable(reason)) for stem, reason in left_over]


def slug(stem: str) -> str:
    """Make a name that no file system, shell or table misreads; a changed name gets a digest, so that all stay unlike.

    >>> slug("room 1 (2)"), slug("-rf")
    ('room 1 (2)', 'rf-686c39ac')
    """
    safe = re.sub(r"[^\w .()-]+", "_", stem).strip(" .-")
    safe = safe.encode()[:_LONGEST_NAME].decode(errors="ignore") or "picture"
    return safe if safe == stem else f"{safe}-{hashlib.sha256(os.fsencode(stem)).hexdigest()[:8]}"


def name_results(folder: Path, name: str, probability: bool) -> dict[str, Path]:
    """Say which files the results of a pair are written to, by kind: picture, mask, depth and, if asked, probability.

    >>> name_results(Path("out"), "room", probability=False)["mask"].name
    'room_mask.png'
    """
    endings = {"picture": "", "mask": "_mask", "depth": "_depth"}
    if probability:
        endings["probability"] = "_probability"
    return {kind: folder / f"{name}{ending}.png" for kind, ending in endings.items()}


def check_results(results: Mapping[Pair, Mapping[str, Path]], report: Path | None, overwrite: bool) -> None:
    """Make sure before any work that every result has a place of its own, where nothing is lost.

    Args:
        results: The files that each pair will write, all in one folder.
        report: Another file in that folder, if there will be one.
        overwrite: Results may be there already.

    Raises:
        ValueError: Two pairs write the same file, a result is an input, or is there already.
    """
    # Unlike `Path.resolve` this also takes a link that leads to itself.
    inputs = {Path(os.path.realpath(path)) for pair in results for path in (pair.background, pair.composite)}
    makers: dict[str, Pair] = {}
    paths = [report] if report else []
    for pair, named in results.items():
        for path in named.values():
            # Some systems hold names that differ in case only for one.
            other = makers.setdefault(path.name.casefold(), pair)
            if other is not pair:
                raise ValueError(f"{other.composite} and {pair.composite} would both write {path}; rename one of them")
            if path.parent.resolve() / path.name in inputs:
                raise ValueError(f"{path} is one of the pictures to predict; choose another folder for the results")
            paths.append(path)
    there = [path for path in paths if os.path.lexists(path)]  # also a link that leads nowhere
    if there and not overwrite:
        raise ValueError(
            f"{len(there):,} of the results are there already, such as {there[0]}; "
            "choose another folder, or replace them with --overwrite"
        )


def read_picture(image_size: int, max_bytes: int, is_whole: bool, path: Path) -> Decoded:
    """Read a background or a composite, by the rules of training.

    Args:
        image_size: [px] S, side of the pictures that the network sees.
        max_bytes: Larger files are refused after so many bytes.
        is_whole: Whether the picture is wanted at its own size, too.
        path: JPEG or PNG file.

    Raises:
        RefusedError: It cannot be read or decoded, or is too large.
    """
    if not path.is_file():  # a pipe would be waited for, and a device may never end
        what = "it leads nowhere" if not path.exists() else "it is a folder, a pipe or a device"
        raise RefusedError(what, "put a picture in its place", path.name)
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise RefusedError(f"it has over {readable_size(max_bytes)}", "shrink it")
        seen, shown = (decode_picture(data, "composite", side, "dark") for side in (image_size, SHOWN_SIDE))
        whole = np.asarray(decode_colour(data)) if is_whole else None
    except RefusedError as error:
        raise RefusedError(error.reason, error.cure, path.name) from error
    except OSError as error:
        raise RefusedError(f"it cannot be read: {error.strerror}", "check its permissions", path.name) from error
    return Decoded(seen.pixels, shown.pixels, seen.width, seen.height, whole)


def check_shapes(background: tuple[int, int], composite: tuple[int, int]) -> None:
    """Refuse a background that would be distorted to fit its composite; sizes are (width, height) [px].

    >>> check_shapes((800, 600), (401, 301))

    Raises:
        RefusedError: Their ratios of width to height differ.
    """
    shapes = [width / height for width, height in (background, composite)]
    if max(shapes) > (1 + SAME_SHAPE) * min(shapes):
        sizes = "the background has {} x {} pixels, the composite {} x {}".format(*background, *composite)
        raise RefusedError(sizes, "crop one of them to the width / height of the other")


def write_png(path: Path, pixels: NDArray[Any]) -> None:
    """Write (H, W) or (H, W, 3) uint8, or (H, W) uint16, as PNG, in one step."""
    with replacing(path) as partial:
        # Level 2 takes a third of the time of the usual 6, for half as many bytes more.
        Image.fromarray(pixels).save(partial, "PNG", compress_level=2)


def write_report(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Write one CSV row per pair, in one step."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([Outcome._fields, *outcomes])
    replace_text(path, text.getvalue())


def _list_pictures(folder: Path) -> dict[str, Path]:
    """List the pictures right in a folder, by file name without suffix."""
    pictures: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith("."):
            other = pictures.setdefault(_stem(path), path)
            if other is not path:
                raise ValueError(f"{other} and {path} have the same name up to the suffix; rename one of them")
    if not pictures:
        raise ValueError(f"{folder} holds no pictures; expected files that end in {', '.join(sorted(_SUFFIXES))}")
    return pictures


def _pair_by_layout(backgrounds: Mapping[str, Path], composites: Mapping[str, Path]) -> dict[str, Path]:
    """Find the background that the name of each composite names, where a known layout reads both.

    Layouts whose composites carry a running number alone are left out: which background that means, pixels decide.

    Returns:
        Background by the file name of its composite, those that are left over by their own; empty where none fits.
    """
    for layout in read_layouts().values():
        shown = {number: stem for stem, number in _read_backgrounds(layout, backgrounds, "background").items()}
        wanted = _read_backgrounds(layout, composites, "composite")
        pairs = {stem: shown[number] for stem, number in wanted.items() if number in shown}
        if pairs:
            used = set(pairs.values())
            unused = {stem: path for stem, path in backgrounds.items() if stem not in used}
            return unused | {stem: backgrounds[partner] for stem, partner in pairs.items()}
    return {}


def _read_backgrounds(layout: Layout, pictures: Mapping[str, Path], kind: str) -> dict[str, str]:
    """Read which background each picture of a kind names, by file name."""
    found = {stem: layout.recognise(path.absolute().as_posix()) for stem, path in pictures.items()}
    named = {stem: read.ids.get("background", "") for stem, read in found.items() if read and read.kind == kind}
    return {stem: number.lstrip("0") or "0" for stem, number in named.items() if number}


def _stem(path: Path) -> str:
    # Systems write an accented letter as one character or as two.
    return unicodedata.normalize("NFC", path.stem)
