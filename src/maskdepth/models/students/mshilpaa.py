"""mshilpaa: the residual U-Net with two decoders of that student project, parameter for parameter."""

import torch
from torch import Tensor, nn

# The decoder doubles exactly, so each of the four halvings must come out even.
_MULTIPLE = 16


class MshilpaaUNet(nn.Module):
    """One encoder of pre-activated residual blocks, a decoder each for mask and depth; 11,234,066 parameters.

    The count is for six input channels. No bias anywhere. The project stacks composite, then background, which only
    reorders the weights of the first layer.

    The project trains the raw depth scores with SSIM, which leaves them free to leave [0, 1]. Here they are scores, as
    in every network: depth is their sigmoid.

    Origin: https://github.com/mshilpaa/EVA4, folder Session 15. U-Net: Ronneberger et al. 2015,
    https://arxiv.org/abs/1505.04597; pre-activation: He et al. 2016, https://arxiv.org/abs/1603.05027, with a 1x1
    convolution in every shortcut.

    Args:
        in_channels: Channels of the stacked pictures.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(in_channels, 64), _Residual(64, 64))
        self.down = nn.ModuleList(_halve(*widths) for widths in ((64, 128), (128, 128), (128, 256), (256, 256)))
        self.mask_decoder = _Decoder()
        self.depth_decoder = _Decoder()

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Predict from the stacked, normalised pictures.

        Args:
            pictures: (B, in_channels, H, W) normalised; H and W multiples of 16.

        Returns:
            (B, 1, H, W) raw mask scores and (B, 1, H, W) raw depth scores.

        Raises:
            ValueError: H or W is not a multiple of 16.
        """
        _check_size(*pictures.shape[-2:])
        scales = [self.stem(pictures)]
        for down in self.down:
            scales.append(down(scales[-1]))  # 1, 1/2, 1/4, 1/8, 1/16 of the size
        return self.mask_decoder(scales), self.depth_decoder(scales)


class _Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = ((256, 256), (256, 128), (128, 128), (128, 64))
        self.up = nn.ModuleList(nn.ConvTranspose2d(*pair, 2, stride=2, bias=False) for pair in widths)
        self.join = nn.ModuleList(_Residual(2 * width, width) for _, width in widths)
        self.head = nn.Sequential(nn.BatchNorm2d(64), nn.ReLU(inplace=True), _convolution(64, 1), _convolution(1, 1))

    def forward(self, scales: list[Tensor]) -> Tensor:
        """Map the encoder's five scales, finest first, to (B, 1, H, W) raw scores."""
        *skips, x = scales
        for up, join, skip in zip(self.up, self.join, reversed(skips), strict=True):
            x = join(torch.cat([skip, up(x)], dim=1))
        return self.head(x)  # type: ignore[no-any-return]


class _Residual(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            _convolution(in_channels, out_channels),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            _convolution(out_channels, out_channels),
        )
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, h, w) features to (B, out_channels, h, w)."""
        return self.block(x) + self.shortcut(x)  # type: ignore[no-any-return]


def _halve(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(_convolution(in_channels, out_channels, stride=2), _Residual(out_channels, out_channels))


def _convolution(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)


def _check_size(height: int, width: int) -> None:
    if height % _MULTIPLE or width % _MULTIPLE:
        enough = "x".join(str(-(-side // _MULTIPLE) * _MULTIPLE) for side in (height, width))
        raise ValueError(
            f"mshilpaa: found pictures of {height}x{width} px (height x width); its four halvings need multiples of "
            f"{_MULTIPLE}: pad or resize to {enough}"
        )
