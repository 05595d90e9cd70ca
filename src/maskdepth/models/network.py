"""The network as it is trained, saved and served: pictures in [0, 1] in, `Prediction` out, normalisation inside."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskdepth.models.prediction import Prediction

# What is stacked for the model, with the channels it makes.
INPUT_CHANNELS = {"background+composite": 6, "background+composite+difference": 9}

# A channel that never changes has no spread; one grey level keeps the division finite.
_SMALLEST_STD = 1 / 255

Channels = tuple[float, ...]


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation per RGB channel of the two pictures, on the [0, 1] scale."""

    background_mean: Channels
    background_std: Channels
    composite_mean: Channels
    composite_std: Channels


@dataclass(frozen=True)
class NetworkSpec:
    """All that is needed to build a network again before its weights are loaded.

    Attributes:
        architecture: A name of `maskdepth models`.
        inputs: What the model sees: a key of INPUT_CHANNELS.
        normalisation: Moments of the training pictures.
        image_size: Side of the pictures it was trained on [px].
    """

    architecture: str
    inputs: str
    normalisation: Normalisation
    image_size: int


class Network(nn.Module):
    """A model between its normalisation and its output scale; nobody outside normalises.

    Args:
        model: Maps (B, C, H, W) normalised pictures to raw mask and depth scores, each (B, 1, H, W).
        spec: What the model is and how its pictures are normalised.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.model = model
        moments = spec.normalisation
        means, stds = (
            [*moments.background_mean, *moments.composite_mean],
            [*moments.background_std, *moments.composite_std],
        )
        if self._sees_difference:
            means, stds = means + [0.0] * 3, stds + list(moments.composite_std)
        # Not persistent: the spec is the one place where they are saved.
        self.register_buffer("mean", torch.tensor(means).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(stds).clamp_min(_SMALLEST_STD).view(1, -1, 1, 1), persistent=False)

    def forward(self, background: Tensor, composite: Tensor) -> Prediction:
        """Predict mask and depth of a batch.

        Args:
            background: (B, 3, H, W) scene without the object, RGB, [0, 1].
            composite: (B, 3, H, W) the same scene with the object, RGB, [0, 1].

        Returns:
            (B, 1, H, W) raw mask scores and (B, 1, H, W) depth, [0, 1]; float32 under autocast too.
        """
        mask_logits, depth_logits = self.model(self.stack(background, composite))
        # A sigmoid keeps depth within its range with a gradient everywhere, which clamping would not; and it is taken
        # in full precision, as bfloat16 has but 128 steps between 0.5 and 1.
        return Prediction(mask_logits.float(), depth_logits.float().sigmoid())

    def stack(self, background: Tensor, composite: Tensor) -> Tensor:
        """Standardise both pictures, and their difference where it is wanted.

        Args:
            background: (B, 3, H, W), [0, 1].
            composite: (B, 3, H, W), [0, 1].

        Returns:
            (B, C, H, W) the model's input, C as INPUT_CHANNELS says.
        """
        pictures = [background, composite]
        if self._sees_difference:
            pictures.append((composite - background).abs())
        # Changed in place: on the CPU another tensor of this size costs more than the arithmetic.
        return torch.cat(pictures, dim=1).sub_(self.mean).div_(self.std)

    @property
    def _sees_difference(self) -> bool:
        return self.spec.inputs == "background+composite+difference"
