"""Label maps as DICOM SEG and RTSTRUCT, read again by other software."""

import errno
import json
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from skimage.draw import polygon2mask

from dicom_files import PATIENT, edit, enhanced, write_series
from dicom_segmentations import LABELS, MAKER, affine, label_map, source
from umamba.dicom.finding import find_series
from umamba.dicom.rtstruct_writing import write_rtstruct
from umamba.dicom.seg_writing import write_seg
from umamba.dicom.segments import segments_of
from umamba.dicom.series import SeriesError
from umamba.errors import UMambaError


@pytest.fixture
def series(tmp_path):
    return source(tmp_path / "ct")


def read_seg(path: Path, series) -> np.ndarray:
    """Read a SEG by highdicom onto the grid of its source."""
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    to_grid = np.linalg.inv(affine(series)) @ volume.affine
    assert np.allclose(np.abs(to_grid[:3, :3]), np.eye(3), atol=1e-5)
    labels = np.zeros(series.shape, np.uint8)
    for place in np.argwhere(volume.array):
        voxel = np.rint(to_grid @ [*place, 1])[:3].astype(int)
        labels[tuple(voxel)] = volume.array[tuple(place)]
    return labels


def read_rtstruct(path: Path, series) -> np.ndarray:
    """Fill contours by scikit-image, each on the slice that it refers to."""
    numbers = {plane.sop_instance_uid: n for n, plane in enumerate(series.planes)}
    content, labels = pydicom.dcmread(path), np.zeros(series.shape, np.uint8)
    for roi in content.ROIContourSequence:
        for contour in roi.get("ContourSequence", ()):
            points = np.reshape(np.array(contour.ContourData, float), (-1, 3))
            assert len(points) == contour.NumberOfContourPoints
            places = (np.linalg.inv(affine(series)) @ np.c_[points, np.ones(len(points))].T).T
            number = numbers[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            assert np.allclose(places[:, 0], number, atol=1e-4)
            inside = polygon2mask(series.shape[1:], places[:, 1:3])
            labels[number][inside] = roi.ReferencedROINumber
    return labels


@pytest.mark.parametrize(
    ("axes", "reverse"),
    [("axial", False), ("decubitus", True), ("sagittal", False), ("oblique", True)],
)
def test_labels_keep_their_place_in_every_orientation(tmp_path, axes, reverse):
    series = source(tmp_path / "ct", axes, reverse=reverse)
    segments = segments_of(LABELS)

    write_seg(tmp_path / "seg.dcm", label_map(), series, segments, MAKER)
    write_seg(tmp_path / "map.dcm", label_map(), series, segments, MAKER, as_label_map=True)
    write_rtstruct(tmp_path / "rt.dcm", label_map(), series, segments, MAKER)

    assert np.array_equal(read_seg(tmp_path / "seg.dcm", series), label_map())
    assert np.array_equal(read_seg(tmp_path / "map.dcm", series), label_map())
    assert np.array_equal(read_rtstruct(tmp_path / "rt.dcm", series), label_map())


def test_frames_of_a_multi_frame_file_are_referred_to(tmp_path):
    enhanced(tmp_path / "mr.dcm", np.zeros((5, 9, 11), np.int16), [1.0] * 5, "1.2.3.4")
    (series,) = find_series(tmp_path).series
    segments = segments_of(LABELS)

    write_seg(tmp_path / "seg", label_map(), series, segments, MAKER)
    write_rtstruct(tmp_path / "rt", label_map(), series, segments, MAKER)

    assert np.array_equal(read_seg(tmp_path / "seg", series), label_map())
    contours = pydicom.dcmread(tmp_path / "rt").ROIContourSequence[1].ContourSequence
    frames = [contour.ContourImageSequence[0].ReferencedFrameNumber for contour in contours]
    assert frames == [4, 3, 2, 2]  # slices 1, 2, 3, 3; the file holds the last slice first


def test_the_patient_and_the_study_are_those_of_the_source(series, tmp_path):
    segments = segments_of(LABELS)
    write_seg(tmp_path / "seg", label_map(), series, segments, MAKER)
    write_rtstruct(tmp_path / "rt", label_map(), series, segments, MAKER)

    for name in ("seg", "rt"):
        content = pydicom.dcmread(tmp_path / name)
        assert {key: content.get(key) for key in PATIENT} == PATIENT
        assert not [element for element in content.iterall() if element.tag.is_private]
        assert content.SeriesInstanceUID != series.head.uid
        assert content.SeriesInstanceUID.startswith("2.25.")
        assert content.SOPInstanceUID.startswith("2.25.")
        assert content.file_meta.MediaStorageSOPInstanceUID == content.SOPInstanceUID


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞"),
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 6", "Mueller"),
    ],
)
def test_every_name_keeps_its_letters_and_odd_values_are_empty(tmp_path, charset, name):
    source = write_series(tmp_path / "ct", np.zeros((5, 9, 11), np.int16))
    for path in source:
        edit(path, SpecificCharacterSet=charset, PatientName=name, PatientSex="U")
        edit(path, PatientBirthDate="1941-02-03", StudyTime="noon")
    (series,) = find_series(tmp_path / "ct").series
    segments = segments_of({"肝臓": (1,), "опухоль": (2,)})

    write_seg(tmp_path / "seg", label_map(), series, segments, MAKER)
    write_rtstruct(tmp_path / "rt", label_map(), series, segments, MAKER)

    seg, rt = pydicom.dcmread(tmp_path / "seg"), pydicom.dcmread(tmp_path / "rt")
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["肝臓", "опухоль"]
    assert [roi.ROIName for roi in rt.StructureSetROISequence] == ["肝臓", "опухоль"]
    for content in (seg, rt):
        assert content.PatientName == name
        odd = ("PatientSex", "PatientBirthDate", "StudyTime")
        assert [content.get(key) or "" for key in odd] == ["", "", ""]


def test_an_rtstruct_refers_to_every_slice_of_its_source(series, tmp_path):
    write_rtstruct(tmp_path / "rt", label_map(), series, segments_of(LABELS), MAKER)

    (frame,) = pydicom.dcmread(tmp_path / "rt").ReferencedFrameOfReferenceSequence
    (source_series,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    referred = {image.ReferencedSOPInstanceUID for image in source_series.ContourImageSequence}
    assert frame.FrameOfReferenceUID == PATIENT["FrameOfReferenceUID"]
    assert source_series.SeriesInstanceUID == series.head.uid
    assert referred == {plane.sop_instance_uid for plane in series.planes}


def test_an_empty_label_has_a_roi_without_contours_and_a_segment_without_frames(series, tmp_path):
    write_rtstruct(tmp_path / "rt", label_map(), series, segments_of(LABELS), MAKER)
    write_seg(tmp_path / "seg", label_map(), series, segments_of(LABELS), MAKER)

    rt, seg = pydicom.dcmread(tmp_path / "rt"), pydicom.dcmread(tmp_path / "seg")
    assert [roi.ROIName for roi in rt.StructureSetROISequence] == list(LABELS)
    assert "ContourSequence" not in rt.ROIContourSequence[2]
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == list(LABELS)
    assert seg.NumberOfFrames == 4  # liver in one slice, tumour in three


@pytest.mark.parametrize("as_label_map", [False, True])
def test_a_label_map_without_any_voxel_is_written(series, tmp_path, as_label_map):
    empty = np.zeros(series.shape, np.uint8)

    write_seg(
        tmp_path / "seg", empty, series, segments_of(LABELS), MAKER, as_label_map=as_label_map
    )

    assert not read_seg(tmp_path / "seg", series).any()


def test_the_same_again_is_the_same_file_but_for_its_times(series, tmp_path):
    times = ("InstanceCreation", "Content", "StructureSet")

    def content(name: str, labels: np.ndarray) -> tuple[str, str]:
        write_seg(tmp_path / f"{name}.seg", labels, series, segments_of(LABELS), MAKER)
        write_rtstruct(tmp_path / f"{name}.rt", labels, series, segments_of(LABELS), MAKER)
        found = []
        for ending in ("seg", "rt"):
            dataset = pydicom.dcmread(tmp_path / f"{name}.{ending}")
            for time in times:
                for part in ("Date", "Time"):
                    dataset.pop(f"{time}{part}", None)
            for equipment in dataset.get("ContributingEquipmentSequence", ()):
                equipment.ContributionDateTime = ""
            found.append(dataset.to_json())
        return found[0], found[1]

    first = content("first", label_map())
    assert content("second", label_map()) == first
    assert content("other", label_map()[:, ::-1]) != first
    write_rtstruct(tmp_path / "named.rt", label_map(), series, segments_of({"spleen": (1,)}), MAKER)
    files = [tmp_path / f"{name}.rt" for name in ("first", "other", "named")]
    assert len({pydicom.dcmread(file).SOPInstanceUID for file in files}) == 3


def test_regions_may_overlap_in_seg_and_rtstruct(series, tmp_path):
    segments = segments_of({"whole": (1, 2), "core": (2,)})
    write_seg(tmp_path / "seg", label_map(), series, segments, MAKER)
    write_rtstruct(tmp_path / "rt", label_map(), series, segments, MAKER)

    seg = highdicom.seg.segread(tmp_path / "seg")
    voxels = seg.get_volume().array.reshape(-1, 2).sum(0)
    assert voxels.tolist() == [(label_map() > 0).sum(), (label_map() == 2).sum()]
    rois = pydicom.dcmread(tmp_path / "rt").ROIContourSequence
    assert [len(roi.ContourSequence) for roi in rois] == [6, 4]


def test_a_full_disk_is_an_error_of_the_system_and_not_of_a_tag(series, tmp_path, monkeypatch):
    def write(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pydicom.filewriter.write_data_element", write)
    with pytest.raises(OSError, match=r"^\[Errno 28\] No space left on device$") as caught:
        write_rtstruct(tmp_path / "full", label_map(), series, segments_of(LABELS), MAKER)
    assert caught.value.strerror == "No space left on device"


def test_numbers_have_at_most_16_characters(tmp_path):
    series = source(tmp_path / "ct", "oblique")
    write_rtstruct(tmp_path / "rt", label_map(), series, segments_of(LABELS), MAKER)

    contour = pydicom.dcmread(tmp_path / "rt").ROIContourSequence[0].ContourSequence[0]
    assert max(len(str(number)) for number in contour.ContourData) <= 16


def test_codes_and_colours_come_from_a_file(series, tmp_path):
    liver = {"value": "10200004", "scheme": "SCT", "meaning": "Liver"}
    file = tmp_path / "codes.json"
    entry = {"type": liver, "color": [1, 2, 3], "roi_type": "ORGAN"}
    file.write_text(json.dumps({"liver": entry}))
    segments = segments_of(LABELS, file)

    write_seg(tmp_path / "seg", label_map(), series, segments, MAKER)
    write_rtstruct(tmp_path / "rt", label_map(), series, segments, MAKER)

    first, second, _ = pydicom.dcmread(tmp_path / "seg").SegmentSequence
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert second.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "99UMAMBA"
    assert first.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == MAKER.version
    rt = pydicom.dcmread(tmp_path / "rt")
    assert rt.ROIContourSequence[0].ROIDisplayColor == [1, 2, 3]
    assert [o.RTROIInterpretedType for o in rt.RTROIObservationsSequence] == ["ORGAN", "", ""]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"livr": {}}, "'livr', which is not a label of the model; did you mean liver?"),
        ({"liver": {"colour": [1, 2, 3]}}, "'colour' is not understood"),
        ({"liver": 3}, "give an object with type, category, color, roi_type"),
        ({"liver": {"type": {"value": "1", "scheme": "SCT"}}}, "is not a code of DICOM"),
        ({"liver": {"type": {"value": "1" * 17, "scheme": "S", "meaning": "M"}}}, "at most 16"),
        ({"liver": {"color": [1, 2, 256]}}, "is not three whole numbers from 0 to 255"),
        ({"liver": {"roi_type": "organ"}}, "roi_type 'organ' does not exist; choose one of ORGAN"),
    ],
)
def test_codes_that_do_not_fit_are_refused(tmp_path, content, expected):
    file = tmp_path / "codes.json"
    file.write_text(json.dumps(content))

    with pytest.raises(UMambaError, match=expected) as caught:
        segments_of(LABELS, file)

    assert "\n" not in str(caught.value)


def test_a_series_that_was_resampled_is_refused(tmp_path):
    positions = [(0, 0, z) for z in (0, 2, 4, 7, 9)]
    write_series(tmp_path / "ct", np.zeros((5, 9, 11), np.int16), positions=positions)
    (series,) = find_series(tmp_path / "ct", resample=True).series
    labels = np.zeros(series.shape, np.uint8)

    with pytest.raises(SeriesError, match=r"resampled.*--output-format nifti"):
        write_seg(tmp_path / "seg", labels, series, segments_of(LABELS), MAKER)

    with pytest.raises(SeriesError, match="resampled"):
        write_rtstruct(tmp_path / "rt", labels, series, segments_of(LABELS), MAKER)
    assert not (tmp_path / "seg").exists()


def test_a_label_map_on_another_grid_is_refused(series, tmp_path):
    with pytest.raises(SeriesError, match="not on the grid of the series"):
        write_seg(tmp_path / "seg", label_map()[1:], series, segments_of(LABELS), MAKER)
