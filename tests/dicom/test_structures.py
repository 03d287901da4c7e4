"""Label maps from RTSTRUCT and SEG."""

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_files import edit, write_series
from umamba.dicom.derived import Maker
from umamba.dicom.finding import find_series
from umamba.dicom.roi_rules import RoiRules, roi_patterns
from umamba.dicom.rtstruct_writing import write_rtstruct
from umamba.dicom.seg_writing import write_seg
from umamba.dicom.segments import segments_of
from umamba.dicom.series import SeriesError
from umamba.dicom.structures import read_structures
from umamba.errors import UMambaError
from umamba.images.files import read_image

MAKER = Maker("model", "1")
OBLIQUE = (0.8, 0.6, 0, -0.48, 0.64, 0.6)
LABELS = {"liver": 1, "tumour": 2}


def label_map() -> np.ndarray:
    """Return labels with a hole, an island in it, and single voxels."""
    labels = np.zeros((5, 9, 11), np.uint8)
    labels[1, 1:8, 1:9] = 1
    labels[1, 2:7, 2:7] = 0
    labels[1, 4, 4] = 1
    labels[2, 8, 0] = labels[3, 3, 3] = labels[3, 4, 4] = labels[4, 0, 10] = 2
    return labels


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    step = np.cross(OBLIQUE[:3], OBLIQUE[3:]) * -2.5
    positions = [np.array([-10.5, 20.25, 30.125]) + n * step for n in range(5)]
    folder = tmp_path_factory.mktemp("series")
    write_series(folder, np.zeros((5, 9, 11), np.int16), positions=positions, axes=OBLIQUE)
    return find_series(folder).series[0]


@pytest.fixture(scope="module")
def written(series, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    segments = segments_of({name: (value,) for name, value in LABELS.items()})
    write_rtstruct(folder / "rtstruct", label_map(), series, segments, MAKER)
    write_seg(folder / "seg", label_map(), series, segments, MAKER)
    write_seg(folder / "labelmap", label_map(), series, segments, MAKER, as_label_map=True)
    return folder


def read(path: Path, series, rules: RoiRules):
    return rules.label_map(read_structures(path), series.geometry, series.shape)


@pytest.mark.parametrize("kind", ["rtstruct", "seg", "labelmap"])
def test_a_label_map_comes_back_from_what_was_written(written, series, kind):
    structures = read_structures(written / kind)
    labels, notes = read(written / kind, series, RoiRules(LABELS, {}))

    assert np.array_equal(labels, label_map())
    assert structures.names == tuple(LABELS)
    assert structures.series_uids == (series.head.uid,)
    assert not notes


def changed(path: Path, target: Path, change) -> Path:
    content = pydicom.dcmread(path)
    change(content)
    content.save_as(target)
    return target


def contours(content, roi: int):
    return content.ROIContourSequence[roi].ContourSequence


def moved(contour, step) -> None:
    points = np.reshape(np.array(contour.ContourData, float), (-1, 3)) + step
    contour.ContourData = [f"{x:.6f}" for x in points.ravel()]


def test_contours_between_slices_belong_to_the_nearest_one(written, series, tmp_path):
    normal = np.cross(OBLIQUE[:3], OBLIQUE[3:])

    def change(content):
        for contour in contours(content, 0):
            moved(contour, 0.4 * 2.5 * normal)

    path = changed(written / "rtstruct", tmp_path / "rt", change)
    labels, _ = read(path, series, RoiRules(LABELS, {}))
    assert np.array_equal(labels, label_map())


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (np.cross(OBLIQUE[:3], OBLIQUE[3:]) * 50, "not in the image; pair it with the series"),
        (np.arange(36).reshape(-1, 3)[:10] * 1.0, "is not parallel to the slices"),
    ],
)
def test_contours_of_another_series_are_refused(written, series, tmp_path, step, expected):
    def change(content):
        contour = contours(content, 0)[0]
        moved(
            contour, step if step.ndim == 1 else np.resize(step, (contour.NumberOfContourPoints, 3))
        )

    path = changed(written / "rtstruct", tmp_path / "rt", change)
    with pytest.raises(SeriesError, match=expected):
        read(path, series, RoiRules(LABELS, {}))


def test_points_and_open_contours_are_left_out_with_a_note(written, series, tmp_path):
    def change(content):
        contours(content, 1)[0].ContourGeometricType = "OPEN_PLANAR"

    path = changed(written / "rtstruct", tmp_path / "rt", change)
    labels, notes = read(path, series, RoiRules(LABELS, {}))
    assert (labels == 2).sum() == (label_map() == 2).sum() - 1
    assert notes == ("1 points and open contours, which enclose nothing, are not used",)


def test_voxels_that_two_labels_share_are_counted(series, tmp_path):
    segments = segments_of({"organ": (1, 2), "tumour": (2,)})
    write_rtstruct(tmp_path / "rt", label_map(), series, segments, MAKER)

    labels, notes = read(tmp_path / "rt", series, RoiRules({"organ": 1, "tumour": 2}, {}))

    assert np.array_equal(labels, label_map())
    assert notes == ("4 voxels lie in both organ and tumour, and become tumour",)


def test_names_of_rois_are_matched_by_patterns(written):
    structures = read_structures(written / "rtstruct")

    assert RoiRules({"x": 1}, {"x": ("LIV*",)}).chosen(structures.names) == {"x": [0]}
    assert RoiRules({"x": 1}, {"x": ("liver", "t?mour")}).chosen(structures.names) == {"x": [0, 1]}
    text, fix = RoiRules({"liver": 1, "spleen": 2}, {}).problem(structures)
    assert text == "no ROI for spleen (its ROIs: liver, tumour)"
    assert fix.startswith("give --rois spleen=PATTERN")
    assert RoiRules({"liver": 1, "spleen": 2}, {}, may_lack=True).problem(structures) is None
    text, _ = RoiRules({"liver": 1, "all": 2}, {"all": ("*",)}).problem(structures)
    assert text == "ROI 'liver' fits several labels"


def test_patterns_come_from_texts_and_files(tmp_path):
    file = tmp_path / "rois.json"
    file.write_text('{"liver": ["Liver*", "Leber"], "tumour": "GTV"}')

    assert roi_patterns(["liver=L*", str(file)]) == {
        "liver": ("L*", "Liver*", "Leber"),
        "tumour": ("GTV",),
    }
    with pytest.raises(UMambaError, match="--rois liver: give LABEL=PATTERN"):
        roi_patterns(["liver="])
    with pytest.raises(UMambaError, match="--rois names spleen, which is not one of the labels"):
        RoiRules(LABELS, {"spleen": ("S*",)})


def test_other_files_and_torn_ones(written, series, tmp_path):
    assert read_structures(series.planes[0].path) is None
    (tmp_path / "torn").write_bytes((written / "rtstruct").read_bytes()[:900])
    with pytest.raises(SeriesError, match="torn, or not a valid RTSTRUCT or SEG"):
        read_structures(tmp_path / "torn")
    edit(written / "seg", SegmentationType="FRACTIONAL")
    with pytest.raises(SeriesError, match="export it as BINARY or LABELMAP"):
        read_structures(written / "seg")


def test_keyholes_and_holes_without_them_are_the_same(written, series, tmp_path):
    """A contour in another one is a hole as well, as other software writes it."""

    def change(content):
        first = contours(content, 0)
        axes = np.reshape(series.geometry.direction, (3, 3)) * series.geometry.spacing
        loops = [(0.5, 0.5, 8.5, 7.5), (1.5, 1.5, 6.5, 6.5), (3.5, 3.5, 4.5, 4.5)]
        del first[1:]
        for x0, y0, x1, y1 in loops:
            corners = np.array([(x0, y0, 1), (x1, y0, 1), (x1, y1, 1), (x0, y1, 1)])
            points = corners @ axes.T + series.geometry.origin
            contour = pydicom.Dataset()
            contour.ContourGeometricType = "CLOSEDPLANAR_XOR"
            contour.ContourData = [f"{x:.6f}" for x in points.ravel()]
            first.append(contour)
        del first[0]

    path = changed(written / "rtstruct", tmp_path / "rt", change)
    labels, _ = read(path, series, RoiRules(LABELS, {}))
    assert np.array_equal(labels, label_map())


DATA = Path(os.environ.get("UMAMBA_TEST_DATA", "missing")) / "sts_dicom"


@pytest.mark.skipif(not DATA.is_dir(), reason="needs sts_dicom in $UMAMBA_TEST_DATA")
@pytest.mark.parametrize("modality", ["CT", "MR_T1", "PET"])
@pytest.mark.parametrize("patient", ["STS_001", "STS_002", "STS_003"])
def test_masks_of_the_ibsi_sarcomas_are_the_published_ones(patient, modality):
    (series,) = find_series(DATA / "dicom" / patient / modality / "image").series
    path = DATA / "dicom" / patient / modality / "mask" / "RS.dcm"
    published = read_image(DATA / "nifti" / patient / f"{modality}_mask.nii.gz")

    labels, _ = read(path, series, RoiRules({"tumour": 1}, {"tumour": ("GTV_Mass*",)}))

    assert np.array_equal(labels, published.array[0])
