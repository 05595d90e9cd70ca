"""The predictor that has learned nothing: the mask by difference, the depth by the mean training map."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from maskdepth.data.batches.batches import Batch
from maskdepth.evaluation.samples import Predictor
from maskdepth.models.prediction import Prediction

# Smallest difference of composite and background that counts as object, [0, 1]: 23 of 255 grey levels, above the
# noise of JPEG at the qualities in use and below the contrast of most objects.
DIFFERENCE_THRESHOLD = 0.09

# Neighbours above, below, left and right, within one picture of a stack.
_CROSS = np.array([[[0, 0, 0]] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 0]] * 3])


def mean_depth_map(batches: Iterable[Batch]) -> Tensor:
    """Average the true depth over samples: (1, 1, H, W), [0, 1]."""
    total, count = torch.zeros(()), 0
    for batch in batches:
        _, depth = batch.targets()
        total = total + depth.double().sum(0, keepdim=True).cpu()
        count += len(depth)
    return (total / count).float()


def baseline(mean_map: Tensor) -> Predictor:
    """Build the predictor that has learned nothing: the mask by difference, the depth by the mean training map.

    A model that does not beat both has learned nothing either.

    Args:
        mean_map: (1, 1, H, W) mean depth of the training split, [0, 1].
    """

    def predict(background: Tensor, composite: Tensor) -> Prediction:
        difference = (composite - background).abs().amax(1).cpu().numpy()
        masks = clean_masks(difference > DIFFERENCE_THRESHOLD)
        # Logits of +-20 are probabilities of 0 and 1 within float32.
        logits = torch.from_numpy(masks).unsqueeze(1).float() * 40 - 20
        depth = mean_map.expand(len(masks), -1, -1, -1)
        return Prediction(logits.to(background.device), depth.to(background.device))

    return predict


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
