"""The parts that the networks are put together from: convolution blocks, an encoder and a decoder with skips."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BlockBuilder = Callable[[int, int], nn.Module]


def convolution(in_channels: int, out_channels: int, kernel: int, groups: int = 1) -> nn.Sequential:
    """Build convolution, batch normalisation, ReLU; the size stays.

    The convolution has no bias: the normalisation that follows would take it away again.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def double_convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    """Build the U-Net's block: two plain 3x3 convolutions, each with batch normalisation and ReLU."""
    return nn.Sequential(convolution(in_channels, out_channels, 3), convolution(out_channels, out_channels, 3))


class SeparableBlock(nn.Module):
    """A residual depthwise-separable block: 1x1, depthwise 3x3, 1x1, added to what the first 1x1 gave.

    Some nine times fewer multiply-adds than a plain 3x3 block of the same width. MobileNetV2 (Sandler et al. 2018,
    https://arxiv.org/abs/1801.04381) without its expansion.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels within the block and out of it.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.pointwise = convolution(in_channels, out_channels, 1)
        self.depthwise = convolution(out_channels, out_channels, 3, groups=out_channels)
        self.project = nn.Sequential(nn.Conv2d(out_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) features to (B, out_channels, H, W)."""
        x = self.pointwise(x)
        return F.relu_(x + self.project(self.depthwise(x)))


class Encoder(nn.Module):
    """Five scales of features, from the size of the picture down to a sixteenth, a max-pool between two scales.

    Args:
        in_channels: Channels of the stacked pictures.
        widths: Channels at 1, 1/2, 1/4, 1/8 and 1/16 of the size.
        block: Builder of the block of each scale, given channels in and out.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], block: BlockBuilder) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(map(block, (in_channels, *widths[:-1]), widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Give the features (B, widths[i], H / 2**i, W / 2**i) of each scale, finest first; odd sizes round down."""
        scales = [self.blocks[0](x)]
        for block in self.blocks[1:]:
            scales.append(block(F.max_pool2d(scales[-1], 2)))
        return scales


class Decoder(nn.Module):
    """The way back up: enlarge to the size of the next finer scale, join its features, refine.

    Args:
        skip_widths: Channels of the encoder's scales, finest first.
        widths: Channels after each step up, finest first; fewer than len(skip_widths) - 1 leave out the finest steps.
        block: Builder of the block of each step, given channels in and out.
    """

    def __init__(self, skip_widths: Sequence[int], widths: Sequence[int], block: BlockBuilder) -> None:
        super().__init__()
        self.finest = len(skip_widths) - 1 - len(widths)
        coarser = (*widths[1:], skip_widths[-1])
        joined = [width + skip for width, skip in zip(coarser, skip_widths[self.finest : -1], strict=True)]
        self.blocks = nn.ModuleList(map(block, joined, widths))

    def forward(self, scales: list[Tensor]) -> Tensor:
        """Map the encoder's scales to (B, widths[0], h, w), with (h, w) the size of scale `finest`."""
        x = scales[-1]
        skips = scales[self.finest : -1]
        for block, skip in zip(reversed(self.blocks), reversed(skips), strict=True):
            x = block(torch.cat([resize(x, skip), skip], dim=1))
        return x


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Resize (B, C, h, w) features bilinearly to the height and width of `like` (B, C', H, W)."""
    resized = F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
    if resized.requires_grad:
        # A concatenation hands its gradient back as a strided view, for which torch takes a kernel several times slower
        # than for dense memory.
        resized.register_hook(_dense)  # type: ignore[no-untyped-call]
    return resized


def _dense(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)
