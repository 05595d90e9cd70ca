"""sajnanshetty: the two-tower U-Net of that student project, parameter for parameter, to compare with its results."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SajnanshettyUNet(nn.Module):
    """One shared block, then a whole U-Net each for mask and depth.

    8,631,810 parameters with six input channels, 15,522,562 with transposed convolutions.

    The project's code calls its first tower depth and its second mask, and trains the first with the masks and the
    second with the depth maps. The names here follow the training.

    Args:
        in_channels: Channels of the stacked pictures; the project stacks background, then composite.
        bilinear: Enlarge bilinearly, as the project trained, and not by transposed convolutions.
    """

    def __init__(self, in_channels: int, bilinear: bool = True) -> None:
        super().__init__()
        self.stem = _double_convolution(in_channels, 32, 32)
        self.mask_tower = _Tower(bilinear)
        self.depth_tower = _Tower(bilinear)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Predict from the stacked, normalised pictures.

        Args:
            pictures: (B, in_channels, H, W) normalised; H and W at least 16.

        Returns:
            (B, 1, H, W) raw mask scores and (B, 1, H, W) raw depth scores.
        """
        x = self.stem(pictures)
        return self.mask_tower(x), self.depth_tower(x)


class _Tower(nn.Module):
    def __init__(self, bilinear: bool) -> None:
        super().__init__()
        deepest = 256 if bilinear else 512
        down = ((32, 64, 64), (64, 128, 128), (128, 256, 256), (256, deepest, deepest))
        if bilinear:
            up = ((512, 256, 128), (256, 128, 64), (128, 64, 32), (64, 32, 32))
            self.enlarge = nn.ModuleList(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True) for _ in up)
        else:
            up = ((512, 256, 256), (256, 128, 128), (128, 64, 64), (64, 32, 32))
            self.enlarge = nn.ModuleList(nn.ConvTranspose2d(width, width // 2, 2, stride=2) for width, *_ in up)
        self.down = nn.ModuleList(_double_convolution(*widths) for widths in down)
        self.up = nn.ModuleList(_double_convolution(*widths) for widths in up)
        self.head = nn.Conv2d(32, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 32, H, W) features of the shared block to (B, 1, H, W) raw scores."""
        scales = [x]
        for block in self.down:
            scales.append(block(F.max_pool2d(scales[-1], 2)))
        x = scales.pop()
        for enlarge, block in zip(self.enlarge, self.up, strict=True):
            skip = scales.pop()
            x = block(torch.cat([skip, _pad(enlarge(x), like=skip)], dim=1))
        return self.head(x)  # type: ignore[no-any-return]


def _double_convolution(in_channels: int, middle_channels: int, out_channels: int) -> nn.Sequential:
    # The biases before the normalisations do nothing; the project has them and counts them.
    return nn.Sequential(
        nn.Conv2d(in_channels, middle_channels, 3, padding=1),
        nn.BatchNorm2d(middle_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(middle_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _pad(x: Tensor, like: Tensor) -> Tensor:
    """Pad (B, C, h, w) with zeros to the size of `like`: halving an odd side and doubling it loses a pixel."""
    rows, columns = like.shape[-2] - x.shape[-2], like.shape[-1] - x.shape[-1]
    return F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
