"""The additive attention gate of Attention U-Net, for any number of image axes."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from umamba.layers.conv_blocks import LINEAR, ConvStyle

__all__ = ["AttentionGate"]


class AttentionGate(nn.Module):
    """Compute how much of a skip passes at every voxel, from a coarser feature map.

    `alpha = up(sigmoid(psi(relu(theta(x) + phi(g)))))`: `theta` brings the skip `x` to the grid of
    the gating signal `g`, linear interpolation brings the coefficients back (grid attention).

    Args:
        style: Decides the number of axes.
        channels: Channels of the skip, and of the sum.
        gating_channels: Channels of the gating signal.
        stride: By how much the gating signal's grid is coarser, per axis; kernel and stride of
            `theta`.

    Source:
        Oktay et al. 2018, arXiv:1804.03999, equations 1 and 2 and figure 2. The kernel of `theta`
        is its stride, as in the authors' code, so that it sees every voxel. Their code follows the
        gated skip by a convolution and a norm, which the paper does not have, nor is it here.
    """

    def __init__(
        self, style: ConvStyle, channels: int, gating_channels: int, stride: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.theta = style.conv_op(channels, channels, stride, stride, bias=False)
        self.phi = style.pointwise(gating_channels, channels)
        self.psi = style.pointwise(channels, 1)

    def forward(
        self, x: Float[Tensor, "batch _ *_"], g: Float[Tensor, "batch _ *_"]
    ) -> Float[Tensor, "batch 1 *_"]:
        """Return the coefficients, from 0 to 1, on the grid of `x`."""
        coarse = torch.sigmoid(self.psi(F.relu(self.theta(x) + self.phi(g))))
        size = x.shape[2:]
        if coarse.shape[2:] == size:
            return coarse
        return F.interpolate(coarse, size=size, mode=LINEAR[len(size)], align_corners=False)
