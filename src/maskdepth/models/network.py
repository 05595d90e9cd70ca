"""The network as it is trained, saved and served: pictures in [0, 1] in, `Prediction` out, normalisation inside."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskdepth.models.prediction import Prediction

# What is stacked for the model, with the channels it makes; the depth of the background and how it is known are two.
INPUT_CHANNELS: dict[str, int] = {
    "background+composite": 6,
    "background+composite+difference": 9,
    "background+composite+background_depth": 8,
    "background+composite+difference+background_depth": 11,
}

# Maps of depth scores of a model that sees the depth of the background: what it adds to that depth, how far it trusts
# it, and the object's own.
DEPTH_MAPS = 3

# Mean and deviation of the two channels of the background's depth. Moments of a data set would say nothing more, as
# depth is relative.
_DEPTH_MEANS, _DEPTH_STDS = [0.5, 0.5], [0.25, 0.5]
# What stands where the depth is not known.
_NO_DEPTH = 0.5
# Depth of 0 and 1 has no finite logit; half a grey level is as near as the pictures tell.
_LOGIT_MARGIN = 0.5 / 255

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


def sees_background_depth(inputs: str) -> bool:
    """Tell whether a model of these inputs, a key of INPUT_CHANNELS, sees the depth of the background."""
    return "background_depth" in inputs.split("+")


class Network(nn.Module):
    """A model between its normalisation and its output scale; nobody outside normalises.

    Args:
        model: Maps (B, C, H, W) normalised pictures to raw mask and depth scores, each (B, 1, H, W); one that sees the
            depth of the background to (B, DEPTH_MAPS, H, W) depth scores.
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
        if self.sees_background_depth:
            means, stds = means + _DEPTH_MEANS, stds + _DEPTH_STDS
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
                where it is not known. None where it is known nowhere, or the model does not see it.

        Returns:
            (B, 1, H, W) raw mask scores and (B, 1, H, W) depth, [0, 1]; float32 under autocast too.
        """
        mask_logits, depth_logits = self.model(self.stack(background, composite, background_depth))
        mask_logits, depth_logits = mask_logits.float(), depth_logits.float()
        if self.sees_background_depth:
            return Prediction(mask_logits, _put_into_scene(mask_logits, depth_logits, background_depth))
        # A sigmoid keeps depth within its range with a gradient everywhere, which clamping would not; and it is taken
        # in full precision, as bfloat16 has but 128 steps between 0.5 and 1.
        return Prediction(mask_logits, depth_logits.sigmoid())

    def stack(self, background: Tensor, composite: Tensor, background_depth: Tensor | None = None) -> Tensor:
        """Standardise both pictures, and their difference and the depth of the background where these are wanted.

        Args:
            background: (B, 3, H, W), [0, 1].
            composite: (B, 3, H, W), [0, 1].
            background_depth: (B, 2, H, W) as `forward` takes it.

        Returns:
            (B, C, H, W) the model's input, C as INPUT_CHANNELS says.
        """
        pictures = [background, composite]
        if self._sees_difference:
            pictures.append((composite - background).abs())
        if self.sees_background_depth:
            if background_depth is None:
                background_depth = torch.zeros_like(background[:, :2])
            depth, known = background_depth.chunk(2, dim=1)
            pictures += [torch.where(known > 0, depth, _NO_DEPTH), known]
        # Changed in place: on the CPU another tensor of this size costs more than the arithmetic.
        return torch.cat(pictures, dim=1).sub_(self.mean).div_(self.std)

    @property
    def sees_background_depth(self) -> bool:
        """Whether the depth of the background makes a difference."""
        return sees_background_depth(self.spec.inputs)

    @property
    def _sees_difference(self) -> bool:
        return "difference" in self.spec.inputs.split("+")


def _put_into_scene(mask_logits: Tensor, depth_logits: Tensor, background_depth: Tensor | None) -> Tensor:
    """Put the depth of the object into that of the scene, where the mask is, as a picture of it is pasted.

    scene = trust * background_depth + (1 - trust) * sigmoid(logit(background_depth) + added)
    depth = (1 - prob) * scene + prob * object

    Depth that is given is sharper than a model draws. What is added to it may be smooth, and so may the object's own,
    as the mask gives it its outline. The trust, which saturates, leaves a map that is exact as it is: what is added
    would always stray from nothing a little. The mask learns nothing from this: its own loss says what is object.

    Args:
        mask_logits: (B, 1, H, W) raw mask scores.
        depth_logits: (B, 3, H, W) raw scores: added, trust, object.
        background_depth: (B, 2, H, W) as `Network.forward` takes it; what is not known is neither trusted nor added to.

    Returns:
        (B, 1, H, W) depth, [0, 1].
    """
    added, trust, thing = depth_logits.chunk(DEPTH_MAPS, dim=1)
    scene = added.sigmoid()
    if background_depth is not None:
        depth, known = background_depth.float().chunk(2, dim=1)
        corrected = (depth.logit(_LOGIT_MARGIN) + added).sigmoid()
        scene = torch.where(known > 0, torch.lerp(corrected, depth, trust.sigmoid()), scene)
    return torch.lerp(scene, thing.sigmoid(), mask_logits.detach().sigmoid())
