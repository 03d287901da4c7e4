"""The blocks of UNETR++, for any number of image axes; keys are those of the authors' code."""

from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn

from umamba.layers.conv_blocks import ConvStyle, norm_act
from umamba.layers.paired_attention import EfficientPairedAttention
from umamba.layers.recomputation import derive

__all__ = ["PairedAttentionBlock", "SlimResidualBlock", "wrapped"]

_CHANNEL_DROPOUT: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: nn.Dropout1d,
    nn.Conv2d: nn.Dropout2d,
    nn.Conv3d: nn.Dropout3d,
}


def wrapped(convolution: nn.Module) -> nn.Sequential:
    """Put a convolution one level deeper, under the name `conv`, where the authors' keys have it.

    Args:
        convolution: Any module.

    Returns:
        A module that does the same.
    """
    return nn.Sequential(OrderedDict(conv=convolution))


class SlimResidualBlock(nn.Module):
    """Two convolutions in parallel with the identity: `act(f(x) + x)`.

    Only where the number of channels changes, the input is projected, with a normalisation.

    Args:
        style: What the convolutions are made of.
        input_channels: Channels of the input.
        output_channels: Channels of the output.
        kernel_size: Size of the kernels per axis.

    Source:
        He et al. 2016, arXiv:1512.03385; as UnetResBlock of MONAI, which the authors use.
    """

    def __init__(
        self,
        style: ConvStyle,
        input_channels: int,
        output_channels: int,
        kernel_size: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.conv1 = wrapped(style.conv(input_channels, output_channels, kernel_size))
        self.dropout = style.dropout()
        self.norm1 = style.norm(output_channels)
        self.act = style.act()
        self.conv2 = wrapped(style.conv(output_channels, output_channels, kernel_size))
        self.norm2 = style.norm(output_channels)
        self.conv3: nn.Module | None = None
        self.norm3: nn.Module | None = None
        if input_channels != output_channels:
            one = (1,) * len(kernel_size)
            self.conv3 = wrapped(style.conv(input_channels, output_channels, one))
            self.norm3 = style.norm(output_channels)

    def forward(self, x: Float[Tensor, "batch _ *_"]) -> Float[Tensor, "batch _ *_"]:
        """Add the input to the convolved one."""
        y = self.conv1(x)
        if self.dropout is not None:
            y = self.dropout(y)
        y = self.conv2(norm_act(y, self.norm1, self.act))
        return derive(self._add, y, x if self.conv3 is None else self.conv3(x))

    def _add(self, y: Tensor, x: Tensor) -> Tensor:
        added: Tensor = self.norm2(y) + (x if self.norm3 is None else self.norm3(x))
        out: Tensor = self.act(added)
        return out


class PairedAttentionBlock(nn.Module):
    """Efficient paired attention, then convolutions, each added to its own input.

        x <- x + pos_embed
        x <- x + gamma * EPA(LayerNorm(x))
        x <- x + Conv1x1(Dropout(SlimResidualBlock(x)))

    Args:
        style: What the convolutions are made of.
        channels: Channels of input and output.
        n_tokens: Voxels of the feature map; the weights fit that number only.
        kernel_size: Size of the kernels per axis.
        projection_size: As in `EfficientPairedAttention`.
        num_heads: As in `EfficientPairedAttention`.
        attention_dropout: Dropout rate of the attention maps.
        channel_dropout: Rate at which whole channels of the convolved map are dropped.
        scrambles_tokens: As in `EfficientPairedAttention`.

    Source:
        Shaker et al. 2024, arXiv:2212.04497, figure 2; position embedding, scale and residual
        connections as in the authors' code.
    """

    def __init__(
        self,
        style: ConvStyle,
        channels: int,
        n_tokens: int,
        kernel_size: tuple[int, ...],
        *,
        projection_size: int,
        num_heads: int,
        attention_dropout: float,
        channel_dropout: float,
        scrambles_tokens: bool,
    ) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), 1e-6))
        self.pos_embed = nn.Parameter(torch.zeros(1, n_tokens, channels))
        self.norm = nn.LayerNorm(channels)
        self.epa_block = EfficientPairedAttention(
            channels,
            n_tokens,
            projection_size=projection_size,
            num_heads=num_heads,
            dropout=attention_dropout,
            scrambles_tokens=scrambles_tokens,
        )
        self.conv51 = SlimResidualBlock(style, channels, channels, kernel_size)
        dropout = _CHANNEL_DROPOUT[style.conv_op](channel_dropout)
        self.conv8 = nn.Sequential(dropout, style.pointwise(channels, channels))

    def forward(
        self, x: Float[Tensor, "batch channels *spatial"]
    ) -> Float[Tensor, "batch channels *spatial"]:
        """Flatten row-major, attend, restore, convolve."""
        tokens = x.flatten(start_dim=2).transpose(1, 2) + self.pos_embed
        tokens = tokens + self.gamma * self.epa_block(self.norm(tokens))
        # Transposed tokens look like channels-last maps to the next convolution; see MixerLayer.
        attended = tokens.transpose(1, 2).reshape(x.shape).contiguous()
        out: Tensor = attended + self.conv8(self.conv51(attended))
        return out
