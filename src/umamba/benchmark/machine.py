"""The machine at hand, as a result has to name it: processor, threads, versions; no host name."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from umamba.ops.backends import resolve_backend

__all__ = ["describe_machine", "free_memory"]

_PACKAGES = ("umamba", "torch", "llvmlite")


def describe_machine(device: str) -> dict[str, Any]:
    """Return what a measurement depends on.

    Args:
        device: Type of the device, `cpu` or `cuda`.

    Returns:
        Device, its name, threads, versions, and the backend of the scan that runs there.
    """
    return {
        "device": device,
        "device_name": torch.cuda.get_device_name() if device == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "scan_backend": resolve_backend(None, device),
        "versions": {"python": platform.python_version()}
        | {package: _version(package) for package in _PACKAGES},
    }


def free_memory(device: str) -> int | None:
    """Return how many bytes can still be had, or `None` where that cannot be known.

    Args:
        device: Type of the device, `cpu` or `cuda`.
    """
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    available = _field("/proc/meminfo", "MemAvailable")
    if available is None:
        return None
    group = Path("/sys/fs/cgroup")
    try:  # a container's own limit, "max" where there is none
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        limit, used = 2**63, 0
    return min(int(available.split()[0]) * 1024, limit - used)


def _processor() -> str:
    """Name the processor as lscpu does."""
    name = _field("/proc/cpuinfo", "model name")
    return name or platform.processor() or platform.machine()


def _field(path: str, name: str) -> str | None:
    """Read the first `name: value` of one of the kernel's tables."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    fields = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in fields if key.strip() == name), None)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
