"""sumankanukollu: the steep encoder with adding decoders of that student project, its unused parts included."""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional as F

from maskdepth.models.blocks import resize


class SumankanukolluDepthMask(nn.Module):
    """An encoder down to 1/256 of the size, and decoders that add skips; 12,384,577 parameters with six channels.

    The depth decoder has but its first step to itself: the project sends it through the mask's four later steps and
    leaves its own four aside. They stand here, as do the shortcuts that the project computes and drops, so that the
    count is the project's; these 1,109,120 parameters are frozen, for they never receive a gradient.

    Three departures. Features are resized to the skip that they meet, where the project's factors fit 224 px alone;
    at 224 px the sizes are the same. Skips are added out of place: added in place they break the backward pass. And
    the project stacks composite, then background, which only reorders the weights of the first layer.

    The project's depth loss has a sigmoid within, so its depth is the sigmoid of the scores, as it is here. Its first
    version predicts depth as a colour picture. Here the depth has no colour: the three channels of that head are
    averaged, as scores, into one.

    Origin: https://github.com/sumankanukollu/EVA_4_Assignments, folder S15.

    Args:
        in_channels: Channels of the stacked pictures.
        depth_channels: Channels of the depth head: 1, or 3 as in the first version (12,384,643 parameters).
    """

    def __init__(self, in_channels: int, depth_channels: int = 1) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)
        )
        self.down16 = _Down(64, 128)
        self.down64 = _Down(128, 256)
        self.down256 = _Down(256, 512)
        self.mask_up64 = _up(512, 256)
        self.depth_up64 = _up(512, 256)
        self.decoder = _Decoder()
        self.unused_decoder = _Decoder().requires_grad_(False)
        self.mask_head = nn.Conv2d(32, 1, 1, bias=False)
        self.depth_head = nn.Conv2d(32, depth_channels, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Predict from the stacked, normalised pictures.

        Args:
            pictures: (B, in_channels, H, W) normalised, of any size. Up to 256 px the coarsest scale is one pixel,
                whose batch normalisation needs B of at least 2 to train.

        Returns:
            (B, 1, H, W) raw mask scores and (B, 1, H, W) raw depth scores.
        """
        x2 = self.stem(pictures)
        x4 = F.max_pool2d(x2, 3, stride=2, padding=1)
        x16 = self.down16(x4)
        x64 = self.down64(x16)
        x256 = resize(self.down256(x64), like=x64)
        x8 = F.interpolate(x16, scale_factor=2, mode="bilinear")  # the encoder passes over this scale
        sizes = (x8, x4, x2, pictures)
        mask = self.decoder(self.mask_up64(x256) + x64, sizes, skips=(x8, x4, x2, None))
        depth = self.decoder(self.depth_up64(x256) + x64, sizes, skips=(x8, None, x2, None))
        return self.mask_head(mask), self.depth_head(depth).mean(dim=1, keepdim=True)


class _Down(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.halve_twice = nn.Sequential(
            *_convolution_pair(in_channels, out_channels, stride=2), *_convolution_pair(out_channels, out_channels, 2)
        )
        self.unused_shortcut = nn.ConvTranspose2d(in_channels, out_channels, 1, stride=2, bias=False)
        self.unused_shortcut.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, h, w) features to (B, out_channels, h / 4, w / 4), rounded up."""
        return self.halve_twice(x)  # type: ignore[no-any-return]


class _Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ups = nn.ModuleList((_up(256, 128), _up(128, 64), _up(64, 64), _up(64, 32)))

    def forward(self, x: Tensor, sizes: Iterable[Tensor], skips: Iterable[Tensor | None]) -> Tensor:
        """Map (B, 256, h, w) features to (B, 32, H, W): at each step resize, refine, add the skip if there is one.

        Args:
            x: (B, 256, h, w) features at 1/64 of the size.
            sizes: Four tensors, coarse to fine, whose height and width the steps take on.
            skips: What to add after each step, of that step's width.
        """
        for up, like, skip in zip(self.ups, sizes, skips, strict=True):
            x = up(resize(x, like))
            x = x if skip is None else x + skip
        return x


def _up(in_channels: int, out_channels: int) -> nn.Sequential:
    """Build the refining step of the decoders; the size stays, in spite of the transposed convolution."""
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, out_channels, 3, padding=1, bias=False),
        *_convolution_pair(out_channels, out_channels, stride=1),
        *_convolution_pair(out_channels, out_channels, stride=1),
    )


def _convolution_pair(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        _Convolution(in_channels, out_channels, 3, stride, padding=1, bias=False),
        nn.Conv2d(out_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class _Convolution(nn.Conv2d):
    """A padded 3x3 convolution that trains in bfloat16 down to a single pixel."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, h, w) features to (B, out_channels, h / stride, w / stride), rounded up."""
        if self.training and x.shape[-2:] == (1, 1):
            # One pixel meets the middle of the kernel alone. Said so, as the weight gradient of the strided bfloat16
            # convolution of one pixel is garbage on processors with AMX (oneDNN 3.13).
            return F.conv2d(x, self.weight[..., 1:2, 1:2])
        return super().forward(x)
