"""Write a label map as DICOM SEG on the slices of its source."""

from collections.abc import Sequence
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
from umamba.dicom.segments import Code, Segment
from umamba.dicom.series import Series, SeriesError
from umamba.images.contents import Geometry
from umamba.system.versions import installed_version

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom import Dataset

__all__ = ["write_seg"]

Labels = npt.NDArray[Any]

_SERIES_NUMBERS = {False: 7001, True: 7002}


def write_seg(
    path: Path,
    labels: Labels,
    series: Series,
    segments: Sequence[Segment],
    maker: Maker,
    *,
    geometry: Geometry | None = None,
    as_label_map: bool = False,
) -> None:
    """Write DICOM SEG (PS3.3 A.51) or, on request, a label map SEG (supplement 243).

    Frames without a voxel are left out, unless all are: one frame is needed.

    Args:
        path: The new file.
        labels: The label map as (z, y, x), on the grid of the series.
        series: The source.
        segments: The labels that are written, numbered from 1 without gaps.
        maker: The model.
        geometry: That of the label map, to be compared with the grid of the series.
        as_label_map: One frame per slice, with the numbers of segments as pixels. Segments may not
            overlap then.

    Raises:
        SeriesError: If a SEG cannot refer to the series, or the label map is not on its grid.
    """
    check_source(series)
    check_grid(series, labels, geometry)
    headers = source_headers(series)
    pixels = _stacked(labels, segments)
    if len(headers) < len(series.planes):
        pixels = pixels[_frames_in_order(series, headers)]
    kind = "labelmap-seg" if as_label_map else "seg"
    with quiet_pydicom():
        seg = _segmentation(kind, pixels, headers, segments, maker, series, labels)
    save_dicom(seg, path)


def _stacked(labels: Labels, segments: Sequence[Segment]) -> Labels:
    """Return the numbers of the segments or, where these overlap, one layer for each at the end."""
    highest = max([int(labels.max()), *(value for s in segments for value in s.values)])
    if sum(len(s.values) for s in segments) > len({v for s in segments for v in s.values}):
        return np.stack([np.isin(labels, s.values) for s in segments], axis=-1).astype(np.uint8)
    number = np.zeros(highest + 1, np.uint8 if len(segments) < 256 else np.uint16)
    for segment in segments:
        number[list(segment.values)] = segment.number
    pixels: Labels = number[labels]
    return pixels


def _frames_in_order(series: Series, headers: "Sequence[Dataset]") -> list[int]:
    """Return the slice of each frame of the one file that holds them all.

    Raises:
        SeriesError: If the series is not that of the frames of one file.
    """
    frames = [plane.frame for plane in series.planes]
    n_frames = int(headers[0].get("NumberOfFrames", 1))
    if len(headers) > 1 or sorted(frames) != list(range(n_frames)):
        problem = "its slices are only some of the frames of its files"
        raise SeriesError(problem, "choose rtstruct or nifti as --output-format for it")
    return [frames.index(frame) for frame in range(n_frames)]


def _segmentation(
    kind: str,
    pixels: Labels,
    headers: "Sequence[Dataset]",
    segments: Sequence[Segment],
    maker: Maker,
    series: Series,
    labels: Labels,
) -> "Segmentation":
    from highdicom.seg import Segmentation

    is_label_map = kind == "labelmap-seg"
    seg = Segmentation(
        source_images=headers,
        pixel_array=pixels,
        segmentation_type="LABELMAP" if is_label_map else "BINARY",
        segment_descriptions=[_description(segment, maker) for segment in segments],
        series_instance_uid=derived_uid(f"{kind} series", series, maker),
        series_number=_SERIES_NUMBERS[is_label_map],
        sop_instance_uid=derived_uid(kind, series, maker, labels, segments),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name="umamba",
        software_versions=installed_version("umamba"),
        device_serial_number="0",
        content_label="SEGMENTATION",
        content_description=f"Segmentation by {maker.name}"[:64],
        series_description=f"Segmentation by {maker.name}"[:64],
    )
    seg.ContentCreatorName = ""  # no person; the attribute itself is required (PS3.3 table 10-12)
    _fix_dimensions(seg, derived_uid(f"{kind} dimensions", series, maker))
    return seg


def _fix_dimensions(seg: "Segmentation", uid: str) -> None:
    """Replace the random UID that highdicom gives to the organization of dimensions."""
    for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid


def _description(segment: Segment, maker: Maker) -> "SegmentDescription":
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    return SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.name[:64],
        segmented_property_category=_concept(segment.category),
        segmented_property_type=_concept(segment.kind),
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=maker.name, family=codes.DCM.ArtificialIntelligence, version=maker.version
        ),
        display_color=CIELabColor.from_rgb(*segment.color),
    )


def _concept(code: Code) -> "CodedConcept":
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)
