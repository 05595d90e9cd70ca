"""unet: a plain U-Net with one encoder, a mask decoder at the full size and a depth decoder at half of it."""

from torch import Tensor, nn

from maskdepth.models.blocks import Decoder, Encoder, double_convolution, resize


class UNet(nn.Module):
    """Double 3x3 convolutions throughout, narrow at the fine scales where they cost most; 1.3 M parameters.

    After Ronneberger et al. 2015, U-Net, https://arxiv.org/abs/1505.04597, with batch normalisation, padded
    convolutions and bilinear enlarging.

    Args:
        in_channels: Channels of the stacked pictures.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        widths = (16, 32, 64, 128, 160)
        self.encoder = Encoder(in_channels, widths, double_convolution)
        self.mask_decoder = Decoder(widths, (16, 24, 32, 64), double_convolution)
        self.depth_decoder = Decoder(widths, (32, 48, 64), double_convolution)
        self.mask_head = nn.Conv2d(16, 1, 1)
        self.depth_head = nn.Conv2d(32, 1, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Predict from the stacked, normalised pictures.

        Args:
            pictures: (B, in_channels, H, W) normalised; H and W at least 16.

        Returns:
            (B, 1, H, W) raw mask scores and (B, 1, H, W) raw depth scores.
        """
        scales = self.encoder(pictures)  # 1, 1/2, 1/4, 1/8, 1/16 of the size
        mask_logits = self.mask_head(self.mask_decoder(scales))
        depth_logits = self.depth_head(self.depth_decoder(scales))  # (B, 1, H/2, W/2)
        return mask_logits, resize(depth_logits, like=mask_logits)
