"""Convolutional blocks for any number of image axes, configured by a `ConvStyle`."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from umamba.layers.recomputation import derive

__all__ = [
    "INSTANCE_NORM",
    "LINEAR",
    "TRANSPOSED",
    "ConvNormAct",
    "ConvStyle",
    "IdentityResidualBlock",
    "ResidualBlock",
    "concatenate",
    "norm_act",
    "plain_stage",
    "residual_stage",
]

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}  # interpolation by number of axes
INSTANCE_NORM: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: nn.InstanceNorm1d,
    nn.Conv2d: nn.InstanceNorm2d,
    nn.Conv3d: nn.InstanceNorm3d,
}
_THIN = 8  # times more channels than its input make a convolution cheap
TRANSPOSED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: nn.ConvTranspose1d,
    nn.Conv2d: nn.ConvTranspose2d,
    nn.Conv3d: nn.ConvTranspose3d,
}


@dataclass(frozen=True)
class ConvStyle:
    """The parts of every convolution in a plan: operator, bias, norm, dropout, nonlinearity.

    `norm_op=None` means the affine instance normalisation of `conv_op`'s dimension, `nonlin=None`
    a leaky ReLU: the choices of nnU-Net and of U-Mamba.
    """

    conv_op: type[nn.Module]
    conv_bias: bool = True
    norm_op: type[nn.Module] | None = None
    norm_op_kwargs: dict[str, Any] = field(default_factory=dict)
    dropout_op: type[nn.Module] | None = None
    dropout_op_kwargs: dict[str, Any] = field(default_factory=dict)
    nonlin: type[nn.Module] | None = None
    nonlin_kwargs: dict[str, Any] = field(default_factory=dict)

    def conv(
        self,
        input_channels: int,
        output_channels: int,
        kernel_size: tuple[int, ...],
        stride: tuple[int, ...] | int = 1,
        *,
        bias: bool | None = None,
    ) -> nn.Module:
        """Build a convolution that keeps the size where the stride is one."""
        return self.conv_op(
            input_channels,
            output_channels,
            kernel_size,
            stride,
            padding=tuple(k // 2 for k in kernel_size),
            bias=self.conv_bias if bias is None else bias,
        )

    def pointwise(
        self, input_channels: int, output_channels: int, stride: tuple[int, ...] | int = 1
    ) -> nn.Module:
        """Build a 1x1 convolution with bias."""
        return self.conv_op(input_channels, output_channels, 1, stride, bias=True)

    def upsampling(
        self, input_channels: int, output_channels: int, stride: tuple[int, ...]
    ) -> nn.Module:
        """Build a transposed convolution whose kernel is its stride."""
        op = TRANSPOSED[self.conv_op]
        return op(input_channels, output_channels, stride, stride, bias=self.conv_bias)

    def norm(self, channels: int) -> nn.Module:
        """Build a normalisation layer."""
        if self.norm_op is None:
            return INSTANCE_NORM[self.conv_op](channels, eps=1e-5, affine=True)
        return self.norm_op(channels, **self.norm_op_kwargs)

    def dropout(self) -> nn.Module | None:
        """Build a dropout layer, or nothing."""
        return None if self.dropout_op is None else self.dropout_op(**self.dropout_op_kwargs)

    def act(self) -> nn.Module:
        """Build a nonlinearity."""
        if self.nonlin is None:
            return nn.LeakyReLU(0.01, inplace=True)
        return self.nonlin(**self.nonlin_kwargs)


def concatenate(*maps: Float[Tensor, "batch _ *spatial"]) -> Float[Tensor, "batch _ *spatial"]:
    """Put the channels of feature maps of one size together."""
    return derive(_concatenate, *maps, shared=False)  # as it is large, and quickly made


def _concatenate(*maps: Tensor) -> Tensor:
    return torch.cat(maps, dim=1)


def convolve_thin(conv: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution; of few channels, such as an image's, the backward computes it again."""
    is_thin = x.shape[1] * _THIN <= next(conv.parameters()).shape[0]
    out: Tensor = derive(conv, x) if is_thin else conv(x)
    return out


def _add(normed: Tensor, other: Tensor, y: Tensor) -> Tensor:
    """Add to the result of a norm of `y`, in place where it is computed again."""
    if torch.is_grad_enabled() or normed is y or normed.dtype != other.dtype:
        return normed + other
    return normed.add_(other)


def norm_act(x: Tensor, norm: nn.Module, act: nn.Module | None) -> Tensor:
    """Apply norm and activation, which the backward can compute again; see `recomputing`."""
    if act is None:
        return derive(norm, x)
    if getattr(act, "inplace", False):
        return derive(lambda x: act(norm(x)), x)
    return derive(act, derive(norm, x))


class ConvNormAct(nn.Module):
    """Convolution, dropout, normalisation, nonlinearity.

    Args:
        style: What the convolution is made of.
        input_channels: Channels of the input.
        output_channels: Channels of the output.
        kernel_size: Size of the kernel per axis.
        stride: Stride per axis.
        act: Whether the nonlinearity is applied.
    """

    def __init__(
        self,
        style: ConvStyle,
        input_channels: int,
        output_channels: int,
        kernel_size: tuple[int, ...],
        stride: tuple[int, ...] | int = 1,
        *,
        act: bool = True,
    ) -> None:
        super().__init__()
        self.conv = style.conv(input_channels, output_channels, kernel_size, stride)
        self.dropout = style.dropout() if act else None
        self.norm = style.norm(output_channels)
        self.act = style.act() if act else None

    def forward(self, x: Float[Tensor, "batch _ *_"]) -> Float[Tensor, "batch _ *_"]:
        """Apply the layers in order."""
        x = convolve_thin(self.conv, x)
        if self.dropout is not None:
            x = self.dropout(x)
        return norm_act(x, self.norm, self.act)


class ResidualBlock(nn.Module):
    """Two convolutions in parallel with a strided 1x1 projection: `act(f(x) + conv3(x))`.

    The projection has a bias, no normalisation, and is used even where sizes agree, as in the
    authors' code.

    Args:
        style: What the convolutions are made of.
        input_channels: Channels of the input.
        output_channels: Channels of the output.
        kernel_size: Size of the kernels per axis.
        stride: Stride per axis of the first convolution and the projection.
        conv_bias: Whether the two convolutions have a bias; `None` leaves it to the style.

    Source:
        Ma et al. 2024, arXiv:2401.04722, figure 1b; He et al. 2016, arXiv:1512.03385.
    """

    def __init__(
        self,
        style: ConvStyle,
        input_channels: int,
        output_channels: int,
        kernel_size: tuple[int, ...],
        stride: tuple[int, ...] | int = 1,
        *,
        conv_bias: bool | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = style.conv(
            input_channels, output_channels, kernel_size, stride, bias=conv_bias
        )
        self.dropout = style.dropout()
        self.norm1 = style.norm(output_channels)
        self.act1 = style.act()
        self.conv2 = style.conv(output_channels, output_channels, kernel_size, bias=conv_bias)
        self.norm2 = style.norm(output_channels)
        self.conv3 = style.pointwise(input_channels, output_channels, stride)
        self.act2 = style.act()

    def forward(self, x: Float[Tensor, "batch _ *_"]) -> Float[Tensor, "batch _ *_"]:
        """Add the projected input to the convolved one."""
        y = convolve_thin(self.conv1, x)
        if self.dropout is not None:
            y = self.dropout(y)
        y = self.conv2(norm_act(y, self.norm1, self.act1))
        return derive(self._project_and_add, y, x)

    def _project_and_add(self, y: Tensor, x: Tensor) -> Tensor:
        """Finish the block; the projection, a 1x1 convolution, is cheap to compute again."""
        out: Tensor = self.act2(_add(self.norm2(y), self.conv3(x), y))
        return out


class IdentityResidualBlock(nn.Module):
    """Two convolutions in parallel with the identity: `act(f(x) + x)`; sizes and channels stay.

    Args:
        style: What the convolutions are made of.
        channels: Channels of input and output.
        kernel_size: Size of the kernels per axis.

    Source:
        He et al. 2016, arXiv:1512.03385; as BasicBlockD of dynamic-network-architectures at
        stride one.
    """

    def __init__(self, style: ConvStyle, channels: int, kernel_size: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(style, channels, channels, kernel_size)
        self.conv2 = ConvNormAct(style, channels, channels, kernel_size, act=False)
        self.act2 = style.act()

    def forward(self, x: Float[Tensor, "batch _ *_"]) -> Float[Tensor, "batch _ *_"]:
        """Add the input to the convolved one."""
        y = self.conv2.conv(self.conv1(x))
        return derive(self._add, y, x)

    def _add(self, y: Tensor, x: Tensor) -> Tensor:
        out: Tensor = self.act2(_add(self.conv2.norm(y), x, y))
        return out


def residual_stage(
    style: ConvStyle,
    n_blocks: int,
    input_channels: int,
    output_channels: int,
    kernel_size: tuple[int, ...],
    stride: tuple[int, ...] | int = 1,
    *,
    conv_bias: bool | None = None,
) -> nn.Sequential:
    """Build a projecting residual block and `n_blocks - 1` identity ones.

    Args:
        style: What the convolutions are made of.
        n_blocks: How many blocks.
        input_channels: Channels of the input.
        output_channels: Channels of the output.
        kernel_size: Size of the kernels per axis.
        stride: Stride of the first block.
        conv_bias: As in `ResidualBlock`.

    Returns:
        The blocks in order.
    """
    first = ResidualBlock(
        style, input_channels, output_channels, kernel_size, stride, conv_bias=conv_bias
    )
    rest = [IdentityResidualBlock(style, output_channels, kernel_size) for _ in range(n_blocks - 1)]
    return nn.Sequential(first, *rest)


def plain_stage(
    style: ConvStyle,
    n_blocks: int,
    input_channels: int,
    output_channels: int,
    kernel_size: tuple[int, ...],
    stride: tuple[int, ...] | int = 1,
) -> nn.Sequential:
    """Build a stack of convolutions, as nnU-Net's plain U-Net has it.

    Args:
        style: What the convolutions are made of.
        n_blocks: How many convolutions.
        input_channels: Channels of the input.
        output_channels: Channels of the output.
        kernel_size: Size of the kernels per axis.
        stride: Stride of the first convolution.

    Returns:
        The convolutions in order.
    """
    first = ConvNormAct(style, input_channels, output_channels, kernel_size, stride)
    rest = [
        ConvNormAct(style, output_channels, output_channels, kernel_size)
        for _ in range(n_blocks - 1)
    ]
    return nn.Sequential(first, *rest)
