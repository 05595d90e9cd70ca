"""From numbers per sample to what is reported: means with intervals, the baselines that are beaten, samples to show.

Everything here is pure: tables in, tables out.
"""

import math
import zlib
from collections.abc import Mapping

import numpy as np
import pandas as pd

from maskdepth.data.samples import IDS, ROWS, TEST
from maskdepth.evaluation.intervals import (
    CONFIDENCE,
    FEWEST_GROUPS,
    cross,
    crossed_estimate,
    group,
    intervals,
    place_column,
)
from maskdepth.metrics.names import HEADLINE, METRICS, SCORED, score

# Pixel counts, of which the means say nothing.
_COUNTS = ("mask_intersection", "mask_union")
_SIZES = ("small", "medium", "large")
# Test samples with the depth of their background, and the same network on all of them without it.
GIVEN, ABSENT = "given", "absent"
# Samples that are drawn in every run of a split.
FIXED = "fixed"


def pooled_iou(samples: pd.DataFrame) -> float:
    """Give the IoU of all pixels of all samples together: unlike the mean over samples it favours large objects."""
    return float(samples["mask_intersection"].sum() / max(samples["mask_union"].sum(), 1))


def assign_cells(held_out: pd.DataFrame, train: pd.DataFrame) -> pd.Series:
    """Say for every held-out sample whether training saw its place and its object.

    >>> train = pd.DataFrame({"place": [1, 2], "foreground": [7, 8]})
    >>> held_out = pd.DataFrame({"place": [3, 1, 3], "foreground": [7, 9, 9]})
    >>> list(assign_cells(held_out, train))
    ['unseen_background_seen_object', 'seen_background_unseen_object', 'unseen_background_unseen_object']
    """

    def seen(kind: str) -> pd.Series:
        return held_out[kind].isin(train[kind]).map({True: "seen", False: "unseen"})

    return seen(place_column(held_out)) + "_background_" + seen("foreground") + "_object"


def assign_sizes(areas: pd.Series) -> pd.Series:
    """Call each object small, medium or large: the terciles of the mask's share of the picture.

    >>> list(assign_sizes(pd.Series([0.1, 0.9, 0.5])))
    ['small', 'large', 'medium']
    """
    thirds = ((areas.rank(method="first") - 1) * len(_SIZES) // len(areas)).astype(int)
    return thirds.map(dict(enumerate(_SIZES)))


def summarise(samples: pd.DataFrame, others: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Give mean and interval of every metric on the test split, of the headline ones for each cell and size.

    Args:
        samples: One row per held-out sample: `split`, `cell`, `size`, `place`, `foreground` and the metrics.
        others: By name, test samples that were measured under other conditions: `place`, `foreground` and the headline
            metrics.

    Returns:
        Rows of `samples` (test, a cell, a size, or one of the others), `metric` and what `intervals` gives.
    """
    test = samples[samples["split"] == TEST]
    every = [str(name) for name in test.select_dtypes("number") if name not in (*IDS, *ROWS, *_COUNTS)]
    parts = {TEST: intervals(test, every)}
    for column, table in (("cell", samples), ("size", test)):
        parts |= {str(name): intervals(part, list(HEADLINE)) for name, part in table.groupby(column)}
    parts |= {name: intervals(part, list(HEADLINE)) for name, part in others.items()}
    return pd.concat(parts, names=["samples", "metric"]).reset_index()


def judge_baselines(test: pd.DataFrame, baselines: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Say which baselines the network beats, sample against sample: the same scene is hard for both.

    Args:
        test: One row per test sample: `place`, `foreground` and the metrics of the network.
        baselines: The metrics of each baseline, rows as in `test`.

    Returns:
        Rows of `baseline`, `metric`, its `mean`, `gain` of the network, turned so that above 0 is better, with the ends
        `low` and `high` of its 95 % interval, and `is_beaten`: the interval is above 0. Where there are too few places
        or objects for an interval, nothing is beaten.
    """
    place, thing = group(test[place_column(test)]), group(test["foreground"])
    cell = cross(place, thing)
    is_sure = min(place.count, thing.count) >= FEWEST_GROUPS
    rows = []
    for name, measured in baselines.items():
        for metric in map(str, measured):
            sign = 1 if METRICS[metric] == "high" else -1
            gains = sign * (test[metric].to_numpy(float) - measured[metric].to_numpy(float))
            gain = crossed_estimate(gains, place, thing, cell)
            low, high = gain.interval(CONFIDENCE) if is_sure else (math.nan, math.nan)
            rows.append((name, metric, float(measured[metric].mean()), gain.mean, low, high, low > 0))
    return pd.DataFrame(rows, columns=["baseline", "metric", "mean", "gain", "low", "high", "is_beaten"])


def headline_numbers(summary: pd.DataFrame, baselines: pd.DataFrame) -> dict[str, float]:
    """Give the dozen numbers that runs are compared by.

    Returns:
        `score`; the mean of each headline metric on the test split; as `<metric>_baseline` the best that any baseline
        has there.
    """
    test = summary[summary["samples"] == TEST]
    means = dict(zip(test["metric"].astype(str), test["mean"].astype(float), strict=True))
    numbers = {"score": score(means)} | {name: float(means[name]) for name in HEADLINE}
    for metric, rows in baselines.groupby("metric", sort=False):
        best = rows["mean"].max() if METRICS[str(metric)] == "high" else rows["mean"].min()
        numbers[f"{metric}_baseline"] = float(best)
    return numbers


def not_beaten(baselines: pd.DataFrame) -> dict[str, list[str]]:
    """Name the baselines that the network is not shown to beat, by metric."""
    left = baselines[~baselines["is_beaten"]]
    return {str(metric): rows["baseline"].tolist() for metric, rows in left.groupby("metric", sort=False)}


def detailed_numbers(summary: pd.DataFrame, baselines: pd.DataFrame) -> dict[str, float | bool]:
    """Give what stands beside the headline: its intervals, its baselines, and the means of cells and sizes.

    Returns:
        `<metric>_low` and `<metric>_high` where there is an interval; `<baseline>_<metric>`; `<metric>_beats_all`,
        whether it is shown that no baseline is as good; `<cell>_<metric>`, `<size>_<metric>`, and, of a network that
        sees the depth of the background, `given_<metric>` and `absent_<metric>`.
    """
    numbers: dict[str, float | bool] = {}
    for row in summary[summary["metric"].isin(HEADLINE)].to_dict("records"):
        if row["samples"] != TEST:
            numbers[f"{row['samples']}_{row['metric']}"] = float(row["mean"])
        elif math.isfinite(row["low"]):
            numbers |= {f"{row['metric']}_low": float(row["low"]), f"{row['metric']}_high": float(row["high"])}
    for row in baselines.to_dict("records"):
        numbers[f"{row['baseline']}_{row['metric']}"] = float(row["mean"])
        key = f"{row['metric']}_beats_all"
        numbers[key] = numbers.get(key, True) and bool(row["is_beaten"])
    return numbers


def tabulate_places(test: pd.DataFrame) -> pd.DataFrame:
    """Give the mean of each headline metric in each place, which is what there is to see when they are few."""
    place = place_column(test)
    table = test.groupby(place)[list(HEADLINE)].mean()
    table.insert(0, "samples", test.groupby(place).size())
    return table.rename_axis("place").reset_index()


def pick_samples(samples: pd.DataFrame, count: int) -> dict[str, list[int]]:
    """Choose what to draw, of different places as far as there are, which samples of one place would hide.

    Args:
        samples: One row per held-out sample: `sample_id`, `split`, `place` and the metrics.
        count: How many of each.

    Returns:
        Positions of the `best`, the `median` and the `worst` samples by score, and of `fixed` test samples, which are
        the same for every run of a split, so that runs can be looked at side by side; nothing where `count` is 0.
    """
    if not count:
        return {}
    scores = samples[list(SCORED)].mean(axis=1)
    ranks = {"best": -scores, "median": (scores - scores.median()).abs(), "worst": scores}
    chosen = {name: _first_of_each(rank, samples[place_column(samples)], count) for name, rank in ranks.items()}
    return chosen | {FIXED: pick_fixed(samples, count)}


def pick_fixed(samples: pd.DataFrame, count: int) -> list[int]:
    """Choose samples that are the same for every run of a split: positions, of different places as far as there are.

    Test samples come before others; names in a row show one object, so the order is that of a checksum.
    """
    mixed = samples["sample_id"].astype(str).map(lambda name: zlib.crc32(name.encode()))
    rank = mixed.rank() + len(samples) * (samples["split"] != TEST)
    return _first_of_each(rank, samples[place_column(samples)], count)


def _first_of_each(rank: pd.Series, groups: pd.Series, count: int) -> list[int]:
    """Give the positions of the smallest ranks, the first of every group before any second."""
    order = np.argsort(rank.to_numpy(), kind="stable")
    ordered = pd.Series(groups.to_numpy()[order])
    repeats = ordered.groupby(ordered).cumcount().to_numpy()
    chosen: list[int] = order[np.argsort(repeats, kind="stable")][:count].tolist()
    return chosen
