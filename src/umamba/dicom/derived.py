"""Everything that segmentations as DICOM share: their source, their maker, and fixed UIDs."""

import hashlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from umamba.dicom.library import quiet_pydicom
from umamba.dicom.segments import Segment
from umamba.dicom.series import Series, SeriesError
from umamba.images.contents import Geometry

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["MANUFACTURER", "Maker", "check_grid", "check_source", "derived_uid", "source_headers"]

Labels = npt.NDArray[Any]

MANUFACTURER = "umamba"
# The attributes that derived objects must have, even if empty, and that a source may lack.
_REQUIRED = (
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "PatientName"),
    *("PatientID", "PatientBirthDate", "PatientSex", "StudyID", "PositionReferenceIndicator"),
)
_SEXES = ("M", "F", "O")
_NAMESPACE = uuid.UUID("6d2ac1f6-7a4b-5d5f-9d0b-3a0e8f0c6b11")


@dataclass(frozen=True)
class Maker:
    """The model that made a segmentation.

    Args:
        name: Its name, of at most 64 characters.
        version: Its version, such as a digest of its weights, of at most 64 characters.
        settings: Everything else that decides on its result, in any form that is always the same.
    """

    name: str
    version: str
    settings: str = ""


def derived_uid(
    kind: str,
    series: Series,
    maker: Maker,
    labels: Labels | None = None,
    segments: Sequence[Segment] = (),
) -> str:
    """Return a UID that is the same for the same source, model, labels and segments.

    It is derived from a UUID (DICOM PS3.5 B.2), here one of version 5 (RFC 9562).

    Args:
        kind: The kind of object that it belongs to.
        series: The source.
        maker: The model.
        labels: The label map, for the UID of an instance.
        segments: Its names, codes and colours, for the same.
    """
    digest = hashlib.sha256()
    slices = [f"{plane.sop_instance_uid} {plane.frame}" for plane in series.planes]
    of_maker = (maker.name, maker.version, maker.settings)
    for text in (kind, series.head.uid, *slices, *of_maker, *map(repr, segments)):
        digest.update(text.encode() + b"\0")
    if labels is not None:
        digest.update(np.ascontiguousarray(labels, "<u2").data)
    return f"2.25.{uuid.uuid5(_NAMESPACE, digest.hexdigest()).int}"


def check_source(series: Series) -> None:
    """Check that a segmentation can refer to the slices of a series.

    Raises:
        SeriesError: If it cannot.
    """
    if series.resampling is not None:
        problem = "it was resampled, so that its voxels are not those of its slices"
        raise SeriesError(problem, "choose --output-format nifti for it")
    missing = [
        name
        for name, uid in (
            ("FrameOfReferenceUID", series.head.frame_of_reference_uid),
            ("StudyInstanceUID", series.head.study_uid),
        )
        if not uid
    ]
    if missing:
        problem = f"it has no {missing[0]}, which SEG and RTSTRUCT need"
        raise SeriesError(problem, "choose --output-format nifti for it")


def check_grid(series: Series, labels: Labels, geometry: Geometry | None) -> None:
    """Check that a label map lies on the grid of a series.

    Raises:
        SeriesError: If it does not.
    """
    differing = {} if geometry is None else series.geometry.differences(geometry)
    if labels.shape != series.shape or differing:
        texts = "; ".join(differing.values()) or f"shape {labels.shape} but {series.shape}"
        problem = f"the label map is not on the grid of the series: {texts}"
        raise SeriesError(problem, "choose --output-format nifti for it")


def source_headers(series: Series) -> "list[Dataset]":
    """Read the headers of a series without pixels: one per slice, or one if a file has all.

    Attributes that derived objects must have are added where they are missing. The first header,
    from which patient and study are copied, is fit for that: its texts are in UTF-8, so that names
    of labels in any language stand beside the patient's, and values that DICOM does not allow are
    empty.
    """
    from pydicom import dcmread

    paths = list(dict.fromkeys(plane.path for plane in series.planes))
    with quiet_pydicom():
        headers = [dcmread(path, stop_before_pixels=True) for path in paths]
        _decode(headers[0])
        headers[0].SpecificCharacterSet = "ISO_IR 192"
        for header in headers:
            for name in _REQUIRED:
                if name not in header:
                    setattr(header, name, "")
            if len(headers) == len(series.planes) and not header.get("SliceThickness"):
                header.SliceThickness = f"{series.geometry.spacing[2]:.10g}"
        _empty_odd_values(headers[0])
    return headers


def _decode(dataset: "Dataset") -> None:
    """Decode all texts, and remove what is private or cannot be read."""
    for tag in list(dataset.keys()):
        try:
            element = None if tag.is_private else dataset[tag]
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            element = None
        if element is None:
            del dataset[tag]
        elif element.VR == "SQ":
            for item in element.value:
                _decode(item)


def _empty_odd_values(header: "Dataset") -> None:
    from pydicom.valuerep import DA, TM

    if str(header.PatientSex) not in _SEXES:
        header.PatientSex = ""
    for name, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        if not _is_valid(kind, header[name].value):
            header[name].value = ""


def _is_valid(kind: Callable[[Any], object], value: object) -> bool:
    try:
        kind(value)
    except (TypeError, ValueError):
        return False
    return True
