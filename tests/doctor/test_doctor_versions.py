"""Versions for bug reports."""

import platform
from importlib import metadata

import numpy as np
import pytest
import torch

from umamba.doctor.versions import examine_versions


def test_what_computes_is_named() -> None:
    section = examine_versions()
    assert section.lines["torch"] == torch.__version__.split("+")[0]
    assert section.lines["numpy"] == np.__version__
    assert section.lines["Python"] == platform.python_version()
    assert section.lines["system"].startswith(platform.system())
    assert {"umamba", "nnunetv2", "llvmlite"} <= section.lines.keys()
    assert section.problems == section.warnings == ()


def test_a_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("umamba", "llvmlite"):
            raise metadata.PackageNotFoundError(name)
        return metadata.version(name)

    monkeypatch.setattr("umamba.system.versions.version", version)
    section = examine_versions()
    assert section.lines["llvmlite"] == "not installed"
    (warning,) = section.warnings
    assert warning.startswith(
        "umamba runs from a folder that is not installed; run `pip install -e .`"
    )
