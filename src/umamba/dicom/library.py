"""The package pydicom, of the extra `dicom`: loaded on first use, and kept quiet."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from umamba.errors import UMambaError

__all__ = ["quiet_pydicom", "require_pydicom"]


def require_pydicom() -> None:
    """Check that DICOM can be read here.

    Raises:
        UMambaError: If the extra is not installed.
    """
    if find_spec("pydicom") is None:
        msg = "DICOM needs the package pydicom: pip install 'umamba[dicom]'"
        raise UMambaError(msg)


_TALKERS = ("pydicom", "openjpeg")


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Hide remarks on odd files, which quote the patient's values; we report instead."""
    logs = [logging.getLogger(name) for name in _TALKERS]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
