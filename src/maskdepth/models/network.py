"""The network as it is trained, saved and served: pictures in [0, 1] in, `Prediction` out, normalisation inside."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskdepth.models.fusion import DepthFusion
from maskdepth.models.prediction import Prediction

# What a network sees, with the channels that are stacked for its model; the depth of the background is none of them.
INPUT_CHANNELS: dict[str, int] = {
    "background+composite": 6,
    "background+composite+difference": 9,
    "background+composite+background_depth": 6,
    "background+composite+difference+background_depth": 9,
}

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
        inputs: What the network sees: a key of INPUT_CHANNELS.
        normalisation: Moments of the training pictures.
        image_size: Side of the pictures it was trained on [px].
    """

    architecture: str
    inputs: str
    normalisation: Normalisation
    image_size: int


def sees_background_depth(inputs: str) -> bool:
    """Tell whether a network of these inputs, a key of INPUT_CHANNELS, sees the depth of the background."""
    return "background_depth" in inputs.split("+")


class Network(nn.Module):
    """A model between its normalisation and its output scale; nobody outside normalises.

    Args:
        model: Maps (B, C, H, W) normalised pictures to raw mask and depth scores, each (B, 1, H, W).
        spec: What the model is and how its pictures are normalised. Where it sees the depth of the background, a
            `DepthFusion` with fresh weights follows the model.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.model = model
        self.fusion = DepthFusion() if sees_background_depth(spec.inputs) else None
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

    def forward(self, background: Tensor, composite: Tensor, background_depth: Tensor | None = None) -> Prediction:
        """Predict mask and depth of a batch.

        Args:
            background: (B, 3, H, W) scene without the object, RGB, [0, 1].
            composite: (B, 3, H, W) the same scene with the object, RGB, [0, 1].
            background_depth: (B, 2, H, W) relative depth of the scene without the object, [0, 1], 0 near; and how it is
                known, 1 where it is as good as in the training data, 0.5 where it is an estimate of another origin, 0
                where it is not known. None where it is known nowhere, or the network does not see it.

        Returns:
            (B, 1, H, W) raw mask scores and (B, 1, H, W) depth, [0, 1]; float32 under autocast too.
        """
        return self.predict_each(background, composite, background_depth)[-1]

    def predict_each(
        self, background: Tensor, composite: Tensor, background_depth: Tensor | None = None
    ) -> list[Prediction]:
        """Predict as `forward` does, and give all that a training must judge.

        Returns:
            What the pictures alone tell; then, where the network sees the depth of the background and is given it, what
            both tell. That has the mask of the first, and no gradient of it reaches the model.
        """
        mask_logits, depth_logits = (scores.float() for scores in self.model(self.stack(background, composite)))
        # A sigmoid keeps depth within its range with a gradient everywhere, which clamping would not; and it is taken
        # in full precision, as bfloat16 has but 128 steps between 0.5 and 1.
        alone = Prediction(mask_logits, depth_logits.sigmoid())
        if self.fusion is None or background_depth is None:
            return [alone]
        return [alone, self.fusion(alone, background_depth)]

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
    def sees_background_depth(self) -> bool:
        """Whether the depth of the background makes a difference."""
        return self.fusion is not None

    @property
    def _sees_difference(self) -> bool:
        return "difference" in self.spec.inputs.split("+")
