"""Description of this machine for results: processor, threads and versions, but no host name."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from umamba.errors import UMambaError
from umamba.ops.backends import resolve_backend
from umamba.system.limits import available_memory
from umamba.system.versions import versions

__all__ = [
    "USABLE",
    "choose_device",
    "conditions",
    "describe_machine",
    "free_memory",
    "is_out_of_memory",
]

USABLE = 0.8  # share of the free memory that is measured with; others may need the rest
_PACKAGES = ("umamba", "torch", "llvmlite")
_UNKNOWN = "unknown, as it is not on this machine"


def choose_device(name: str | None) -> str:
    """Return the device to measure: the one requested, else CUDA if there is any, else the CPU.

    Args:
        name: `cpu`, `cuda` or `None`.

    Raises:
        UMambaError: If CUDA is requested but not available.
    """
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        msg = "--device cuda: torch finds no CUDA device here; use --device cpu"
        raise UMambaError(msg)
    return name or ("cuda" if has_cuda else "cpu")


def describe_machine(device: str) -> dict[str, Any]:
    """Return the conditions that a measurement depends on.

    Args:
        device: Type of the device, `cpu` or `cuda`.

    Returns:
        Device, its name, threads, versions, and the backend of the scan that runs there; what
        belongs to a GPU is unknown on a machine that has none.
    """
    return {
        "device": device,
        "device_name": _processor() if device != "cuda" else _gpu(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "scan_backend": resolve_backend(None, device) if _is_here(device) else _UNKNOWN,
        "versions": versions(_PACKAGES),
    }


def conditions(machine: Mapping[str, Any]) -> str:
    """Return the conditions of a measurement as one line.

    Args:
        machine: The result of `describe_machine`.
    """
    used = machine["versions"]
    threads = "" if machine["device"] == "cuda" else f", {machine['threads']} thread"
    threads += "s" if threads and machine["threads"] != 1 else ""
    return (
        f"{machine['device_name']} ({machine['device']}){threads}, {machine['system']}; "
        f"Python {used['python']}, torch {used['torch']}, "
        f"llvmlite {used['llvmlite']}, umamba {used['umamba']}, "
        f"scan backend {machine['scan_backend']}"
    )


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error means too little memory: CUDA's by class, the CPU's by its words."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def free_memory(device: str) -> int | None:
    """Return the number of bytes still available, or `None` if it cannot be known.

    Args:
        device: Type of the device, `cpu` or `cuda`.
    """
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    return available_memory()


def _is_here(device: str) -> bool:
    return device != "cuda" or torch.cuda.is_available()


def _gpu() -> str:
    return torch.cuda.get_device_name() if _is_here("cuda") else _UNKNOWN


def _processor() -> str:
    """Return the name of the processor, as lscpu shows it."""
    name = _field("/proc/cpuinfo", "model name")
    return name or platform.processor() or platform.machine()


def _field(path: str, name: str) -> str | None:
    """Return the value of the first `name: value` line in one of the kernel's tables."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    fields = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in fields if key.strip() == name), None)
