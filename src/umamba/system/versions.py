"""The versions of Python and of the packages that compute, as reports and results name them."""

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

__all__ = ["NOT_INSTALLED", "installed_version", "versions"]

NOT_INSTALLED = "not installed"


def installed_version(package: str) -> str:
    """Return the version of a package, or `NOT_INSTALLED`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return NOT_INSTALLED


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the version of Python and those of packages, by name."""
    found = {package: installed_version(package) for package in packages}
    return {"python": platform.python_version()} | found
