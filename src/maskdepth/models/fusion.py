"""The depth of the background, where it is given: a small network corrects it and puts the object into it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskdepth.models.blocks import Decoder, Encoder, SeparableBlock, convolution, double_convolution, resize
from maskdepth.models.prediction import Prediction

# What it sees: the given depth, how it is known, the probability of the object.
_SEEN = 3
# Mean and deviation of depth, and of the two others. Moments of a data set would say nothing more: depth is relative.
_DEPTH_MOMENTS, _SHARE_MOMENTS = (0.5, 0.25), (0.5, 0.5)
# What stands where the depth is not known.
_NO_DEPTH = 0.5
# Depth of 0 and 1 has no finite logit; half a grey level is as near as the pictures tell.
_LOGIT_MARGIN = 0.5 / 255
# Scores of what is added to the given depth, of how far that is trusted, and of the object's depth.
_MAPS = 3


class DepthFusion(nn.Module):
    """Corrects the given depth of the background and puts the object into it; 0.2 M parameters, at half the size.

    scene = trust * given + (1 - trust) * sigmoid(logit(given) + added)
    depth = (1 - prob) * scene + prob * object

    The given depth is sharper than a network draws. What is added to it may be smooth, and so may the object's own, as
    the mask gives it its outline. The trust, which saturates, leaves a map that is exact as it is: what is added would
    always stray from nothing a little.

    It sees neither the pictures nor the depth that the model reads in them: places that trained are soon known by
    heart, and a map would be overruled by what no other place bears out. Nor does it teach the model anything, so that
    who has no map asks a network like one that never saw any.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (24, 48, 64, 96)
        self.stem = convolution(_SEEN, widths[0], 3)
        self.encoder = Encoder(widths[0], widths, SeparableBlock)
        self.decoder = Decoder(widths, widths[:-1], double_convolution)
        self.head = nn.Conv2d(widths[0], _MAPS, 1)

    def forward(self, alone: Prediction, background_depth: Tensor) -> Prediction:
        """Predict the depth of the scene with the object.

        Args:
            alone: What the pictures alone tell.
            background_depth: (B, 2, H, W) as `Network.forward` takes it.

        Returns:
            The same mask, with no gradient behind it, and the depth, which is that of `alone` where none is given.
        """
        mask_logits, own = (maps.detach() for maps in alone)
        prob = mask_logits.sigmoid()
        given, known = background_depth.float().chunk(2, dim=1)
        depth = _standardise(torch.where(known > 0, given, _NO_DEPTH), *_DEPTH_MOMENTS)
        shares = _standardise(torch.cat([prob, known], 1), *_SHARE_MOMENTS)
        scales = self.encoder(self.stem(F.avg_pool2d(torch.cat([depth, shares], 1), 2)))
        scores = resize(self.head(self.decoder(scales)).float(), like=given)
        added, trust, thing = scores.chunk(_MAPS, dim=1)
        scene = torch.lerp((given.logit(_LOGIT_MARGIN) + added).sigmoid(), given, trust.sigmoid())
        fused = torch.lerp(scene, thing.sigmoid(), prob)
        return Prediction(mask_logits, torch.where(known > 0, fused, own))


def _standardise(maps: Tensor, mean: float, deviation: float) -> Tensor:
    return (maps - mean) / deviation
