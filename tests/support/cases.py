"""Predictions and what is true, to measure: one worked by hand, and random ones."""

import numpy as np
import torch
from scipy import ndimage

from maskdepth.models.prediction import Prediction


def worked_case():
    """A box on a ramp of depth; its estimate a pixel to the right, and too near: prediction, mask, depth."""
    mask = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    mask[..., 20:44, 16:40] = 1
    depth = (torch.linspace(0, 1, 64, dtype=torch.float64) * 0.8 + 0.1)[:, None].expand(1, 1, 64, 64)
    return Prediction(scores(mask.roll(1, -1)), torch.where(mask > 0, 0.2, depth)), mask, depth


def random_case(count=6, height=24, width=30):
    """Blobs, some of them empty, and smooth depth maps: prediction, mask, depth."""
    rng = np.random.default_rng(0)
    maps = ndimage.gaussian_filter(rng.standard_normal((4, count, height, width)), (0, 0, 2, 2))
    maps = torch.from_numpy((maps - maps.min()) / (maps.max() - maps.min())).unsqueeze(2)
    logits, mask = 30 * (maps[0] - 0.6), (maps[1] > 0.6).double()
    logits[0], mask[0], mask[1] = -20, 0, 0
    return Prediction(logits, maps[2]), mask, maps[3]


def scores(mask):
    return 80 * mask - 40
