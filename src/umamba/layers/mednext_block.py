"""MedNeXt's block, a depthwise convolution and a wide pointwise layer, and its resampling forms."""

from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from umamba.layers.conv_blocks import TRANSPOSED
from umamba.layers.recomputation import derive

__all__ = ["MedNeXtBlock", "MedNeXtDownBlock", "MedNeXtUpBlock"]


class _DepthwiseAndPointwise(nn.Module):
    """Depthwise convolution, norm with a group per channel, widening, GELU, narrowing.

    The layers have the authors' names.

    Args:
        conv_op: Convolution of the right number of axes.
        depthwise: The depthwise convolution; `conv_op`, or its transpose.
        channels: Channels of the input.
        output_channels: Channels of the output.
        expansion: Ratio of the channels in between to those of the input.
        kernel_size: Size of the depthwise kernel per axis; odd.
        stride: Stride of the depthwise convolution per axis.
    """

    def __init__(
        self,
        conv_op: type[nn.Module],
        depthwise: type[nn.Module],
        channels: int,
        output_channels: int,
        expansion: int,
        kernel_size: tuple[int, ...],
        stride: tuple[int, ...] | int = 1,
    ) -> None:
        super().__init__()
        padding = tuple(size // 2 for size in kernel_size)
        self.conv1 = depthwise(channels, channels, kernel_size, stride, padding, groups=channels)
        self.norm = nn.GroupNorm(channels, channels)
        self.conv2 = conv_op(channels, expansion * channels, 1)
        self.conv3 = conv_op(expansion * channels, output_channels, 1)

    def mix(self, x: Float[Tensor, "batch _ *_"]) -> Float[Tensor, "batch _ *_"]:
        """Apply the layers in order."""
        wide = self.conv2(self._normalise(self.conv1(x)))
        mixed: Tensor = self.conv3(derive(F.gelu, wide))
        return mixed

    def _normalise(self, y: Tensor) -> Tensor:
        """Apply the norm, which CUDA's autocast has in float32, between convolutions in half.

        The casts are done here, so that the backward computes them again as well.
        """
        if y.dtype == self.norm.weight.dtype:
            return derive(self.norm, y)
        full = derive(partial(Tensor.to, dtype=self.norm.weight.dtype), y)
        return derive(partial(Tensor.to, dtype=y.dtype), derive(self.norm, full))


class MedNeXtBlock(_DepthwiseAndPointwise):
    """A block that keeps size and channels: its layers in parallel with the identity.

    Args:
        conv_op: Convolution of the right number of axes.
        channels: Channels of input and output.
        expansion: Ratio of the channels in between to those.
        kernel_size: Size of the depthwise kernel per axis; odd.

    Source:
        Roy et al. 2023, arXiv:2303.09975, section 2.1.
    """

    def __init__(
        self,
        conv_op: type[nn.Module],
        channels: int,
        expansion: int,
        kernel_size: tuple[int, ...],
    ) -> None:
        super().__init__(conv_op, conv_op, channels, channels, expansion, kernel_size)

    def forward(self, x: Float[Tensor, "batch _ *_"]) -> Float[Tensor, "batch _ *_"]:
        """Add the mixed input to the input."""
        return derive(torch.add, x, self.mix(x))


class MedNeXtDownBlock(_DepthwiseAndPointwise):
    """A block whose depthwise convolution has a stride, in parallel with a strided projection.

    Args:
        conv_op: Convolution of the right number of axes.
        channels: Channels of the input.
        output_channels: Channels of the output.
        expansion: Ratio of the channels in between to those of the input.
        kernel_size: Size of the depthwise kernel per axis; odd.
        stride: Stride per axis.

    Source:
        Roy et al. 2023, arXiv:2303.09975, section 2.2.
    """

    def __init__(
        self,
        conv_op: type[nn.Module],
        channels: int,
        output_channels: int,
        expansion: int,
        kernel_size: tuple[int, ...],
        stride: tuple[int, ...],
    ) -> None:
        super().__init__(
            conv_op, conv_op, channels, output_channels, expansion, kernel_size, stride
        )
        self.res_conv = conv_op(channels, output_channels, 1, stride)

    def forward(self, x: Float[Tensor, "batch _ *_"]) -> Float[Tensor, "batch _ *_"]:
        """Return the downsampled map."""
        downsampled: Tensor = self.mix(x) + self.res_conv(x)
        return downsampled


class MedNeXtUpBlock(_DepthwiseAndPointwise):
    """A block whose depthwise convolution is transposed, in parallel with a transposed projection.

    Both lack the stride minus one voxels along every axis; the sum is filled up with zeros at the
    start of the axes, as the authors' is for strides of two.

    Args:
        conv_op: Convolution of the right number of axes.
        channels: Channels of the input.
        output_channels: Channels of the output.
        expansion: Ratio of the channels in between to those of the input.
        kernel_size: Size of the depthwise kernel per axis; odd.
        stride: Factor of the upsampling per axis.

    Source:
        Roy et al. 2023, arXiv:2303.09975, section 2.2; the zeros after MIC-DKFZ/MedNeXt.
    """

    def __init__(
        self,
        conv_op: type[nn.Module],
        channels: int,
        output_channels: int,
        expansion: int,
        kernel_size: tuple[int, ...],
        stride: tuple[int, ...],
    ) -> None:
        transposed = TRANSPOSED[conv_op]
        super().__init__(
            conv_op, transposed, channels, output_channels, expansion, kernel_size, stride
        )
        self.res_conv = transposed(channels, output_channels, 1, stride)
        self.missing = [n for step in reversed(stride) for n in (step - 1, 0)]  # last axis first

    def forward(self, x: Float[Tensor, "batch _ *_"]) -> Float[Tensor, "batch _ *_"]:
        """Return the upsampled map."""
        return F.pad(self.mix(x) + self.res_conv(x), self.missing)
