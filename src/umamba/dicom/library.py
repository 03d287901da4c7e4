"""The package pydicom, of the extra `dicom`: loaded on first use, and kept quiet."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from umamba.errors import UMambaError
from umamba.system.shared_contexts import shared_by_threads

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["quiet_pydicom", "require_pydicom", "save_dicom"]


def require_pydicom(*, for_seg: bool = False) -> None:
    """Check that DICOM can be read here, and SEG be written if that is wanted.

    Raises:
        UMambaError: If the extra is not installed.
    """
    for package in ("pydicom", "highdicom") if for_seg else ("pydicom",):
        if find_spec(package) is None:
            msg = f"DICOM needs the package {package}: pip install 'umamba[dicom]'"
            raise UMambaError(msg)


_TALKERS = ("pydicom", "openjpeg", "highdicom")


@shared_by_threads
@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Hide remarks on odd files, which quote the patient's values; we report instead."""
    from pydicom import config

    logs = [logging.getLogger(name) for name in _TALKERS]
    levels = [log.level for log in logs]
    mode = config.settings.reading_validation_mode
    # most remarks are not even made, as other threads may change what becomes of warnings
    config.settings.reading_validation_mode = config.IGNORE
    for log in logs:
        log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        config.settings.reading_validation_mode = mode
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)


def save_dicom(content: "Dataset", path: Path) -> None:
    """Save a file of DICOM.

    Raises:
        OSError: If it cannot be written: the error of the system, which pydicom wraps in its
            traceback.
    """
    try:
        with quiet_pydicom():
            content.save_as(path, enforce_file_format=True)
    except OSError as error:
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        raise first from None
