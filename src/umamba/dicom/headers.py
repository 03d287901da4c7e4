"""Read the header of one DICOM file: its series, and where its slices lie."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umamba.dicom.library import quiet_pydicom
from umamba.dicom.series import Plane, SeriesError, SeriesHead

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["SourceFile", "planes_of", "read_header"]

log = logging.getLogger(__name__)

_FARTHEST_MM = 1e5
_LEAST_MM = 1e-6
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_DIRECTORY = "1.2.840.10008.1.3.10"
# Of the third value of ImageType, or a later one, and of frame types.
_OVERVIEWS = {"LOCALIZER", "SCOUT", "TOPOGRAM"}
_TAGS = [
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality"),
    *("StudyInstanceUID", "PatientID", "FrameOfReferenceUID", "SeriesDescription", "ImageType"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("SpacingBetweenSlices", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel"),
    *("PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]


@dataclass(frozen=True)
class SourceFile:
    """The header of one file.

    Attributes:
        kind: What it is if it is not a slice of a volume, such as "localizer"; else "".
        planes: Its slices.
        problem: Why it has none, though it should; else "".
        fix: What to do about that.
    """

    path: Path
    head: SeriesHead
    kind: str = ""
    planes: tuple[Plane, ...] = ()
    problem: str = ""
    fix: str = ""


def read_header(path: Path) -> SourceFile | None:
    """Read the header of a file.

    Returns:
        The header; `None` for a DICOMDIR.

    Raises:
        SeriesError: If it is not DICOM, or torn.
    """
    from pydicom import dcmread

    fix = "replace the file, or remove it"
    try:
        with quiet_pydicom():
            header = dcmread(path, stop_before_pixels=True, specific_tags=_TAGS, force=True)
            if _text(header, "SOPClassUID") == _DIRECTORY or _is_directory(header):
                return None
            return _source_file(path, header)
    except (SeriesError, MemoryError):
        raise
    except PermissionError as error:
        problem = "permission denied"
        raise SeriesError(problem, "make the file readable") from error
    except Exception as error:
        log.debug("cannot read a header: %s", type(error).__name__)  # its text quotes the patient
        problem = "its header is torn, or not DICOM"
        raise SeriesError(problem, fix) from error


def _is_directory(header: "Dataset") -> bool:
    meta = getattr(header, "file_meta", None)
    return meta is not None and str(meta.get("MediaStorageSOPClassUID", "")) == _DIRECTORY


def _source_file(path: Path, header: "Dataset") -> SourceFile:
    head = SeriesHead(
        uid=_text(header, "SeriesInstanceUID"),
        study_uid=_text(header, "StudyInstanceUID"),
        patient_id=_text(header, "PatientID"),
        frame_of_reference_uid=_text(header, "FrameOfReferenceUID"),
        modality=_text(header, "Modality"),
        description=_text(header, "SeriesDescription"),
        sop_class_uid=_text(header, "SOPClassUID"),
    )
    if not len(header):
        problem = "the file is empty, or not DICOM"
        raise SeriesError(problem, "replace the file, or remove it")
    if not head.uid or not head.sop_class_uid or not _text(header, "SOPInstanceUID"):
        problem = "its header is torn, or not DICOM: it names no class, instance or series"
        raise SeriesError(problem, "replace the file, or remove it")
    if kind := _kind(header, head):
        return SourceFile(path, head, kind)
    try:
        return SourceFile(path, head, planes=planes_of(path, header))
    except SeriesError as error:
        return SourceFile(path, head, problem=error.problem, fix=error.fix)
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        log.debug("cannot use a header: %s", type(error).__name__)
        problem = "its header states size or place in a way that cannot be read"
        return SourceFile(path, head, problem=problem, fix="export the series again")


def _kind(header: "Dataset", head: SeriesHead) -> str:
    if "Rows" not in header or head.modality in ("SEG", "RTDOSE"):
        return f"{head.modality or 'other'} object"
    if head.sop_class_uid.startswith(_SECONDARY_CAPTURE):
        return "secondary capture"
    values = {value.upper() for value in _texts(header, "ImageType")[2:]}
    return "localizer" if values & _OVERVIEWS else ""


def planes_of(path: Path, header: "Dataset") -> tuple[Plane, ...]:
    """Return the slices of a file.

    Raises:
        SeriesError: If they have no place, or no values of their own.
    """
    kind = _text(header, "PhotometricInterpretation")
    if int(header.get("SamplesPerPixel") or 1) != 1 or kind == "PALETTE COLOR":
        problem = f"its pixels are colours ({kind})"
        raise SeriesError(problem, "export the series of measured values that it was made from")
    if "MOSAIC" in _texts(header, "ImageType"):
        problem = "its slices are tiles of one picture (a mosaic)"
        raise SeriesError(problem, "convert it with dcm2niix")
    frames = header.get("PerFrameFunctionalGroupsSequence")
    if frames:
        shared = header.get("SharedFunctionalGroupsSequence")
        common = [shared[0]] if shared else []
        return tuple(
            _plane(path, header, number, [groups, *common]) for number, groups in enumerate(frames)
        )
    n_frames = int(header.get("NumberOfFrames") or 1)
    if n_frames != 1:
        problem = f"it has {n_frames} frames without a place for each"
        raise SeriesError(
            problem, "export it as single slices, or as an enhanced multi-frame image"
        )
    return (_plane(path, header, 0, []),)


def _plane(path: Path, header: "Dataset", frame: int, groups: Sequence["Dataset"]) -> Plane:
    """Return a slice; what its functional groups say of it comes before the file's own header."""

    def find(sequence: str, name: str) -> Any:
        for group in groups:
            items = group.get(sequence)
            if items and items[0].get(name) is not None:
                return items[0].get(name)
        return header.get(name)

    if header.get("ModalityLUTSequence"):
        problem = "its true values stand in a table (Modality LUT), which is not read"
        raise SeriesError(problem, "export it with RescaleSlope and RescaleIntercept")
    distance = find("PixelMeasuresSequence", "SpacingBetweenSlices")
    thickness = distance or find("PixelMeasuresSequence", "SliceThickness")
    slope = find("PixelValueTransformationSequence", "RescaleSlope")
    intercept = find("PixelValueTransformationSequence", "RescaleIntercept")
    plane = Plane(
        path=path,
        frame=frame,
        sop_instance_uid=_text(header, "SOPInstanceUID"),
        position=_three(find("PlanePositionSequence", "ImagePositionPatient")),
        orientation=_axes(find("PlaneOrientationSequence", "ImageOrientationPatient")),
        spacing=_spacing(find("PixelMeasuresSequence", "PixelSpacing")),
        shape=(int(header.get("Rows") or 0), int(header.get("Columns") or 0)),
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        limits=_limits(header),
        is_inverted=_is_inverted(header),
        thickness=_thickness(thickness),
        transfer_syntax=str(getattr(header, "file_meta", {}).get("TransferSyntaxUID", "")),
    )
    if min(plane.shape) < 1:
        problem = f"it has {plane.shape[0]} rows and {plane.shape[1]} columns"
        raise SeriesError(problem, "export the series again")
    if not (math.isfinite(plane.slope) and math.isfinite(plane.intercept) and plane.slope):
        problem = f"its RescaleSlope {plane.slope:g} and RescaleIntercept {plane.intercept:g} "
        raise SeriesError(problem + "give no true values", "export the series again")
    return plane


def _limits(header: "Dataset") -> tuple[int, int] | None:
    bits = int(header.get("BitsStored") or header.get("BitsAllocated") or 16)
    if bits > 32 or "BitsStored" not in header:
        return None
    signed = int(header.get("PixelRepresentation") or 0) == 1
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def _is_inverted(header: "Dataset") -> bool:
    """Return whether dark and bright are exchanged; Hounsfield units and activities never are."""
    is_white_zero = _text(header, "PhotometricInterpretation") == "MONOCHROME1"
    return is_white_zero and _text(header, "Modality") not in ("CT", "PT")


def _three(values: Any) -> tuple[float, float, float]:
    x, y, z = _numbers(values, 3, "place (ImagePositionPatient)")
    return x, y, z


def _axes(values: Any) -> tuple[float, ...]:
    """Return the unit vectors along a row and a column, exactly at right angles."""
    row, column = np.reshape(_numbers(values, 6, "axes (ImageOrientationPatient)"), (2, 3))
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not np.allclose([*lengths, 1 + row @ column], 1, atol=1e-2):
        problem = "its axes (ImageOrientationPatient) are not unit vectors at right angles"
        raise SeriesError(problem, "export the series again")
    row = row / lengths[0]
    column = column - (column @ row) * row
    return tuple(map(float, [*row, *(column / np.linalg.norm(column))]))


def _spacing(values: Any) -> tuple[float, float]:
    rows, columns = _numbers(values, 2, "pixel size (PixelSpacing)")
    if min(rows, columns) < _LEAST_MM:
        problem = f"its pixel size (PixelSpacing) is {rows:g} x {columns:g}"
        raise SeriesError(problem, "export the series again")
    return rows, columns


def _thickness(value: Any) -> float | None:
    size = abs(float(value)) if value else 0.0
    return size if _LEAST_MM <= size < _FARTHEST_MM else None


def _numbers(values: Any, n: int, name: str) -> list[float]:
    found = [float(value) for value in values] if values is not None and values != "" else []
    if len(found) != n or not all(abs(value) < _FARTHEST_MM for value in found):
        problem = f"its header does not state its {name}"
        raise SeriesError(problem, "export the original series of slices")
    return found


def _text(header: "Dataset", name: str) -> str:
    value = header.get(name)
    return "" if value is None else str(value).strip()


def _texts(header: "Dataset", name: str) -> list[str]:
    value = header.get(name)
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(item) for item in value]
