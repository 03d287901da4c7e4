"""CUDA's autocast on the meta device, which has none: what is in which precision, to be counted."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

__all__ = ["MixedPrecision", "in_mixed_precision"]

_HALVED = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_IN_HALF = {
    F.linear,
    F.bilinear,
    F.conv1d,
    F.conv2d,
    F.conv3d,
    F.conv_transpose1d,
    F.conv_transpose2d,
    F.conv_transpose3d,
    F.scaled_dot_product_attention,
    torch.baddbmm,
    torch.bmm,
    torch.einsum,
    torch.matmul,
    torch.mm,
    Tensor.__matmul__,
    Tensor.bmm,
    Tensor.matmul,
    Tensor.mm,
}
_IN_FLOAT32 = {
    F.group_norm,
    F.layer_norm,
    F.log_softmax,
    F.normalize,
    F.softmax,
    F.softplus,
    torch.cumsum,
    torch.exp,
    torch.log_softmax,
    torch.softmax,
    torch.sum,
    Tensor.cumsum,
    Tensor.exp,
    Tensor.log_softmax,
    Tensor.norm,
    Tensor.pow,
    Tensor.softmax,
    Tensor.sum,
}


class MixedPrecision(TorchFunctionMode):
    """Run a network of `in_mixed_precision` in the types that CUDA's autocast gives.

    Products with a factor in half precision are in half precision, and norms, softmax, exponentials
    and sums in float32; all else follows its inputs.

    Source:
        The lists of operations in torch's documentation of `torch.amp`.
    """

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = (args, kwargs or {})
        if function in _IN_FLOAT32:
            given = _cast(given, torch.half, torch.float32)
        elif function in _IN_HALF and any(_is_half(leaf) for leaf in tree_leaves(given)):
            given = _cast(given, torch.float32, torch.half)
        args, kwargs = given
        return function(*args, **kwargs)


def _is_half(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.dtype == torch.half


def _cast(given: Any, source: torch.dtype, target: torch.dtype) -> Any:
    return tree_map_only(Tensor, lambda x: x.to(target) if x.dtype == source else x, given)


def in_mixed_precision(network: nn.Module) -> tuple[nn.Module, int]:
    """Return a copy whose weights are in the types in which autocast uses them.

    Args:
        network: A network on the meta device. Not changed.

    Returns:
        The copy, to be run within `MixedPrecision`, and how many of its weights are in half
        precision: those of convolutions and linear layers, but for modules that leave autocast.
    """
    copied = copy.deepcopy(network)
    halved = {module for module in _under_autocast(copied) if isinstance(module, _HALVED)}
    weights = {weight for module in halved for weight in module.parameters()}
    for module in halved:
        module.half()
    return copied, sum(weight.numel() for weight in weights)


def _under_autocast(module: nn.Module) -> Iterator[nn.Module]:
    if getattr(module, "leaves_autocast", False):
        return
    yield module
    for child in module.children():
        yield from _under_autocast(child)
