"""The section on versions: what to state in a bug report."""

import platform
from importlib.metadata import PackageNotFoundError, version

from umamba.doctor.sections import Section

__all__ = ["examine_versions"]

_PACKAGES = ("umamba", "torch", "nnunetv2", "numpy", "llvmlite")


def examine_versions() -> Section:
    """Name the versions of what computes."""
    found = {package: _version(package) for package in _PACKAGES}
    # The others have sections of their own, which say what to do.
    missing = [name for name in ("umamba",) if found[name] == "not installed"]
    return Section(
        "Versions",
        {**found, "Python": platform.python_version(), "system": platform.platform()},
        warnings=tuple(
            f"{name} runs from a folder that is not installed; `pip install -e .` there does it"
            for name in missing
        ),
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
