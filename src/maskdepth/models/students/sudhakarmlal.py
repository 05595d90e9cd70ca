"""sudhakarmlal: the two networks of that student project, both at full resolution, parameter for parameter."""

import torch
from torch import Tensor, nn

from maskdepth.models.blocks import convolution, double_convolution


class SudhakarmlalNet(nn.Module):
    """The project's Model1: the mask from two streams of shared weights, the depth from both pictures stacked.

    6,987,744 parameters with six input channels; the two branches share nothing. Both heads have three channels, as
    the project repeats its grey targets to three; all three are after the same target, so here their mean is taken.

    The project trains the raw depth scores with SSIM, which leaves them free to leave [0, 1]. Here they are scores, as
    in every network: depth is their sigmoid.

    Origin: https://github.com/sudhakarmlal/EVA4, folder Session15.

    Args:
        in_channels: Channels of background and composite together, half of them each.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.mask_branch = _MaskBranch(in_channels // 2)
        self.depth_branch = _DepthBranch(in_channels)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Predict from the stacked, normalised pictures.

        Args:
            pictures: (B, in_channels, H, W) normalised background, then composite, of any size.

        Returns:
            (B, 1, H, W) raw mask scores and (B, 1, H, W) raw depth scores.
        """
        background, composite = pictures.chunk(2, dim=1)
        return _mean_channel(self.mask_branch(background, composite)), _mean_channel(self.depth_branch(pictures))


class SudhakarmlalConvGen(nn.Module):
    """The project's Model2: one stream of shared weights, one output that is to be mask and depth at once.

    305,728 parameters with six input channels. The single output is the design's defect, and stays: the same scores
    are served as the mask's and as the depth's, as the project compares one output with both targets. Its three
    channels are averaged, as in Model1. Both of its losses have a sigmoid within, so its depth is the sigmoid of the
    scores, as it is here.

    Origin: https://github.com/sudhakarmlal/EVA4, folder Session15.

    Args:
        in_channels: Channels of background and composite together, half of them each.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.stream = nn.Sequential(convolution(in_channels // 2, 32, 3), _factored(32, 32, 64, groups=32))
        self.join = convolution(128, 256, 3)
        self.head = _head()

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Predict from the stacked, normalised pictures.

        Args:
            pictures: (B, in_channels, H, W) normalised background, then composite, of any size.

        Returns:
            (B, 1, H, W) raw scores, twice the same: for the mask and for the depth.
        """
        background, composite = pictures.chunk(2, dim=1)
        x = torch.cat([self.stream(background), self.stream(composite)], dim=1)  # (B, 128, H, W)
        scores = _mean_channel(self.head(self.join(x)))
        return scores, scores


class _MaskBranch(nn.Module):
    def __init__(self, picture_channels: int) -> None:
        super().__init__()
        self.stream = nn.Sequential(convolution(picture_channels, 32, 3), _factored(32, 64, 128, groups=32))
        self.join = nn.Sequential(
            _factored(256, 256, 512, groups=1), _factored(512, 512, 512, groups=1), convolution(512, 256, 3)
        )
        self.head = _head()

    def forward(self, background: Tensor, composite: Tensor) -> Tensor:
        """Map two (B, picture_channels, H, W) pictures to (B, 3, H, W) raw scores."""
        x = torch.cat([self.stream(background), self.stream(composite)], dim=1)  # (B, 256, H, W)
        return self.head(self.join(x))  # type: ignore[no-any-return]


class _DepthBranch(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.widen128 = nn.Sequential(convolution(in_channels, 64, 3), convolution(64, 128, 3))
        self.residual128 = double_convolution(128, 128)
        self.widen256 = double_convolution(128, 256)
        # Unlike the first residual, the project ends this one without a ReLU.
        self.residual256 = nn.Sequential(
            convolution(256, 256, 3), nn.Conv2d(256, 256, 3, padding=1, bias=False), nn.BatchNorm2d(256)
        )
        self.head = _head()

    def forward(self, pictures: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) stacked pictures to (B, 3, H, W) raw scores."""
        x = self.widen128(pictures)
        x = self.widen256(x + self.residual128(x))
        return self.head(x + self.residual256(x))  # type: ignore[no-any-return]


def _factored(in_channels: int, middle_channels: int, out_channels: int, groups: int) -> nn.Sequential:
    """Build a 3x3 and a 1x1 convolution, with one batch normalisation and one ReLU after both."""
    return nn.Sequential(
        nn.Conv2d(in_channels, middle_channels, 3, padding=1, groups=groups, bias=False),
        nn.Conv2d(middle_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _head() -> nn.Conv2d:
    return nn.Conv2d(256, 3, 3, padding=1, bias=False)


def _mean_channel(scores: Tensor) -> Tensor:
    return scores.mean(dim=1, keepdim=True)
