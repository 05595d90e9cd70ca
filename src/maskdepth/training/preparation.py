"""What a training starts from: settings that the machine can keep, and a fresh network normalised by its own data."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch

from maskdepth.data.arrays.arrays import Arrays
from maskdepth.data.samples import TRAIN
from maskdepth.data.stats import Moments, read_stats, subset_moments
from maskdepth.device import has_bf16
from maskdepth.models.catalogue import build_network, check_image_size
from maskdepth.models.network import Network, NetworkSpec, Normalisation, sees_background_depth
from maskdepth.params import TrainParams
from maskdepth.process.console import warn

# Pixels of a batch that keep a CUDA device busy; half a gigabyte while their metrics are taken.
_VAL_PIXELS = 2**21


def fit_precision(settings: TrainParams, device: torch.device) -> TrainParams:
    """Fall back to float32, with a warning, where bfloat16 is only imitated: exacter and faster."""
    if settings.precision == "bf16" and not has_bf16(device):
        warn(f"train.precision: this {device.type} has no bfloat16 of its own; training in fp32")
        return settings.model_copy(update={"precision": "fp32"})
    return settings


def choose_val_batch(settings: TrainParams, image_size: int, device: torch.device) -> int:
    """Choose how many samples are validated at a time: those of a training batch, on a CUDA device as many as pay.

    Metrics do not depend on it, but on the CPU the last bits of the mean loss would.

    Args:
        settings: Section train of params.yaml.
        image_size: Side of the pictures [px].
        device: Where they are.
    """
    return max(settings.batch_size, _VAL_PIXELS // image_size**2 if device.type == "cuda" else 0)


def wants_background_depth(inputs: str, train: pd.DataFrame) -> bool:
    """Tell whether a network sees the depth of the background, and make sure that there is something to see.

    Args:
        inputs: What it sees: a key of INPUT_CHANNELS.
        train: The training samples.

    Raises:
        ValueError: It does, and none of them has such a map.
    """
    if not sees_background_depth(inputs):
        return False
    if not train["background_depth_row"].ge(0).any():
        raise ValueError(
            f"model.inputs: {inputs} needs the depth of the backgrounds, and no training sample has it; add it to "
            "data/raw (docs/DATA.md says how), make it with `maskdepth label-depth --backgrounds`, or take "
            "+background_depth away"
        )
    return True


def prepare_network(name: str, inputs: str, pictures: Arrays, rows: Mapping[str, pd.DataFrame], stats: Path) -> Network:
    """Build a network with fresh weights, normalised by the training pictures.

    Args:
        name: Of the architecture.
        inputs: What it sees: a key of INPUT_CHANNELS.
        pictures: All that was decoded.
        rows: The samples of each split.
        stats: The file of the moments of each picture.

    Raises:
        FileNotFoundError: `stats` is missing.
        ValueError: An unknown network, or an image size that it does not take.
    """
    check_image_size(name, pictures.image_size)
    samples = pd.concat([part.drop(columns="sample_id") for part in rows.values()], ignore_index=True)
    moments = subset_moments(read_stats(stats), samples, pictures, rows[TRAIN])
    return build_normalised(name, inputs, moments, pictures.image_size)


def build_normalised(name: str, inputs: str, moments: Mapping[str, Moments], image_size: int) -> Network:
    """Build a network with fresh weights, normalised by given moments.

    Args:
        name: Of the architecture.
        inputs: What it sees: a key of INPUT_CHANNELS.
        moments: Of each kind of picture.
        image_size: Side of the pictures [px].
    """
    background, composite = moments["background"], moments["composite"]
    normalisation = Normalisation(background.mean, background.std, composite.mean, composite.std)
    return build_network(NetworkSpec(name, inputs, normalisation, image_size))
