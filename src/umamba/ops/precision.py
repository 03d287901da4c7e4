"""The type in which to compute, whatever autocast says."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

__all__ = ["compute_dtype", "full_precision"]


def compute_dtype(u: Tensor, A: Tensor) -> torch.dtype:
    """Return the type of the recurrence: float32, or float64 where an argument is."""
    return torch.promote_types(torch.promote_types(u.dtype, A.dtype), torch.float32)


def full_precision(device_type: str) -> AbstractContextManager[object]:
    """Switch autocast off.

    Args:
        device_type: Type of the device that computes.
    """
    # The meta device, on which networks are measured, knows no autocast.
    return nullcontext() if device_type == "meta" else torch.autocast(device_type, enabled=False)
