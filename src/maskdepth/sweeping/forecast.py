"""What a sweep will take and show, said before it starts: its time, and the smallest difference that it can see."""

import math
from pathlib import Path

from maskdepth.comparing.results import ENDPOINTS, FEWEST_SEEDS, LEVEL
from maskdepth.comparing.statistics import POWER
from maskdepth.data.samples import TEST, read_split
from maskdepth.evaluation.intervals import FEWEST_GROUPS, satterthwaite, t_quantile
from maskdepth.params import Params
from maskdepth.process.console import count
from maskdepth.process.files import parse_json
from maskdepth.tracking.journal import read_journal

# Standard deviations of a paired difference between seeds, and between places, by metric: the root mean squares of 13
# combinations against the shipped one on drawn scenes. `benchmarks/results/losses_cpu_2026-11-28.md` has the runs.
SPREAD = {"mask_iou": (0.0034, 0.010), "depth_ssim": (0.0031, 0.015)}

# [s] Until DVC has made a place for an experiment and each of its three stages has begun.
_STARTS = 15.0


def expected_seconds(root: Path, here: Params, wanted: Params) -> float | None:
    """Give the time of one experiment, from that of the last `dvc repro` [s]; None where there was none.

    Args:
        root: The repository.
        here: The settings of the last `dvc repro`.
        wanted: Those of the sweep.
    """
    try:
        training = float(parse_json((root / "metrics" / "train.json").read_text(encoding="utf-8"))["seconds"])
        evaluation = read_journal(root / "journals" / "evaluate.jsonl")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    evaluating = ((evaluation.ended or evaluation.written) - evaluation.started) / 1000
    return training * wanted.train.epochs / here.train.epochs + evaluating + _STARTS


def count_test_places(split: Path) -> int | None:
    """Count the places of the test split; None where nothing has been split yet."""
    if not split.is_file():
        return None
    table = read_split(split)
    return int(table.loc[table["split"] == TEST, "place"].nunique())


def visible_difference(metric: str, seeds: int, places: int, combinations: int) -> float:
    """Give the smallest true difference to the control that a sweep shows four times of five.

    Args:
        metric: One of `SPREAD`.
        seeds: Of each combination.
        places: Of the test split.
        combinations: Beside the control.

    >>> visible_difference("mask_iou", 5, 60, 8) < visible_difference("mask_iou", 3, 60, 8)
    True
    """
    by_seed, by_place = (spread**2 / count for spread, count in zip(SPREAD[metric], (seeds, places), strict=True))
    degrees = satterthwaite(by_seed + by_place, ((by_seed, seeds - 1), (by_place, places - 1)))
    level = 1 - LEVEL / (2 * combinations)
    return (t_quantile(level, degrees) + t_quantile(POWER, degrees)) * math.sqrt(by_seed + by_place)


def tell_visible(seeds: int, places: int | None, combinations: int) -> str:
    """Say what differences such a sweep can show, or why it can show none."""
    if seeds < FEWEST_SEEDS:
        return f"{count(seeds, 'seeds')}: too few for any claim; {FEWEST_SEEDS} are the fewest"
    if places is None:
        return "what can be seen depends on the number of test places, known after `dvc repro split`"
    if places < FEWEST_GROUPS:
        return f"{count(places, 'test places')}: too few for any claim; {FEWEST_GROUPS} are the fewest"
    others = max(1, combinations - 1)
    visible = [
        f"{100 * visible_difference(endpoint.metric, seeds, places, others):.1f} points of {endpoint.title}"
        for endpoint in ENDPOINTS
        if endpoint.metric in SPREAD
    ]
    return f"{seeds} seeds, {places} test places: differences of about {' and '.join(visible)} will be seen"
