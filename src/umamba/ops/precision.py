"""The type in which to compute, whatever autocast says."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

__all__ = ["compute_dtype", "full_precision", "product_dtype"]


def compute_dtype(u: Tensor, A: Tensor) -> torch.dtype:
    """Return the type of the recurrence: float32, or float64 where an argument is."""
    return torch.promote_types(torch.promote_types(u.dtype, A.dtype), torch.float32)


def full_precision(device_type: str) -> AbstractContextManager[object]:
    """Switch autocast off, where it is on.

    Args:
        device_type: Type of the device that computes.
    """
    # The meta device, on which networks are measured, knows no autocast.
    # In an exported network, switching off what is off would be a graph of its own.
    if device_type == "meta" or not torch.is_autocast_enabled(device_type):
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


def product_dtype(device_type: str) -> torch.dtype | None:
    """Return the type of matrix products around a float32 recurrence, or `None` for its own.

    Under bfloat16 autocast that is bfloat16. Under float16 it is float32: outputs of the scan, and
    gradients of its inputs, leave the range of float16. torch.compile traces the backward under
    the autocast around the forward, whatever was switched off within; it gets that type.

    Args:
        device_type: Type of the device that computes.
    """
    if device_type == "meta" or not torch.is_autocast_enabled(device_type):
        return None
    dtype = torch.get_autocast_dtype(device_type)
    return dtype if dtype == torch.bfloat16 or torch.compiler.is_compiling() else None
