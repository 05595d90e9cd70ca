"""What a prediction will read and write, known and checked before anything is loaded that takes seconds."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from maskdepth.data.files import read_colour
from maskdepth.process.console import warn
from maskdepth.serving.files import Outcome, Pair, check_results, read_kinds
from maskdepth.serving.pairs import add_background_depths, find_pairs

REPORT_FILE = "predictions.csv"

_ONTO = "onto"


class Plan(NamedTuple):
    """All that was asked for.

    Attributes:
        pairs: What is to be predicted.
        left_over: Failures of pictures that belong to no pair.
        out: Folder for the results.
        kinds: What is written of each pair, keys of `maskdepth.serving.files.ENDINGS`.
        report: Table of what became of each pair; None for a single one.
        scene: What the objects are put before; None where nobody asked.
    """

    pairs: list[Pair]
    left_over: list[Outcome]
    out: Path
    kinds: tuple[str, ...]
    report: Path | None
    scene: Image.Image | None


def plan_predictions(
    background: Path,
    composite: Path | None,
    out: Path,
    write: Iterable[str],
    onto: Path | None,
    *,
    background_depth: Path | None = None,
    overwrite: bool,
) -> Plan:
    """Find the pairs, and make sure that every result has a place.

    Args:
        background: As for `maskdepth.serving.pairs.find_pairs`.
        composite: Likewise.
        out: Folder for the results.
        write: Kinds of results, each text one or several with commas between them.
        onto: A picture of another scene, before which objects are put.
        background_depth: As for `maskdepth.serving.pairs.add_background_depths`.
        overwrite: Replace results that are there already.

    Raises:
        FileNotFoundError: A picture, folder or table is missing.
        ValueError: There is no pair, or no depth map of one, a kind is unknown, a result is an input or is there
            already, or the other scene cannot be read.
    """
    kinds = read_kinds([*write, _ONTO] if onto else write)
    if _ONTO in kinds and onto is None:
        raise ValueError("--write onto: name the picture that objects are put before, as in --onto beach.jpg")
    if onto and not onto.is_file():
        raise FileNotFoundError(f"--onto {onto}: there is no such picture")
    scene = read_colour(onto) if onto else None
    pairs, left_over = find_pairs(background, composite)
    if background_depth:
        pairs = add_background_depths(pairs, background_depth)
        if without := sum(pair.background_depth is None for pair in pairs):
            warn(f"{background_depth} has no depth map for {without:,} of {len(pairs):,} pairs: predicted without")
    is_single = composite is not None and not composite.is_dir()
    report = None if is_single else out / REPORT_FILE
    check_results(pairs, out, kinds, report, overwrite)
    return Plan(pairs, left_over, out, kinds, report, scene)
