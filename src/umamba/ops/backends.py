"""The backends of the selective scan: which one runs where, and why a faster one does not."""

import os
import warnings
from functools import cache

import torch

from umamba.errors import BackendError, unknown_name
from umamba.ops import cpu, portable, reference, triton
from umamba.ops.scan_backend import ScanBackend

__all__ = ["BACKENDS", "VARIABLE", "check_backend", "fastest", "find_backend", "resolve_backend"]

VARIABLE = "UMAMBA_SCAN_BACKEND"
# A backend of your own is a module with such a `BACKEND`, and one more name here and above.
_MODULES = (triton, cpu, portable, reference)
_EXACT, _PORTABLE = reference.BACKEND.name, portable.BACKEND.name
_SORTED = sorted((module.BACKEND for module in _MODULES), key=lambda backend: -backend.priority)
# By name, those of the highest priority first.
BACKENDS: dict[str, ScanBackend] = {backend.name: backend for backend in _SORTED}


def find_backend(name: str) -> ScanBackend:
    """Return the backend of a name that `resolve_backend` returned."""
    return BACKENDS[name]


def fastest(device_type: str) -> ScanBackend:
    """Return the backend that `auto` prefers, whether it can run or not.

    Args:
        device_type: As `torch.device.type`.
    """
    for backend in BACKENDS.values():
        if device_type in backend.devices:
            return backend
    return portable.BACKEND


def check_backend(backend: str | None = None) -> str:
    """Return the requested backend: the argument, else the environment variable, or `auto`.

    Raises:
        BackendError: If the name is unknown.
    """
    name = backend or os.environ.get(VARIABLE) or "auto"
    if name != "auto" and name not in BACKENDS:
        source = "backend" if backend else VARIABLE
        raise BackendError(unknown_name(source, name, ["auto", *BACKENDS]))
    return name


def resolve_backend(backend: str | None, device_type: str) -> str:
    """Return the backend that runs; if the requested one cannot, warn once.

    Inside the transforms of torch.func (grad, vmap, jvp, ...) it is `reference`: step by step, but
    every derivative is right.

    Args:
        backend: Name of a backend, or `auto`; `None` takes the environment variable
            `UMAMBA_SCAN_BACKEND`.
        device_type: As `torch.device.type`.

    Returns:
        The name of a backend.

    Raises:
        BackendError: If the name is unknown.
    """
    asked = check_backend(backend)
    if torch._C._are_functorch_transforms_active():
        return _EXACT  # plain operations, which torch.func can transform
    if device_type == "meta":
        return _PORTABLE  # nothing is computed there; what is saved is the portable backend's
    wanted = fastest(device_type) if asked == "auto" else BACKENDS[asked]
    reason = wanted.why_not(device_type)
    if reason is None:
        return wanted.name
    _warn_once(wanted.name, reason)
    return _PORTABLE


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
