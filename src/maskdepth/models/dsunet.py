"""dsunet: a small U-Net of depthwise-separable blocks with one encoder, a mask decoder and a plain depth decoder."""

from torch import Tensor, nn

from maskdepth.models.blocks import Decoder, Encoder, SeparableBlock, convolution, double_convolution, resize


class DSUNet(nn.Module):
    """Shared separable encoder, separable mask decoder, plain depth decoder at half the size; 0.6 M parameters.

    Depth is smooth, so its decoder stops at half the size, which is cheaper and no worse; it is built of plain
    convolutions because separable ones lose depth SSIM. Skips as in Ronneberger et al. 2015, U-Net,
    https://arxiv.org/abs/1505.04597.

    Args:
        in_channels: Channels of the stacked pictures.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        widths = (24, 48, 96, 160, 224)
        self.stem = convolution(in_channels, widths[0], 3)
        self.encoder = Encoder(widths[0], widths, SeparableBlock)
        self.mask_decoder = Decoder(widths, (24, 32, 48, 96), SeparableBlock)
        self.depth_decoder = Decoder(widths, (32, 48, 64), double_convolution)
        self.mask_head = nn.Conv2d(24, 1, 1)
        self.depth_head = nn.Conv2d(32, 1, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Predict from the stacked, normalised pictures.

        Args:
            pictures: (B, in_channels, H, W) normalised; H and W at least 16.

        Returns:
            (B, 1, H, W) raw mask scores and (B, 1, H, W) raw depth scores.
        """
        scales = self.encoder(self.stem(pictures))  # 1, 1/2, 1/4, 1/8, 1/16 of the size
        mask_logits = self.mask_head(self.mask_decoder(scales))
        depth_logits = self.depth_head(self.depth_decoder(scales))  # (B, 1, H/2, W/2)
        return mask_logits, resize(depth_logits, like=mask_logits)
