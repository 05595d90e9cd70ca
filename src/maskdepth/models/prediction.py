"""What every network returns, the raw mask scores and the depth map by name, and the check against its targets."""

from typing import NamedTuple

from torch import Tensor


class Prediction(NamedTuple):
    """The two outputs of a network for one batch.

    Attributes:
        mask_logits: (B, 1, H, W) raw scores of the mask head; `sigmoid` makes them probabilities.
        depth: (B, 1, H, W) relative depth, [0, 1], 0 near and 1 far.
    """

    mask_logits: Tensor
    depth: Tensor


def check_targets(prediction: Prediction, mask: Tensor, depth: Tensor) -> None:
    """Refuse targets of another shape: nearly equal shapes would broadcast and give wrong numbers without a word.

    Args:
        prediction: Outputs of a network.
        mask: True mask.
        depth: True depth.

    Raises:
        ValueError: A target has not the shape of its prediction, or that shape is not (B, 1, H, W).
    """
    for name, pred, target in (("mask", prediction.mask_logits, mask), ("depth", prediction.depth, depth)):
        if pred.shape != target.shape or pred.ndim != 4 or pred.shape[1] != 1:
            raise ValueError(
                f"{name}: the prediction has shape {tuple(pred.shape)}, the target {tuple(target.shape)}; "
                "both must be (B, 1, H, W)"
            )
