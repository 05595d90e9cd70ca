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

    background_mean: Tensor
    background_std: Tensor
    composite_mean: Tensor
    composite_std: Tensor

    def __init__(self, model: nn.Module, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.model = model
        for name, channels in vars(spec.normalisation).items():
            values = torch.tensor(channels, dtype=torch.float32).view(1, 3, 1, 1)
            # Not persistent: the spec is the one place where they are saved.
            self.register_buffer(name, values.clamp_min(_SMALLEST_STD) if name.endswith("std") else values, False)

    def forward(self, background: Tensor, composite: Tensor) -> Prediction:
        """Predict mask and depth of a batch.

        Args:
            background: (B, 3, H, W) scene without the object, RGB, [0, 1].
            composite: (B, 3, H, W) the same scene with the object, RGB, [0, 1].

        Returns:
            (B, 1, H, W) raw mask scores and (B, 1, H, W) depth, [0, 1]; float32 under autocast too.
        """
        mask_logits, depth_logits = self.model(self._stack(background, composite))
        # A sigmoid keeps depth within its range with a gradient everywhere, which clamping would not; and it is taken
        # in full precision, as bfloat16 has but 128 steps between 0.5 and 1.
        return Prediction(mask_logits.float(), depth_logits.float().sigmoid())

    def _stack(self, background: Tensor, composite: Tensor) -> Tensor:
        """Give the model's input (B, C, H, W): both pictures standardised, and their difference where asked for."""
        pictures = [
            (background - self.background_mean) / self.background_std,
            (composite - self.composite_mean) / self.composite_std,
        ]
        if self.spec.inputs == "background+composite+difference":
            pictures.append((composite - background).abs() / self.composite_std)
        return torch.cat(pictures, dim=1)
