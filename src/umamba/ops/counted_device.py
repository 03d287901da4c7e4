"""The device that the meta device stands for while the costs of a network are counted."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

__all__ = ["device_type_of", "meta_stands_for"]

_state = threading.local()


def device_type_of(x: Tensor) -> str:
    """Return the type of a tensor's device; of the meta device, what it stands for."""
    own = x.device.type
    return getattr(_state, "stands_for", own) if own == "meta" else own


@contextmanager
def meta_stands_for(device: str) -> Iterator[None]:
    """Have layers on the meta device keep and cut what they would on a device.

    Args:
        device: Its type, as `torch.device.type`.
    """
    outer = getattr(_state, "stands_for", "meta")
    _state.stands_for = device
    try:
        yield
    finally:
        _state.stands_for = outer
