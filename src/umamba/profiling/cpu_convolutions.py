"""The memory that convolutions on a CPU need besides what they take and return.

oneDNN reorders feature maps to blocks of channels and back, so that there are two of each for a
while. Small maps, and single voxels on one thread, are unfolded by torch itself instead: the
inputs of every filter position become columns of a matrix.

Source:
    The allocations of torch 2.14's profiler, and `ConvParams::use_mkldnn` in its
    aten/src/ATen/native/Convolution.cpp.
"""

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["convolution_workspace"]

_BLOCK = 16  # channels, with AVX-512; fewer elsewhere
_LARGEST_UNFOLDED = 20480  # numbers along the first four axes


def convolution_workspace(function: Any, args: tuple[Any, ...], made: Any) -> int:
    """Return the bytes that an operation has at its peak besides its arguments and results.

    Args:
        function: The operation; others than float32 convolutions and their gradients need none.
        args: Its arguments.
        made: Its results.
    """
    if function is torch.ops.aten.convolution.default:
        return _of_forward(args[0], args[1], made, *args[3:])
    if function is torch.ops.aten.convolution_backward.default:
        return _of_backward(*args[:3], *args[4:])
    return 0


def _of_forward(
    x: Tensor,
    weight: Tensor,
    y: Tensor,
    stride: list[int],
    _padding: list[int],
    _dilation: list[int],
    transposed: bool,  # noqa: FBT001 - torch's order
    _output_padding: list[int],
    groups: int,
) -> int:
    if transposed:
        return _reordered(y) + weight.nbytes
    if groups > 1:
        return 2 * _reordered(x)
    if _is_unfolded(x, weight, stride):
        return 0 if _is_pointwise(weight) else _columns(y, weight)
    # The result in torch's own order is made when the inputs have been given back.
    return max(_reordered(x) + weight.nbytes + _reordered(y) - y.nbytes, _reordered(y))


def _of_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: list[int],
    _padding: list[int],
    _dilation: list[int],
    transposed: bool,  # noqa: FBT001 - torch's order
    _output_padding: list[int],
    groups: int,
    _mask: list[bool],
) -> int:
    if transposed or groups > 1:
        return _reordered(grad)
    if _is_unfolded(x, weight, stride):
        return _columns(grad, weight)
    # The gradient of the weight comes last, in the place of its reordered self.
    of_weight = _reordered(x) + _reordered(grad)
    of_input = 0 if max(stride) == 1 else 2 * _reordered(x) - weight.nbytes
    return max(of_weight, of_input)


def _is_unfolded(x: Tensor, weight: Tensor, stride: list[int]) -> bool:
    if _is_pointwise(weight) and max(stride) == 1:
        return x.shape[0] < 16 and torch.get_num_threads() == 1
    small = x.shape[0] == 1 and math.prod(x.shape[:4]) <= _LARGEST_UNFOLDED
    return small and min(weight.shape[-2:]) <= 3


def _is_pointwise(weight: Tensor) -> bool:
    return math.prod(weight.shape[2:]) == 1


def _columns(y: Tensor, weight: Tensor) -> int:
    return y[:, 0].numel() * weight[0].numel() * y.element_size()


def _reordered(x: Tensor) -> int:
    """Return the bytes of a feature map in blocks of channels."""
    channels = x.shape[1]
    return x.nbytes * _BLOCK * math.ceil(channels / _BLOCK) // channels
