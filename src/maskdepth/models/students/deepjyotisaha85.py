"""deepjyotisaha85: the two-stream network at full resolution of that student project, parameter for parameter."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskdepth.models.blocks import convolution, double_convolution


class Deepjyotisaha85ResNet(nn.Module):
    """A residual stream for the composite, a plain one for the background, joined for two heads; never scaled down.

    3,789,888 parameters with six input channels. The project registers a middle convolution that it then passes over;
    it stands here so that the count is the project's, and is frozen, for it never receives a gradient. The other
    3,199,552 do. With 256 channels at every pixel, memory is what limits size and batch.

    The project trains the raw depth scores with SSIM, edge and absolute error against depth in [0, 1], and so has
    nothing that keeps depth within that range. Here they are scores, as in every network: depth is their sigmoid.

    Origin: https://github.com/deepjyotisaha85/eva4, folder session15; residuals after He et al. 2015, Deep Residual
    Learning, https://arxiv.org/abs/1512.03385, with a 3x3 convolution in the shortcut and three in the block.

    Args:
        in_channels: Channels of background and composite together, half of them each.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.background_stream = nn.Sequential(
            convolution(in_channels // 2, 32, 3), double_convolution(32, 64), double_convolution(64, 128)
        )
        self.composite_stream = nn.Sequential(
            convolution(in_channels // 2, 32, 3), _Residual(32, 64), _Residual(64, 128)
        )
        self.unused_middle = convolution(256, 256, 3).requires_grad_(False)
        self.mask_head = _head()
        self.depth_head = _head()

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Predict from the stacked, normalised pictures.

        Args:
            pictures: (B, in_channels, H, W) normalised background, then composite, of any size.

        Returns:
            (B, 1, H, W) raw mask scores and (B, 1, H, W) raw depth scores.
        """
        background, composite = pictures.chunk(2, dim=1)
        x = torch.cat([self.composite_stream(composite), self.background_stream(background)], dim=1)  # (B, 256, H, W)
        return self.mask_head(x), self.depth_head(x)


class _Residual(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            double_convolution(in_channels, out_channels), *_normalised_convolution(out_channels, out_channels)
        )
        self.shortcut = _normalised_convolution(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) features to (B, out_channels, H, W)."""
        return F.relu(self.block(x) + self.shortcut(x))


def _normalised_convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False), nn.BatchNorm2d(out_channels))


def _head() -> nn.Sequential:
    return nn.Sequential(double_convolution(256, 256), nn.Conv2d(256, 1, 3, padding=1, bias=False))
