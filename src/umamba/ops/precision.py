"""Full precision where autocast would take it away."""

from contextlib import AbstractContextManager, nullcontext

import torch

__all__ = ["full_precision"]


def full_precision(device_type: str) -> AbstractContextManager[object]:
    """Switch autocast off.

    Args:
        device_type: Type of the device that computes.
    """
    # The meta device, on which networks are measured, knows no autocast.
    return nullcontext() if device_type == "meta" else torch.autocast(device_type, enabled=False)
