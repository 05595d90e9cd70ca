"""From numbers per sample to what is reported: means with intervals, cells of seen and unseen, sizes, samples to show.

Everything here is pure: tables in, tables out.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maskdepth.data.samples import IDS, ROWS
from maskdepth.metrics.catalogue import HEADLINE

# Pixel counts, of which the means say nothing.
_COUNTS = ("mask_intersection", "mask_union")


def intervals(samples: pd.DataFrame, metrics: list[str], resamples: int, seed: int) -> pd.DataFrame:
    """Give mean and 95 % interval of each metric, for other backgrounds and other objects.

    Backgrounds and objects are resampled with replacement, independently; a sample weighs as often as its background
    times as often as its object was drawn. Samples of one background share most of the depth error and those of one
    object most of the mask error, so drawing samples alone would make the intervals up to three times too narrow.

    Args:
        samples: One row per sample, with columns `background`, `foreground` and the metrics.
        metrics: Columns to summarise.
        resamples: How many bootstrap resamples.
        seed: Seed of the resampling.

    Returns:
        One row per metric: `mean`, `low`, `high`.

    Reference:
        Owen 2007, The pigeonhole bootstrap, https://arxiv.org/abs/0712.1111.
    """
    background, num_backgrounds = _codes(samples["background"])
    foreground, num_foregrounds = _codes(samples["foreground"])
    random = np.random.default_rng(seed)
    background_weights = _draw_counts(random, num_backgrounds, resamples)
    foreground_weights = _draw_counts(random, num_foregrounds, resamples)

    def weighed(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum `values` (N,) in every resample: (R,)."""
        cells = np.zeros((num_backgrounds, num_foregrounds))
        np.add.at(cells, (background, foreground), values)
        sums: NDArray[np.float64] = ((background_weights @ cells) * foreground_weights).sum(1)
        return sums

    counts = weighed(np.ones(len(samples)))
    drawn = counts > 0  # a sparse table can miss every drawn pair
    rows = {}
    for metric in metrics:
        values = samples[metric].to_numpy(float)
        means = weighed(values)[drawn] / counts[drawn]
        low, high = np.percentile(means, [2.5, 97.5])
        rows[metric] = {"mean": values.mean(), "low": low, "high": high}
    return pd.DataFrame.from_dict(rows, orient="index")


def _codes(groups: pd.Series) -> tuple[NDArray[np.intp], int]:
    codes, names = pd.factorize(groups)
    return codes, len(names)


def _draw_counts(random: np.random.Generator, num_groups: int, resamples: int) -> NDArray[np.float64]:
    """Draw how often each group occurs in each resample: (R, G)."""
    return random.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=resamples).astype(float)


def pooled_iou(samples: pd.DataFrame) -> float:
    """Give the IoU of all pixels of all samples together: unlike the mean over samples it favours large objects."""
    return float(samples["mask_intersection"].sum() / max(samples["mask_union"].sum(), 1))


def assign_cells(held_out: pd.DataFrame, train: pd.DataFrame) -> pd.Series:
    """Say for every held-out sample whether training saw its background and its object.

    >>> train = pd.DataFrame({"background": [1, 2], "foreground": [7, 8]})
    >>> held_out = pd.DataFrame({"background": [3, 1, 3], "foreground": [7, 9, 9]})
    >>> list(assign_cells(held_out, train))
    ['unseen_background_seen_object', 'seen_background_unseen_object', 'unseen_background_unseen_object']
    """

    def seen(kind: str) -> pd.Series:
        return held_out[kind].isin(train[kind]).map({True: "seen", False: "unseen"})

    return seen("background") + "_background_" + seen("foreground") + "_object"


def assign_sizes(areas: pd.Series) -> pd.Series:
    """Call each object small, medium or large: the terciles of the mask's share of the picture."""
    # By rank, and not by borders between values: of one or two samples some borders would be one.
    thirds = 3 * (areas.rank(method="first").to_numpy() - 1) / max(len(areas) - 1, 1)
    names = np.array(["small", "medium", "large"])
    return pd.Series(names[np.ceil(thirds - 1).clip(0, 2).astype(int)], areas.index, dtype=object)


def summarise(trained: pd.DataFrame, untrained: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """Give mean and interval of every metric on the test split, of the headline ones for the baseline and each cell.

    Args:
        trained: One row per held-out sample: `split`, `cell`, `size`, `background`, `foreground` and the metrics.
        untrained: The same of the baseline.
        resamples: How many bootstrap resamples.
        seed: Seed of the resampling.

    Returns:
        Rows of `predictor` (network, baseline), `samples` (test, a cell, or a size), `metric`, `mean`, `low`, `high`.
    """
    test = trained[trained["split"] == "test"]
    every = [str(name) for name in test.select_dtypes("number") if name not in (*IDS, *ROWS, *_COUNTS)]
    parts = {("network", "test"): intervals(test, every, resamples, seed)}
    headline = list(HEADLINE)
    parts["baseline", "test"] = intervals(untrained[untrained["split"] == "test"], headline, resamples, seed)
    for cell, part in trained.groupby("cell"):
        parts["network", str(cell)] = intervals(part, headline, resamples, seed)
    for size, part in test.groupby("size"):
        parts["network", str(size)] = intervals(part, headline, resamples, seed)
    return pd.concat(parts, names=["predictor", "samples", "metric"]).reset_index()


def headline_numbers(summary: pd.DataFrame) -> dict[str, float]:
    """Flatten a summary into the numbers that runs are compared by.

    Returns:
        `<metric>` for every metric of the test split; `<metric>_low` and `<metric>_high` for the headline ones;
        `diff_mask_*` and `mean_map_depth_*` for the baseline; `<cell>_<metric>` and `<size>_mask_iou`.
    """
    numbers: dict[str, float] = {}
    for row in summary.to_dict("records"):
        metric, mean = str(row["metric"]), float(row["mean"])
        if row["predictor"] == "baseline":
            numbers[f"{'diff' if metric.startswith('mask') else 'mean_map'}_{metric}"] = mean
        elif row["samples"] == "test":
            numbers[metric] = mean
            if metric in HEADLINE:
                numbers |= {f"{metric}_low": float(row["low"]), f"{metric}_high": float(row["high"])}
        elif metric in ("mask_iou", "depth_ssim"):
            numbers[f"{row['samples']}_{metric}"] = mean
    return numbers


def pick_samples(scores: pd.Series, backgrounds: pd.Series, count: int) -> dict[str, list[int]]:
    """Choose positions of the best, the middle and the worst samples, of different backgrounds as far as there are.

    Samples of one background share most of their depth error: without that they would all show the same scene.

    >>> pick_samples(pd.Series([0.1, 0.2, 0.9, 0.5, 0.8]), pd.Series([1, 1, 2, 1, 2]), 2)
    {'best': [2, 3], 'median': [3, 4], 'worst': [0, 4]}
    """
    ranks = {"best": -scores, "median": (scores - scores.median()).abs(), "worst": scores}
    return {kind: _first_of_each(rank, backgrounds, count) for kind, rank in ranks.items()}


def _first_of_each(rank: pd.Series, groups: pd.Series, count: int) -> list[int]:
    """Give the positions of the smallest ranks, the first of every group before any second."""
    order = np.argsort(rank.to_numpy(), kind="stable")
    ordered = pd.Series(groups.to_numpy()[order])
    repeats = ordered.groupby(ordered).cumcount().to_numpy()
    chosen: list[int] = order[np.argsort(repeats, kind="stable")][:count].tolist()
    return chosen
