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


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Hide pydicom's remarks on odd files, which quote the patient's values; we report instead."""
    log = logging.getLogger("pydicom")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
