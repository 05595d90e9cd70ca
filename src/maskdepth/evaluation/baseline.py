"""What has learned nothing, or next to it: a network that does not beat all of these has learned nothing either.

`difference` finds the mask by thresholding the difference of the two pictures. For the depth, `mean_map` answers with
the mean of all training maps, `ramp` with four numbers and a constant fitted to it, and `remembered`, where training
saw the place, with the mean of the maps of that place: what a network may know by heart. Where the depth of the
background is given, `copied_background` gives it back, and `plane_under_mask` with a flat object where the pictures
differ, as near as the ground at its foot.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from maskdepth.data.batches.batches import Batch, Batches
from maskdepth.evaluation.intervals import place_column
from maskdepth.evaluation.samples import Predicted, evaluate_samples
from maskdepth.metrics.names import HEADLINE
from maskdepth.models.prediction import Prediction

# What a baseline guesses nothing of, it is not measured by.
_MASK_METRICS = tuple(name for name in HEADLINE if name.startswith("mask"))
_DEPTH_METRICS = tuple(name for name in HEADLINE if name.startswith("depth"))
# Masks of zeros and ones are the same at any threshold.
_THRESHOLD = 0.5

# Smallest difference of composite and background that counts as object, [0, 1]: 23 of 255 grey levels, above the
# noise of JPEG at the qualities in use and below the contrast of most objects.
DIFFERENCE_THRESHOLD = 0.09

# Neighbours above, below, left and right, within one picture of a stack.
_CROSS = np.array([[[0, 0, 0]] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 0]] * 3])


class MeanDepths(NamedTuple):
    """The mean of true depth maps, (1, H, W) each, [0, 1].

    Attributes:
        overall: Over all samples.
        by_place: Over those of one place.
    """

    overall: Tensor
    by_place: dict[Hashable, Tensor]


def measure_baselines(
    train: Iterable[Batch], train_rows: pd.DataFrame, test: Batches, test_rows: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Measure everything that has learned nothing on the test samples.

    Args:
        train: The training samples.
        train_rows: Their rows, in the same order, with their places.
        test: The test samples.
        test_rows: Likewise.

    Returns:
        By baseline one row per test sample and one column per headline metric that it makes a guess for. `remembered`
        is missing where training saw no place of the test, `copied_background` and `plane_under_mask` where the test
        samples come without the depth of their backgrounds.
    """
    places, tested = (rows[place_column(rows)].tolist() for rows in (train_rows, test_rows))
    means = mean_depths(train, places, set(places) & set(tested))
    guesses = {"mean_map": means.overall, "ramp": fit_ramp(means.overall)}
    measured = {"difference": evaluate_samples(guess_masks(test.in_order()), _THRESHOLD, _MASK_METRICS)}
    for name, one_map in guesses.items():
        predicted = guess_depths(test.in_order(), tested, {}, one_map)
        measured[name] = evaluate_samples(predicted, _THRESHOLD, _DEPTH_METRICS)
    if means.by_place:
        predicted = guess_depths(test.in_order(), tested, means.by_place, means.overall)
        measured["remembered"] = evaluate_samples(predicted, _THRESHOLD, _DEPTH_METRICS)
    if test.knows_depth:
        for name, has_plane in (("copied_background", False), ("plane_under_mask", True)):
            predicted = copy_backgrounds(test.in_order(), means.overall, has_plane=has_plane)
            measured[name] = evaluate_samples(predicted, _THRESHOLD, _DEPTH_METRICS)
    return measured


def mean_depths(batches: Iterable[Batch], places: Sequence[Hashable], remembered: Collection[Hashable]) -> MeanDepths:
    """Average the true depth of training samples.

    Args:
        batches: The samples.
        places: The place of each, in the same order.
        remembered: The places that are wanted by themselves; each takes the room of one map.
    """
    total = torch.zeros((), dtype=torch.float64)
    sums: dict[Hashable, Tensor] = {}
    counts: Counter[Hashable] = Counter()
    done = 0
    for batch in batches:
        depth = batch.targets()[1].cpu()
        total = total + depth.double().sum(0)
        here = places[done : done + len(depth)]
        done += len(depth)
        for place, one in zip(here, depth, strict=True):
            if place in remembered:
                sums[place] = sums[place] + one if place in sums else one
                counts[place] += 1
    by_place = {place: summed / counts[place] for place, summed in sums.items()}
    return MeanDepths((total / done).float(), by_place)


def fit_ramp(mean_map: Tensor) -> Tensor:
    """Fit 1, y, y^2, x and x^2 to a map by least squares; that is what fits all maps best of which it is the mean.

    Args:
        mean_map: (1, H, W) mean depth of the training samples.

    Returns:
        (1, H, W), [0, 1].

    >>> column = torch.linspace(0, 1, 8)[:, None].expand(1, 8, 8) ** 2
    >>> torch.allclose(fit_ramp(column), column, atol=1e-6)
    True
    """
    height, width = mean_map.shape[-2:]
    down, right = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    terms = torch.stack([torch.ones_like(down), down, down**2, right, right**2], dim=-1).flatten(0, 1).double()
    weights = torch.linalg.lstsq(terms, mean_map.double().reshape(-1, 1)).solution
    fitted: Tensor = (terms @ weights).reshape(1, height, width)
    return fitted.clamp(0, 1).float()


def guess_masks(batches: Iterable[Batch]) -> Iterator[Predicted]:
    """Take for the object what differs between the pictures; the depth is no guess."""
    for batch in batches:
        background, composite, *_ = batch.inputs()
        # Logits of +-20 are probabilities of 0 and 1 within float32.
        logits = find_objects(background, composite).float() * 40 - 20
        yield Predicted(Prediction(logits, torch.zeros_like(logits)), *batch.targets())


def guess_depths(
    batches: Iterable[Batch], places: Sequence[Hashable], maps: Mapping[Hashable, Tensor], otherwise: Tensor
) -> Iterator[Predicted]:
    """Answer every sample with one map; the mask is no guess.

    Args:
        batches: The samples.
        places: The place of each, in the same order.
        maps: (1, H, W) depth by place.
        otherwise: (1, H, W) depth of any other place.
    """
    done = 0
    for batch in batches:
        mask, depth = batch.targets()
        here = places[done : done + len(mask)]
        done += len(mask)
        guessed = torch.stack([maps.get(place, otherwise) for place in here]).to(depth.device)
        yield Predicted(Prediction(torch.zeros_like(mask), guessed), mask, depth)


def copy_backgrounds(batches: Iterable[Batch], otherwise: Tensor, *, has_plane: bool) -> Iterator[Predicted]:
    """Answer every sample with the depth of its background; the mask is no guess.

    Args:
        batches: The samples.
        otherwise: (1, H, W) depth where that of the background is not known.
        has_plane: Whether what differs between the pictures becomes a plane, as near as the ground at its lowest row.
    """
    for batch in batches:
        mask, depth = batch.targets()
        background, composite, *known = batch.inputs()
        guessed = otherwise.to(depth.device).expand_as(depth)
        if known:
            guessed = torch.where(known[0][:, 1:] > 0, known[0][:, :1], guessed)
        if has_plane:
            guessed = guessed.clone()
            for scene, thing in zip(guessed[:, 0], find_objects(background, composite)[:, 0], strict=True):
                if thing.any():
                    lowest = int(thing.any(1).nonzero().max())
                    scene[thing] = scene[lowest][thing[lowest]].median()
        yield Predicted(Prediction(torch.zeros_like(mask), guessed), mask, depth)


def find_objects(background: Tensor, composite: Tensor) -> Tensor:
    """Mark what differs between pictures, (B, 3, H, W), [0, 1], in one piece without holes: (B, 1, H, W) bool."""
    difference = (composite - background).abs().amax(1).cpu().numpy()
    return torch.from_numpy(clean_masks(difference > DIFFERENCE_THRESHOLD)).unsqueeze(1).to(background.device)


def clean_masks(raw: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Close gaps of a pixel, fill holes and keep the largest region of each mask.

    Args:
        raw: (B, H, W) pixels that differ.

    Returns:
        (B, H, W) one region without holes each; empty where `raw` is.
    """
    # The padding lets the closing and the filling reach the border.
    around = ((0, 0), (1, 1), (1, 1))
    closed = ndimage.binary_closing(np.pad(raw, around), np.ones((1, 3, 3)))[:, 1:-1, 1:-1] | raw
    outside, _ = ndimage.label(~np.pad(closed, around), _CROSS)
    filled = (outside != outside[:, :1, :1])[:, 1:-1, 1:-1]
    regions, count = ndimage.label(filled, _CROSS)
    # Of two equally large regions the first is kept.
    rank = np.bincount(regions.ravel(), minlength=count + 1) * (count + 1) - np.arange(count + 1)
    ranks = np.where(filled, rank[regions], 0)
    kept: NDArray[np.bool_] = filled & (ranks == ranks.max((1, 2), keepdims=True))
    return kept
