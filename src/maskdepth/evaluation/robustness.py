"""What becomes of masks and depths when the camera moved or the light changed between both photographs.

Backgrounds of some test samples are disturbed in ways that happen to people, and shown to the network as they are and
registered, as `maskdepth predict` shows them. Both happens at the size of the arrays; photographs are registered at
their own size, which is more exact.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from maskdepth.data.batches.batches import Batch, Batches
from maskdepth.data.registration import register
from maskdepth.evaluation.baseline import guess_masks
from maskdepth.evaluation.disturbances import DISTURBANCES, DISTURBED, REGISTERED, Change, Pixels
from maskdepth.evaluation.samples import Predictor, evaluate_samples, predictions
from maskdepth.metrics.names import HEADLINE, SCORED

# Samples that are enough to see what breaks; each is registered once per disturbance.
NUM_SAMPLES = 40


def disturb(batches: Iterable[Batch], change: Change) -> Iterator[Batch]:
    """Change every background, always in the same way."""
    rng = np.random.default_rng(0)
    for batch in batches:
        yield _show(batch, [change(background, rng) for background in _pictures(batch.background)])


def register_backgrounds(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Lay every background over its composite."""
    for batch in batches:
        pairs = zip(_pictures(batch.background), _pictures(batch.composite), strict=True)
        yield _show(batch, [register(background, composite).background for background, composite in pairs])


def _show(batch: Batch, backgrounds: list[Pixels]) -> Batch:
    shown = torch.from_numpy(np.stack(backgrounds)).permute(0, 3, 1, 2).to(batch.background.device)
    return batch._replace(background=shown)


def _pictures(stack: torch.Tensor) -> list[Pixels]:
    """Take a stack (B, 3, H, W) uint8 apart: (H, W, 3) each."""
    return [np.ascontiguousarray(picture) for picture in stack.permute(0, 2, 3, 1).cpu().numpy()]


class Robustness(NamedTuple):
    """What was measured under all disturbances.

    Attributes:
        samples: For `DISTURBED` and `REGISTERED` one row per sample: the headline metrics of the network, averaged over
            the disturbances.
        table: One row per disturbance after one of the samples as they are: `background`, then with `_disturbed` and
            `_registered` behind them the means of mask IoU and depth SSIM, and of `difference_mask_iou`, of the mask
            that is the thresholded difference.
    """

    samples: dict[str, pd.DataFrame]
    table: pd.DataFrame


def measure_robustness(
    network: Predictor, batches: Batches, threshold: float, names: Iterable[str] = DISTURBANCES
) -> Robustness:
    """Measure samples under every disturbance.

    Args:
        network: As of `predictions`.
        batches: The samples.
        threshold: Mask probability above which a pixel belongs to the object, (0, 1).
        names: Of the disturbances, `AS_IT_IS` first.
    """
    measured: dict[str, list[pd.DataFrame]] = {DISTURBED: [], REGISTERED: []}
    rows = []
    for name in names:
        row: dict[str, object] = {"background": name}
        disturbed = list(disturb(batches.in_order(), DISTURBANCES[name]))
        backgrounds = {DISTURBED: disturbed, REGISTERED: list(register_backgrounds(disturbed))}
        for how, shown in backgrounds.items():
            parts = measured[how]
            parts.append(evaluate_samples(predictions(network, shown), threshold, HEADLINE))
            difference = evaluate_samples(guess_masks(shown), 0.5, ("mask_iou",))["mask_iou"]
            row |= {f"{metric}_{how}": parts[-1][metric].mean() for metric in SCORED}
            row[f"difference_mask_iou_{how}"] = difference.mean()
        rows.append(row)
    means = {how: pd.concat(parts[1:]).groupby(level=0).mean() for how, parts in measured.items()}
    return Robustness(means, pd.DataFrame(rows))
