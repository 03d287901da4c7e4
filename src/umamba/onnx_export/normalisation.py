"""Normalisation of large feature maps in ONNX operators, with sums as exact as float32 allows.

Engines sum all voxels of a channel for `InstanceNormalization` one after another, in float32. Of
2 million, as in a patch of 64 x 192 x 160, OpenVINO (2026.4) gets outputs wrong by 7e-4 of the
largest, and ONNX Runtime by 3e-5. Here means are taken along one axis after another: 6e-7 and 5e-7.
OpenVINO needs about as long with it for nnU-Net's large U-Net, perhaps a quarter longer for a large
U-Mamba, and up to three times as long for tiny networks, so that small patches keep the engines'
own operator.

Source: Higham 1993, "The accuracy of floating point summation", section 2, of sums in parts.
"""

from typing import Any

from onnxscript import opset18 as op

from umamba.onnx_export.segments import integers

__all__ = ["translate_group_norm", "translate_instance_norm"]


def translate_instance_norm(
    x: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    use_input_stats: bool,  # noqa: FBT001 - the operator's signature
    momentum: float,  # noqa: ARG001 - for training alone
    eps: float,
    cudnn_enabled: bool,  # noqa: ARG001, FBT001 - wherever it runs, it computes the same
) -> Any:
    """Translate a call of `aten::instance_norm`, for torch's exporter."""
    if not use_input_stats:
        axes = integers(0, *range(2, len(x.shape)))
        mean, variance = (op.Unsqueeze(kept, axes) for kept in (running_mean, running_var))
        return _scaled(x, mean, variance, weight, bias, eps)
    return translate_group_norm(x, x.shape[1], weight, bias, eps)


def translate_group_norm(
    x: Any,
    num_groups: int,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,  # noqa: ARG001, FBT001, FBT002 - as above
) -> Any:
    """Translate a call of `aten::group_norm`, for torch's exporter."""
    groups, channels, n_axes = int(num_groups), int(x.shape[1]), len(x.shape) - 2
    mean = _mean(x, groups, channels, n_axes)
    distance = op.Sub(x, mean)
    variance = _mean(op.Mul(distance, distance), groups, channels, n_axes)
    return _scaled(x, mean, variance, weight, bias, eps)


def _mean(x: Any, groups: int, channels: int, n_axes: int) -> Any:
    """Return the mean of each group of channels as `(batch, channels, 1, ...)`."""
    # OpenVINO takes a mean of means for one, and puts its own operator back. Factors of two between
    # them prevent that, are exact, and unlike a change of shape keep its order of memory.
    two: Any = op.Constant(value_float=2.0)
    unscaled: Any = op.Constant(value_float=2.0 ** (1 - n_axes))
    mean = op.ReduceMean(x, integers(2), keepdims=1)
    for axis in range(3, n_axes + 2):
        mean = op.ReduceMean(op.Mul(mean, two), integers(axis), keepdims=1)
    mean = op.Mul(mean, unscaled)
    if groups == channels:
        return mean
    in_groups = op.Reshape(mean, integers(0, groups, channels // groups))
    of_groups = op.ReduceMean(in_groups, integers(2), keepdims=1)
    of_channels = op.Expand(of_groups, integers(1, 1, channels // groups))
    return op.Reshape(of_channels, integers(0, channels, *[1] * n_axes))


def _scaled(x: Any, mean: Any, variance: Any, weight: Any, bias: Any, eps: float) -> Any:
    """Return `(x - mean) / sqrt(variance + eps) * weight + bias`."""
    axes = integers(*range(1, len(x.shape) - 1))
    epsilon: Any = op.Constant(value_float=eps)
    scale = op.Reciprocal(op.Sqrt(op.Add(variance, epsilon)))
    if weight is not None:
        scale = op.Mul(scale, op.Unsqueeze(weight, axes))
    shift = op.Neg(op.Mul(mean, scale))
    if bias is not None:
        shift = op.Add(shift, op.Unsqueeze(bias, axes))
    return op.Add(op.Mul(x, scale), shift)
