"""Numbers per sample and per data set: metrics, non-learned baselines, intervals, cells of seen and unseen.

Everything here is pure: batches and tables in, tables out.
"""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from maskdepth.data.batches import Batch
from maskdepth.data.samples import IDS, ROWS
from maskdepth.metrics import image_metrics
from maskdepth.models.prediction import Prediction

Predictor = Callable[[Tensor, Tensor], Prediction]
Criterion = Callable[[Prediction, Tensor, Tensor], dict[str, Tensor]]

# Mask probabilities among which the threshold that suits a model is chosen on the validation split.
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(2, 19))

# The metrics that get intervals, baselines and a number per cell: each target's usual ones.
HEADLINE = ("mask_iou", "mask_boundary_iou", "depth_ssim", "depth_rmse", "depth_abs_rel", "depth_delta1")

# Pixel counts, of which the means say nothing.
_COUNTS = ("mask_intersection", "mask_union")

# Smallest difference of composite and background that counts as object, [0, 1]: 23 of 255 grey levels, above the
# noise of JPEG at the qualities in use and below the contrast of most objects.
DIFFERENCE_THRESHOLD = 0.09


@torch.inference_mode()
def evaluate_samples(
    predict: Predictor, batches: Iterable[Batch], threshold: float, tuned_threshold: float
) -> pd.DataFrame:
    """Measure every sample.

    Args:
        predict: (B, 3, H, W) background and composite, [0, 1], to a Prediction.
        batches: The samples, in the order of the rows wanted.
        threshold: Mask probability above which a pixel belongs to the object, (0, 1).
        tuned_threshold: The same, as `choose_threshold` found it; for `mask_iou_tuned` alone.

    Returns:
        One row per sample, one column per metric.

    Raises:
        FloatingPointError: A metric is not finite; names it and the position of the first such sample.
    """
    parts = []
    for batch in batches:
        prediction = predict(batch.background, batch.composite)
        measured = image_metrics(prediction, batch.mask, batch.depth, threshold)
        prob = prediction.mask_logits.float().sigmoid()
        measured["mask_area"] = batch.mask.double().flatten(1).mean(1)
        measured["mask_iou_tuned"] = _overlap(prob > tuned_threshold, batch.mask > 0.5)
        parts.append(measured)
    assert parts, "there is nothing to evaluate"
    table = pd.DataFrame({name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]})
    values = table.to_numpy(float)
    wrong = ~np.isfinite(values)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise FloatingPointError(f"{table.columns[column]} of sample number {row} is {values[row, column]}")
    return table


@torch.inference_mode()
def mean_loss(predict: Predictor, batches: Iterable[Batch], criterion: Criterion) -> float:
    """Average the training objective over samples: the batch means, weighed by the batch sizes."""
    total, count = 0.0, 0
    for batch in batches:
        terms = criterion(predict(batch.background, batch.composite), batch.mask, batch.depth)
        total += terms["total"].item() * len(batch.mask)
        count += len(batch.mask)
    return total / count


@torch.inference_mode()
def choose_threshold(predict: Predictor, batches: Iterable[Batch]) -> float:
    """Find the mask probability with the best mean IoU.

    A loss moves the best threshold (a Dice-trained mask is best near 0.8), so comparing losses at 0.5 alone is unfair.
    Choose on the validation split and freeze for the test split.
    """
    sums, count = torch.zeros(len(THRESHOLDS), dtype=torch.float64), 0
    for batch in batches:
        prob = predict(batch.background, batch.composite).mask_logits.float().sigmoid()
        truth = batch.mask > 0.5
        for position, threshold in enumerate(THRESHOLDS):
            sums[position] += _overlap(prob > threshold, truth).sum().cpu()
        count += len(batch.mask)
    return THRESHOLDS[int((sums / count).argmax())]


def _overlap(pred: Tensor, truth: Tensor) -> Tensor:
    """Give the IoU of each image, (B,); 1 where both masks are empty."""
    intersection = (pred & truth).flatten(1).sum(1).double()
    union = (pred | truth).flatten(1).sum(1).double()
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0)


def mean_depth_map(batches: Iterable[Batch]) -> Tensor:
    """Average the true depth over samples: (1, 1, H, W), [0, 1]."""
    total, count = torch.zeros(()), 0
    for batch in batches:
        total = total + batch.depth.double().sum(0, keepdim=True).cpu()
        count += len(batch.depth)
    return (total / count).float()


def baseline(mean_map: Tensor) -> Predictor:
    """Build the predictor that has learned nothing: the mask by difference, the depth by the mean training map.

    A model that does not beat both has learned nothing either.

    Args:
        mean_map: (1, 1, H, W) mean depth of the training split, [0, 1].
    """

    def predict(background: Tensor, composite: Tensor) -> Prediction:
        difference = (composite - background).abs().amax(1).cpu().numpy()
        masks = np.stack([clean_mask(image > DIFFERENCE_THRESHOLD) for image in difference])
        # Logits of +-20 are probabilities of 0 and 1 within float32.
        logits = torch.from_numpy(masks).unsqueeze(1).float() * 40 - 20
        depth = mean_map.expand(len(masks), -1, -1, -1)
        return Prediction(logits.to(background.device), depth.to(background.device))

    return predict


def clean_mask(raw: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Close gaps of a pixel, fill holes and keep the largest region.

    Args:
        raw: (H, W) pixels that differ.

    Returns:
        (H, W) one region without holes; empty when `raw` is.
    """
    # The padding lets the closing and the filling reach the border.
    closed = ndimage.binary_closing(np.pad(raw, 1), structure=np.ones((3, 3)))[1:-1, 1:-1] | raw
    regions, count = ndimage.label(ndimage.binary_fill_holes(closed))
    if count == 0:
        return np.zeros_like(raw)
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0  # the outside is no region
    kept: NDArray[np.bool_] = regions == sizes.argmax()
    return kept


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
    return pd.qcut(areas.rank(method="first"), 3, labels=["small", "medium", "large"]).astype(str)


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
