"""The files of a prediction: what the results are called, and safe reading and writing.

Input may come from anywhere: a picture that cannot be used is refused alone, no name leads out of the output folder,
and no file is replaced unasked.
"""

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from maskdepth.data.files import File, open_file
from maskdepth.data.pictures.decoding import BACKGROUND_DEPTH, SAME_SHAPE, Picture, decode_colour, decode_picture
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.process.console import readable_size, suggest
from maskdepth.process.files import replace_text, replacing

# What becomes of a pair; doubtful is a prediction that a person should look at.
PREDICTED, DOUBTFUL, FAILED = "predicted", "doubtful", "failed"

# What can be written of a pair, and how its file's name ends.
ENDINGS = {
    "mask": "_mask.png",
    "depth": "_depth.png",
    "panel": "_panel.jpg",
    "cutout": "_cutout.png",
    "depth-colour": "_depth_colour.png",
    "probability": "_probability.png",
    "onto": "_onto.jpg",
}
USUAL = ("mask", "depth", "panel")

# File systems take 255 bytes; the endings and the digest need some of them.
_LONGEST_NAME = 120
_JPEG_QUALITY = 90


class Pair(NamedTuple):
    """Two pictures of one scene, the name that its results get, and the depth of its background where it is known."""

    name: str
    background: File
    composite: File
    background_depth: File | None = None


class Outcome(NamedTuple):
    """One row of the report.

    Attributes:
        name: Of the pair.
        status: PREDICTED, DOUBTFUL or FAILED.
        share: Of the picture that is object, [0, 1]; None where nothing was predicted.
        note: How the pictures were registered and what is doubtful, or why it failed.
    """

    name: str
    status: str
    share: float | None
    note: str


class Decoded(NamedTuple):
    """One picture, decoded twice.

    Attributes:
        seen: (S, S, 3) uint8 RGB, as the network sees it.
        whole: (height, width, 3) uint8 RGB, upright.
    """

    seen: NDArray[np.uint8]
    whole: NDArray[np.uint8]


def slug(stem: str) -> str:
    """Make a name that no file system, shell or table misreads; a changed name gets a digest, so that all stay unlike.

    >>> slug("room 1 (2)"), slug("-rf")
    ('room 1 (2)', 'rf-686c39ac')
    """
    safe = re.sub(r"[^\w .()-]+", "_", stem).strip(" .-")
    safe = safe.encode()[:_LONGEST_NAME].decode(errors="ignore") or "picture"
    return safe if safe == stem else f"{safe}-{hashlib.sha256(os.fsencode(stem)).hexdigest()[:8]}"


def read_kinds(texts: Iterable[str]) -> tuple[str, ...]:
    """Read what is to be written, each text one kind or several with commas between them.

    >>> read_kinds(["depth,mask", "depth"])
    ('mask', 'depth')

    Raises:
        ValueError: There is no such kind, or none at all.
    """
    asked = [text.strip() for several in texts for text in several.split(",") if text.strip()]
    for kind in asked:
        if kind not in ENDINGS:
            raise ValueError(f"--write {kind}: {suggest(kind, list(ENDINGS))}")
    if not asked:
        raise ValueError(f"--write names nothing; known: {', '.join(ENDINGS)}")
    return tuple(kind for kind in ENDINGS if kind in asked)


def name_results(folder: Path, name: str, kinds: Iterable[str]) -> dict[str, Path]:
    """Say which files the results of a pair are written to, by kind.

    >>> name_results(Path("out"), "room", ["mask"])["mask"].name
    'room_mask.png'
    """
    return {kind: folder / f"{name}{ENDINGS[kind]}" for kind in kinds}


def check_results(pairs: Iterable[Pair], out: Path, kinds: Sequence[str], report: Path | None, overwrite: bool) -> None:
    """Make sure before any work that every result has a place of its own, where nothing is lost.

    Args:
        pairs: Each will write one file of each kind.
        out: The folder of the results.
        kinds: Keys of `ENDINGS`.
        report: Another file in that folder, if there will be one.
        overwrite: Results may be there already.

    Raises:
        ValueError: Two pairs write the same file, a result is an input, or is there already.
    """
    pairs = list(pairs)
    files = (file for pair in pairs for file in (pair.background, pair.composite))
    # Unlike `Path.resolve` this also takes a link that leads to itself.
    inputs = {Path(os.path.realpath(file)) for file in files if isinstance(file, Path)}
    folder = out.resolve()
    makers: dict[str, Pair] = {}
    there = [report] if report and os.path.lexists(report) else []
    for pair in pairs:
        for path in name_results(out, pair.name, kinds).values():
            # Some systems hold names that differ in case only for one.
            other = makers.setdefault(path.name.casefold(), pair)
            if other is not pair:
                raise ValueError(f"{other.composite} and {pair.composite} would both write {path}; rename one of them")
            if folder / path.name in inputs:
                raise ValueError(f"{path} is one of the pictures to predict; choose another folder for the results")
            if os.path.lexists(path):  # also a link that leads nowhere
                there.append(path)
    if there and not overwrite:
        raise ValueError(
            f"{len(there):,} of the results are there already, such as {there[0]}; "
            "choose another folder, or replace them with --overwrite"
        )


def read_bytes(file: File, max_bytes: int) -> bytes:
    """Read a file that may be anything, or what an archive holds of it.

    Raises:
        RefusedError: It cannot be read, or has more bytes.
    """
    where = str(file)
    if isinstance(file, Path) and not file.is_file():  # a pipe would be waited for, and a device may never end
        what = "it leads nowhere" if not file.exists() else "it is a folder, a pipe or a device"
        raise RefusedError(what, "put a picture in its place", where)
    try:
        with open_file(file) as content:
            data = content.read(max_bytes + 1)
    except RefusedError as error:
        raise RefusedError(error.reason, error.cure, where) from error
    except OSError as error:
        raise RefusedError(f"it cannot be read: {error.strerror}", "check its permissions", where) from error
    if len(data) > max_bytes:
        raise RefusedError(f"it has over {readable_size(max_bytes)}", "shrink it", where)
    return data


def read_picture(image_size: int, max_bytes: int, file: File) -> Decoded:
    """Read a background or a composite, by the rules of training.

    Args:
        image_size: [px] S, side of the pictures that the network sees.
        max_bytes: Larger files are refused after so many bytes.
        file: JPEG or PNG.

    Raises:
        RefusedError: It cannot be read or decoded, or is too large.
    """
    data = read_bytes(file, max_bytes)
    try:
        return Decoded(decode_picture(data, "composite", image_size, "dark").pixels, np.asarray(decode_colour(data)))
    except RefusedError as error:
        raise RefusedError(error.reason, error.cure, str(file)) from error


def read_background_depth(image_size: int, max_bytes: int, file: File) -> Picture:
    """Read the depth map of a background as the network sees it: (S, S) uint8, 0 near; dark is near.

    Args:
        image_size: As `read_picture` takes it.
        max_bytes: Likewise.
        file: JPEG or PNG, of 8 or 16 bits.

    Raises:
        RefusedError: It cannot be read or decoded, is too large, or is no depth map.
    """
    try:
        return decode_picture(read_bytes(file, max_bytes), BACKGROUND_DEPTH, image_size, "dark")
    except RefusedError as error:
        raise RefusedError(error.reason, error.cure, str(file)) from error


def check_shapes(background: tuple[int, int], composite: tuple[int, int], name: str = "the background") -> None:
    """Refuse a background, or its depth map, that would be distorted to fit its composite; sizes are (width, height).

    >>> check_shapes((800, 600), (401, 301))

    Raises:
        RefusedError: Their ratios of width to height differ.
    """
    shapes = [width / height for width, height in (background, composite)]
    if max(shapes) > (1 + SAME_SHAPE) * min(shapes):
        sizes = "{} has {} x {} pixels, the composite {} x {}".format(name, *background, *composite)
        raise RefusedError(sizes, "crop one of them to the width / height of the other")


def write_picture(path: Path, pixels: NDArray[Any]) -> None:
    """Write pixels in one step: (H, W, 3) uint8 as JPEG where the path says so; else PNG, also alpha or 16 bits."""
    with replacing(path) as partial:
        if path.suffix == ".jpg":
            partial.write_bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=_JPEG_QUALITY))
        else:
            # The fastest level takes half the time of the usual one, for a few percent more bytes.
            Image.fromarray(pixels).save(partial, "PNG", compress_level=1)


def write_report(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Write one CSV row per pair, in one step; shares to four digits."""
    text = io.StringIO()
    rows = [(one.name, one.status, "" if one.share is None else f"{one.share:.4f}", one.note) for one in outcomes]
    csv.writer(text, lineterminator="\n").writerows([Outcome._fields, *rows])
    replace_text(path, text.getvalue())
