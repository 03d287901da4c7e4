"""The section on versions, to be stated in a bug report."""

import platform

from umamba.doctor.section import Section
from umamba.system.versions import NOT_INSTALLED, installed_version

__all__ = ["examine_versions"]

_PACKAGES = ("umamba", "torch", "nnunetv2", "numpy", "llvmlite")


def examine_versions() -> Section:
    """List the versions of the packages that do the computing."""
    found = {package: installed_version(package) for package in _PACKAGES}
    # The other packages have sections of their own, which say what to do.
    missing = [name for name in ("umamba",) if found[name] == NOT_INSTALLED]
    return Section(
        "Versions",
        {**found, "Python": platform.python_version(), "system": platform.platform()},
        warnings=tuple(
            f"{name} runs from a folder that is not installed; run `pip install -e .` in it"
            for name in missing
        ),
    )
