"""The environment that a measurement depends on: versions, processor, date."""

import datetime
import platform
from importlib import metadata
from pathlib import Path

import torch

from benchmarks.c_peer import gcc_version

__all__ = ["environment"]

_PACKAGES = ("torch", "umamba", "llvmlite", "triton", "mambapy", "mamba_ssm")


def environment() -> dict[str, str | None]:
    """Return versions, processor and date; nothing that names the machine or its folders."""
    return {
        "date": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        "cpu": _cpu_model(),
        "vector_extension": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "gcc": gcc_version(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    """Return the model as lscpu names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
