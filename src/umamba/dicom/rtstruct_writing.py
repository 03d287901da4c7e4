"""Write a label map as DICOM RT Structure Set: contours on the slices of its source."""

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from umamba.dicom.derived import (
    MANUFACTURER,
    Maker,
    check_grid,
    check_source,
    derived_uid,
    source_headers,
)
from umamba.dicom.library import quiet_pydicom, save_dicom
from umamba.dicom.outlines import outlines
from umamba.dicom.segments import Segment
from umamba.dicom.series import Plane, Series
from umamba.images.contents import Geometry
from umamba.system.versions import installed_version

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["write_rtstruct"]

Array = npt.NDArray[Any]

# The attributes of the modules Patient, General Study and Patient Study that the source may have.
_COPIED = (
    *("SpecificCharacterSet", "StudyDate", "StudyTime", "AccessionNumber", "StudyDescription"),
    *("ReferringPhysicianName", "PatientName", "PatientID", "IssuerOfPatientID"),
    *("PatientBirthDate", "PatientSex", "PatientAge", "PatientSize", "PatientWeight"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("StudyInstanceUID", "StudyID", "FrameOfReferenceUID", "PositionReferenceIndicator"),
    "LongitudinalTemporalInformationModified",
)
_SERIES_NUMBER = 7003
_DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"
_DIGITS = 5  # of coordinates, beside a voxel


def write_rtstruct(
    path: Path,
    labels: npt.NDArray[np.integer[Any]],
    series: Series,
    segments: Sequence[Segment],
    maker: Maker,
    *,
    geometry: Geometry | None = None,
) -> None:
    """Write an RT Structure Set (PS3.3 A.19) with one ROI per segment, even if it is empty.

    Contours run along the edges of voxels. Holes are joined to their outlines by keyholes.

    Args:
        path: The new file.
        labels: The label map as (z, y, x), on the grid of the series.
        series: The source.
        segments: The labels that are written; they may overlap.
        maker: The model.
        geometry: That of the label map, to be compared with the grid of the series.

    Raises:
        SeriesError: If contours cannot refer to the series, or the label map is not on its grid.
    """
    check_source(series)
    check_grid(series, labels, geometry)
    headers = source_headers(series)
    with quiet_pydicom():
        instance_uid = derived_uid("rtstruct", series, maker, labels, segments)
        content = _header(series, headers, maker, instance_uid)
        content.StructureSetROISequence = [_roi(s, series, maker) for s in segments]
        content.ROIContourSequence = [_contours(labels, s, series, headers) for s in segments]
        content.RTROIObservationsSequence = [_observation(s, maker) for s in segments]
    save_dicom(content, path)


def _header(
    series: Series, headers: "Sequence[Dataset]", maker: Maker, instance_uid: str
) -> "Dataset":
    from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

    content = _dataset()
    for name in _COPIED:
        if name in headers[0]:
            content[name] = headers[0][name]
    now = datetime.datetime.now(tz=datetime.timezone.utc).astimezone()
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    content.update(
        _dataset(
            SOPClassUID=RTStructureSetStorage,
            SOPInstanceUID=instance_uid,
            InstanceCreationDate=date,
            InstanceCreationTime=time,
            Modality="RTSTRUCT",
            Manufacturer=MANUFACTURER,
            ManufacturerModelName="umamba",
            SoftwareVersions=installed_version("umamba"),
            OperatorsName="",
            SeriesInstanceUID=derived_uid("rtstruct series", series, maker),
            SeriesNumber=_SERIES_NUMBER,
            SeriesDescription=f"Segmentation by {maker.name}"[:64],
            InstanceNumber=1,
            StructureSetLabel="SEGMENTATION",
            StructureSetName=f"Segmentation by {maker.name}"[:64],
            StructureSetDate=date,
            StructureSetTime=time,
            ApprovalStatus="UNAPPROVED",
            ReferencedFrameOfReferenceSequence=[_frame_of_reference(series, headers)],
        )
    )
    content.file_meta = _file_meta(ImplicitVRLittleEndian)  # of explicit VR a DS has 64 KiB at most
    return content


def _file_meta(syntax: str) -> Any:
    from pydicom.dataset import FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    return meta


def _dataset(**values: Any) -> "Dataset":
    from pydicom import Dataset

    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def _frame_of_reference(series: Series, headers: "Sequence[Dataset]") -> "Dataset":
    images = [
        _dataset(
            ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID
        )
        for header in headers
    ]
    source = _dataset(SeriesInstanceUID=series.head.uid, ContourImageSequence=images)
    study = _dataset(
        ReferencedSOPClassUID=_DETACHED_STUDY,
        ReferencedSOPInstanceUID=headers[0].StudyInstanceUID,
        RTReferencedSeriesSequence=[source],
    )
    return _dataset(
        FrameOfReferenceUID=series.head.frame_of_reference_uid, RTReferencedStudySequence=[study]
    )


def _roi(segment: Segment, series: Series, maker: Maker) -> "Dataset":
    return _dataset(
        ROINumber=segment.number,
        ReferencedFrameOfReferenceUID=series.head.frame_of_reference_uid,
        ROIName=segment.name[:64],
        ROIGenerationAlgorithm="AUTOMATIC",
        ROIGenerationDescription=f"{maker.name} {maker.version}"[:64],
    )


def _observation(segment: Segment, maker: Maker) -> "Dataset":
    observation = _dataset(
        ObservationNumber=segment.number,
        ReferencedROINumber=segment.number,
        ROIObservationLabel=segment.name[:16],
        RTROIInterpretedType=segment.roi_type,
        ROIInterpreter="",
        ROIObservationDescription=f"{maker.name} {maker.version}"[:64],
    )
    kind = segment.kind
    observation.RTROIIdentificationCodeSequence = [
        _dataset(CodeValue=kind.value, CodingSchemeDesignator=kind.scheme, CodeMeaning=kind.meaning)
    ]
    return observation


def _contours(
    labels: Array, segment: Segment, series: Series, headers: "Sequence[Dataset]"
) -> "Dataset":
    classes = {header.SOPInstanceUID: header.SOPClassUID for header in headers}
    contours = [
        _dataset(
            ContourImageSequence=[_image(plane, classes[plane.sop_instance_uid], series)],
            ContourGeometricType="CLOSED_PLANAR",
            NumberOfContourPoints=len(points) // 3,
            ContourNumber=number,
            ContourData=points,
        )
        for number, (plane, points) in enumerate(_polygons(labels, segment, series), start=1)
    ]
    return _dataset(
        ROIDisplayColor=list(segment.color),
        ReferencedROINumber=segment.number,
        **({"ContourSequence": contours} if contours else {}),
    )


def _image(plane: Plane, sop_class_uid: str, series: Series) -> "Dataset":
    image = _dataset(
        ReferencedSOPClassUID=sop_class_uid, ReferencedSOPInstanceUID=plane.sop_instance_uid
    )
    if len({other.sop_instance_uid for other in series.planes}) < len(series.planes):
        image.ReferencedFrameNumber = plane.frame + 1
    return image


def _polygons(labels: Array, segment: Segment, series: Series) -> Iterator[tuple[Plane, list[str]]]:
    """Yield the plane and the coordinates of every polygon of a segment."""
    from pydicom.valuerep import format_number_as_ds

    for plane, values in zip(series.planes, labels, strict=True):
        mask = np.isin(values, segment.values)
        if not mask.any():
            continue
        row, column = np.reshape(plane.orientation, (2, 3))
        steps = np.stack([row * plane.spacing[1], column * plane.spacing[0]])
        digits = _DIGITS - int(np.floor(np.log10(min(plane.spacing))))
        for polygon in outlines(mask):
            points = np.round(plane.position + polygon @ steps, digits)
            yield plane, [format_number_as_ds(float(x)) for x in points.ravel()]
