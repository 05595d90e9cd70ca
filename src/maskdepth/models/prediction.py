"""What every network returns: the raw mask scores and the depth map, by name."""

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
