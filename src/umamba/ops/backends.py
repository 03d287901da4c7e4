"""Which backend of the selective scan runs where, and why a faster one does not."""

import os
import warnings
from functools import cache

import torch

from umamba.errors import BackendError, unknown_name
from umamba.ops import cpu, triton

__all__ = ["BACKENDS", "check_backend", "resolve_backend", "why_not"]

BACKENDS = ("auto", "reference", "torch", "cpu", "triton")
_FASTEST = {"cpu": "cpu", "cuda": "triton"}  # elsewhere torch
_VARIABLE = "UMAMBA_SCAN_BACKEND"


def check_backend(backend: str | None = None) -> str:
    """Return the backend that is asked for: the argument, else the environment variable, or `auto`.

    Raises:
        BackendError: If there is no such backend.
    """
    name = backend or os.environ.get(_VARIABLE) or "auto"
    if name not in BACKENDS:
        source = "backend" if backend else _VARIABLE
        raise BackendError(unknown_name(source, name, BACKENDS))
    return name


def why_not(backend: str, device_type: str) -> str | None:
    """Return why a backend cannot run on a device, or `None` if it can.

    Args:
        backend: `reference`, `torch`, `cpu` or `triton`.
        device_type: As `torch.device.type`.
    """
    if backend == "triton":
        return triton.why_unavailable(device_type)
    if backend == "cpu":
        if device_type != "cpu":
            return f"it runs on the CPU, and the tensors are on {device_type}"
        return cpu.why_unavailable()
    return None


def resolve_backend(backend: str | None, device_type: str) -> str:
    """Return the backend that runs; where the one asked for cannot, say so once.

    Inside the transforms of torch.func (grad, vmap, jvp, ...) it is `reference`: step by step, but
    every derivative is right.

    Args:
        backend: One of `BACKENDS`; `None` takes the environment variable `UMAMBA_SCAN_BACKEND`.
        device_type: As `torch.device.type`.

    Returns:
        `reference`, `torch`, `cpu` or `triton`.

    Raises:
        BackendError: If there is no such backend.
    """
    asked = check_backend(backend)
    if torch._C._are_functorch_transforms_active():
        return "reference"  # plain operations, which torch.func can transform
    # On the meta device nothing is computed; what is saved there is the portable backend's.
    wanted = asked if asked != "auto" else _FASTEST.get(device_type, "torch")
    if device_type == "meta":
        return "torch"
    reason = why_not(wanted, device_type)
    if reason is None:
        return wanted
    _warn_once(wanted, reason)
    return "torch"


# For torch.compile the answer is a constant. torch.compiler.assume_constant_result says so, too,
# but imports torch._dynamo, which takes seconds.
resolve_backend._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache
def _warn_once(backend: str, reason: str) -> None:
    warnings.warn(
        f"the scan backend {backend!r} cannot run: {reason}. The portable torch backend, which is "
        "several times slower, takes over; `umamba doctor` shows which backend runs where.",
        RuntimeWarning,
        stacklevel=4,
    )
