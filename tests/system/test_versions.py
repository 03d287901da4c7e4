"""Versions as reports name them."""

import platform

import numpy as np

from umamba.system.versions import versions


def test_versions_and_what_is_missing() -> None:
    assert versions(["numpy", "no-such-package"]) == {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "no-such-package": "not installed",
    }
