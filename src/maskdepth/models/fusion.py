"""The depth of the background, where it is given: a small network corrects it and puts the object into it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskdepth.models.blocks import Decoder, Encoder, SeparableBlock, convolution, double_convolution, resize

# What the pictures are joined by: the model's own depth and probability, the given depth and how it is known.
_OWN_CHANNELS = 4
# Mean and deviation of depths, and of the two others. Moments of a data set would say nothing more: depth is relative.
_DEPTH_MOMENTS, _SHARE_MOMENTS = (0.5, 0.25), (0.5, 0.5)
# What stands where the depth is not known.
_NO_DEPTH = 0.5
# Depth of 0 and 1 has no finite logit; half a grey level is as near as the pictures tell.
_LOGIT_MARGIN = 0.5 / 255
# Scores of what is added to the given depth, how far that is trusted, and how the object moves.
_MAPS = 3


class DepthFusion(nn.Module):
    """Corrects the given depth of the background and puts the object into it; 0.2 M parameters, at half the size.

    scene = trust * given + (1 - trust) * sigmoid(logit(given) + added)
    object = sigmoid(logit(own) + moved)
    depth = (1 - prob) * scene + prob * object

    The given depth is sharper than a network draws. What is added to it may be smooth, and so may the object, as the
    mask gives it its outline. The trust, which saturates, leaves a map that is exact as it is: what is added would
    always stray from nothing a little. Nothing of this reaches the model whose own prediction it starts from, so that
    who has no map asks the very network that never saw one.

    Args:
        in_channels: Channels of the stacked pictures.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        widths = (24, 48, 64, 96)
        self.stem = convolution(in_channels + _OWN_CHANNELS, widths[0], 3)
        self.encoder = Encoder(widths[0], widths, SeparableBlock)
        self.decoder = Decoder(widths, widths[:-1], double_convolution)
        self.head = nn.Conv2d(widths[0], _MAPS, 1)

    def forward(self, pictures: Tensor, mask_logits: Tensor, depth_logits: Tensor, background_depth: Tensor) -> Tensor:
        """Predict the depth of the scene with the object.

        Args:
            pictures: (B, in_channels, H, W) normalised.
            mask_logits: (B, 1, H, W) raw mask scores of the model, float32.
            depth_logits: (B, 1, H, W) its raw depth scores, float32.
            background_depth: (B, 2, H, W) as `Network.forward` takes it.

        Returns:
            (B, 1, H, W) depth, [0, 1], float32; the model's own where none is given.
        """
        given, known = background_depth.float().chunk(2, dim=1)
        prob, own_logits = mask_logits.detach().sigmoid(), depth_logits.detach()
        own = own_logits.sigmoid()
        seen = [
            _standardise(torch.cat([own, torch.where(known > 0, given, _NO_DEPTH)], 1), *_DEPTH_MOMENTS),
            _standardise(torch.cat([prob, known], 1), *_SHARE_MOMENTS),
        ]
        scales = self.encoder(self.stem(F.avg_pool2d(torch.cat([pictures, *seen], 1), 2)))
        scores = resize(self.head(self.decoder(scales)).float(), like=given)
        added, trust, moved = scores.chunk(_MAPS, dim=1)
        scene = torch.lerp((given.logit(_LOGIT_MARGIN) + added).sigmoid(), given, trust.sigmoid())
        return torch.where(known > 0, torch.lerp(scene, (own_logits + moved).sigmoid(), prob), own)


def _standardise(maps: Tensor, mean: float, deviation: float) -> Tensor:
    return (maps - mean) / deviation
