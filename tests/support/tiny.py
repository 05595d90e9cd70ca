"""A network, settings and eight samples with which a training takes a second."""

import numpy as np
import pandas as pd
import torch
from support.toy import draw_background, draw_sample
from torch import nn

from maskdepth.data.arrays.arrays import Arrays, ShardedArray
from maskdepth.data.batches.batches import Batches
from maskdepth.models.network import NetworkSpec, Normalisation
from maskdepth.params import LossParams, TrainParams

CPU = torch.device("cpu")
HALF = (0.5, 0.5, 0.5)
SPEC = NetworkSpec("tiny", "background+composite+difference", Normalisation(HALF, HALF, HALF, HALF), 32)
LOSS = LossParams(mask="bce", depth="l1", mask_weight=1.0, depth_weight=1.0)
SETTINGS = TrainParams(
    epochs=2,
    batch_size=3,
    micro_batch="auto",
    optimizer="adamw",
    learning_rate=0.01,
    momentum=0.9,
    weight_decay=0.01,
    schedule="one_cycle",
    step_epochs=1,
    gamma=0.5,
    clip_norm=1.0,
    precision="fp32",
    compile="auto",
    augment=["flip", "scene", "cutout", "camera_jitter"],
    shuffle_window=1,
    keep="best",
    checkpoint_seconds=1.0,
    seed=0,
)


def change(**values):
    return SETTINGS.model_copy(update=values)


class Tiny(nn.Module):
    """Two convolutions with normalisation: enough to learn a little and to be quick."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(9, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.heads = nn.Conv2d(4, 2, 1)

    def forward(self, pictures):
        both = self.heads(self.body(pictures))
        return both[:, :1], both[:, 1:]


def make_arrays():
    samples = [draw_sample(number % 2 + 1, number % 3 + 1, 0, number) for number in range(8)]
    return Arrays(
        image_size=32,
        background=ShardedArray([np.stack([draw_background(number) for number in (1, 2, 3)])]),
        composite=ShardedArray([np.stack([sample.composite for sample in samples])]),
        mask=ShardedArray([np.stack([sample.mask for sample in samples])]),
        depth=ShardedArray([np.stack([sample.depth for sample in samples])]),
    )


def make_batches(arrays, batch_size=3, numbers=range(8), device=CPU):
    numbers = np.array(numbers)
    columns = {f"{kind}_row": numbers for kind in ("composite", "mask", "depth")}
    rows = pd.DataFrame({"sample_id": [f"s{number}" for number in numbers], "background_row": numbers % 3, **columns})
    return Batches(arrays, rows, batch_size, device)
