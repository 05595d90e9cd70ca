"""A predictor and batches in, numbers per sample out.

Everything here is pure. A network sees every batch once: `predictions` gives what it says beside what is true, and the
measures take it from there.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskdepth.data.batches.batches import Batch
from maskdepth.losses.catalogue import Criterion
from maskdepth.metrics.catalogue import image_metrics
from maskdepth.metrics.names import METRICS
from maskdepth.models.prediction import Prediction

Predictor = Callable[..., Prediction]

# Mask probabilities among which the threshold that suits a model is chosen on the validation split.
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(2, 19))


class Predicted(NamedTuple):
    """What was predicted for a batch and what is true: the arguments of a criterion and of the metrics.

    Attributes:
        prediction: Mask scores and depth, (B, 1, H, W) each.
        mask: (B, 1, H, W) true mask, {0, 1}.
        depth: (B, 1, H, W) true depth, [0, 1].
    """

    prediction: Prediction
    mask: Tensor
    depth: Tensor


@torch.inference_mode()
def predictions(predict: Predictor, batches: Iterable[Batch]) -> Iterator[Predicted]:
    """Predict batch by batch.

    Args:
        predict: (B, 3, H, W) background and composite, [0, 1], and the depth of the background, as `Network` takes it,
            where the batches have it, to a Prediction.
        batches: The samples, in the order wanted.
    """
    for batch in batches:
        yield Predicted(predict(*batch.inputs()), *batch.targets())


def without_background_depth(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Take the depth of the backgrounds away, as if nobody knew it."""
    for batch in batches:
        yield batch._replace(background_depth=None)


class MeanLoss:
    """The mean of the training objective over all samples that passed by: the batch means, weighed by the batch sizes.

    Args:
        criterion: Prediction, mask, depth to loss terms, with their sum `loss`.
    """

    def __init__(self, criterion: Criterion) -> None:
        self._criterion = criterion
        self._total, self._count = 0.0, 0

    def watch(self, predicted: Iterable[Predicted]) -> Iterator[Predicted]:
        """Pass all on as it comes, and look at it on the way."""
        for each in predicted:
            self._total += self._criterion(*each)["loss"].item() * len(each.mask)
            self._count += len(each.mask)
            yield each

    @property
    def value(self) -> float:
        """The mean of what has passed."""
        return self._total / self._count


def evaluate_samples(predicted: Iterable[Predicted], threshold: float, names: Iterable[str] = METRICS) -> pd.DataFrame:
    """Measure every sample.

    Args:
        predicted: The samples, in the order of the rows wanted.
        threshold: Mask probability above which a pixel belongs to the object, (0, 1).
        names: The metrics wanted, keys of METRICS.

    Returns:
        One row per sample, one column per metric.

    Raises:
        FloatingPointError: A metric is not finite; names it and the position of the first such sample.
    """
    columns: list[str] = []
    parts: list[NDArray[np.float64]] = []
    for prediction, mask, depth in predicted:
        measured = image_metrics(prediction, mask, depth, threshold, names)
        columns = list(measured)
        # Copied: small tensors that stay between large ones that go leave memory in pieces too small for the next.
        parts.append(torch.stack(list(measured.values())).cpu().numpy().copy())
    assert parts, "there is nothing to evaluate"
    table = pd.DataFrame(np.concatenate(parts, axis=1).T, columns=columns)
    values = table.to_numpy(float)
    wrong = ~np.isfinite(values)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise FloatingPointError(f"{table.columns[column]} of sample number {row} is {values[row, column]}")
    return table


def choose_threshold(predicted: Iterable[Predicted]) -> float:
    """Find the mask probability with the best mean IoU.

    A loss moves the best threshold (a Dice-trained mask is best near 0.8), so comparing losses at 0.5 alone is unfair.
    Choose on the validation split and freeze for the test split.
    """
    sums, count = torch.zeros(len(THRESHOLDS), dtype=torch.float64), 0
    for prediction, mask, _ in predicted:
        prob, truth = _probability(prediction), mask > 0.5
        sums += torch.stack([_overlap(prob > threshold, truth).sum() for threshold in THRESHOLDS]).cpu()
        count += len(mask)
    return THRESHOLDS[int((sums / count).argmax())]


def _probability(prediction: Prediction) -> Tensor:
    return prediction.mask_logits.float().sigmoid()


def _overlap(pred: Tensor, truth: Tensor) -> Tensor:
    """Give the IoU of each image, (B,); 1 where both masks are empty."""
    intersection = (pred & truth).flatten(1).sum(1).double()
    union = (pred | truth).flatten(1).sum(1).double()
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0)
