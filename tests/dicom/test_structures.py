"""Label maps from RTSTRUCT and SEG."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEGLSLossless, RLELossless

from dicom_files import edit, write_series
from umamba.dicom.derived import Maker
from umamba.dicom.finding import find_series
from umamba.dicom.image_grid import ImageGrid
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
    grid = ImageGrid(series.geometry, series.shape, series.head.frame_of_reference_uid)
    return rules.label_map(read_structures(path), grid)


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
    assert "1 points and open contours of 'tumour' are left out, as they enclose nothing" in notes


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
    shutil.copy(written / "seg", tmp_path / "seg")
    edit(tmp_path / "seg", SegmentationType="FRACTIONAL")
    with pytest.raises(SeriesError, match="export it as BINARY or LABELMAP"):
        read_structures(tmp_path / "seg")


@pytest.mark.parametrize(
    ("syntax", "plugin"), [(RLELossless, "pydicom"), (JPEGLSLossless, "pyjpegls")]
)
def test_compressed_segments_are_decoded(written, series, tmp_path, syntax, plugin):
    def change(content):
        content.PhotometricInterpretation = "MONOCHROME2"
        content.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)

    path = changed(written / "labelmap", tmp_path / "seg", change)
    assert np.array_equal(read(path, series, RoiRules(LABELS, {}))[0], label_map())


def drawn(series, target: Path, source: Path, *boxes: tuple[float, ...]) -> Path:
    """Draw rectangles from (x, y) to (x, y) in the plane z, in voxels, as the contours of liver."""

    def change(content):
        axes = np.reshape(series.geometry.direction, (3, 3)) * series.geometry.spacing
        contours(content, 0).clear()
        for x0, y0, x1, y1, z in boxes:
            corners = np.array([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)])
            points = corners @ axes.T + series.geometry.origin
            contour = pydicom.Dataset()
            contour.ContourGeometricType = "CLOSEDPLANAR_XOR"
            contour.ContourData = [f"{x:.6f}" for x in points.ravel()]
            contours(content, 0).append(contour)

    return changed(source, target, change)


def test_keyholes_and_holes_without_them_are_the_same(written, series, tmp_path):
    """A contour in another one is a hole as well, as other software writes it."""
    loops = [(0.5, 0.5, 8.5, 7.5, 1), (1.5, 1.5, 6.5, 6.5, 1), (3.5, 3.5, 4.5, 4.5, 1)]
    path = drawn(series, tmp_path / "rt", written / "rtstruct", *loops)
    labels, _ = read(path, series, RoiRules(LABELS, {}))
    assert np.array_equal(labels, label_map())


A, B, INSIDE_A = (0.5, 0.5, 3.5, 3.5), (4.5, 4.5, 7.5, 7.5), (1.5, 1.5, 3.5, 3.5)
CROSSING_A, BESIDE_CENTRES = (2.5, 2.5, 5.5, 5.5), (1.1, 1.1, 1.4, 1.4)


@pytest.mark.parametrize(
    ("boxes", "n_voxels", "note"),
    [
        ([(*A, 1), (*B, 1.05)], 18, ""),  # two islands, drawn a little apart
        ([(*A, 1), (*B, 1.3)], 9, "1 planes of contours of 'liver' are left out, as another one"),
        ([(*A, 1), (*A, 1.02)], 9, ""),  # the same one twice
        ([(*A, 1), (*INSIDE_A, 1)], 5, ""),
        ([(*A, 1), (*CROSSING_A, 1)], 16, "contours of 'liver' overlap in 1 slices; what two"),
        ([(*A, 1), (*BESIDE_CENTRES, 2)], 9, "contours of 'liver' enclose no voxel in 1 slices"),
        ([(*A, 0), (*A, 2), (*A, 3)], 27, "'liver' has contours in 3 of 4 slices from its first"),
    ],
)
def test_contours_that_a_mask_does_not_show_are_said(
    written, series, tmp_path, boxes, n_voxels, note
):
    path = drawn(series, tmp_path / "rt", written / "rtstruct", *boxes)

    labels, notes = read(path, series, RoiRules({"liver": 1}, {}))

    assert labels.sum() == n_voxels
    assert [note] == [text[: len(note)] for text in notes] if note else notes == ()


def test_the_same_contour_from_another_corner_is_used_once(written, series, tmp_path):
    def change(content):
        contour = contours(content, 0)[0]
        copy = pydicom.Dataset()
        copy.ContourGeometricType = "CLOSED_PLANAR"
        points = np.reshape(np.array(contour.ContourData, float), (-1, 3))
        turned = np.roll(points[::-1], 2, axis=0)
        copy.ContourData = [f"{x:.6f}" for x in np.concatenate([turned, turned[:1]]).ravel()]
        contours(content, 0).append(copy)

    path = changed(written / "rtstruct", tmp_path / "rt", change)
    assert np.array_equal(read(path, series, RoiRules(LABELS, {}))[0], label_map())


@pytest.mark.parametrize("kind", ["rtstruct", "seg", "labelmap"])
def test_what_was_drawn_in_another_frame_of_reference_is_refused(written, series, tmp_path, kind):
    def change(content):
        content.FrameOfReferenceUID = "1.2.3"
        for roi in content.get("StructureSetROISequence", ()):
            roi.ReferencedFrameOfReferenceUID = "1.2.3"

    path = changed(written / kind, tmp_path / "other", change)
    with pytest.raises(SeriesError, match="drawn in another frame of reference than that of"):
        read(path, series, RoiRules(LABELS, {}))


@pytest.mark.parametrize("change", ["four numbers", "no numbers"])
def test_a_damaged_contour_is_left_out_or_refused(written, series, tmp_path, change):
    def damage(content):
        contours(content, 1)[0].ContourData = ["1"] * 4 if change == "four numbers" else None

    path = changed(written / "rtstruct", tmp_path / "rt", damage)
    if change == "no numbers":
        assert (read(path, series, RoiRules(LABELS, {}))[0] == 2).sum() == 3
        return
    with pytest.raises(SeriesError, match="torn, or not a valid RTSTRUCT or SEG; export it again"):
        read(path, series, RoiRules(LABELS, {}))


def test_only_names_are_in_memory_and_nothing_after_them_need_be_valid(written, tmp_path):
    def change(content):
        contours(content, 0)[0].ContourData = ["0"] * 30000

    structures = read_structures(changed(written / "rtstruct", tmp_path / "rt", change))
    assert len(pickle.dumps(structures)) < 1000


def stack(folder: Path, places, pixel: float = 0.8, n_pixels: int = 9):
    """Return the series of square slices at some places along the patient."""
    stored = np.zeros((len(places), n_pixels, n_pixels), np.int16)
    write_series(
        folder,
        stored,
        positions=[(0, 0, z) for z in places],
        change=lambda _number, header: setattr(header, "PixelSpacing", [pixel, pixel]),
    )
    return find_series(folder).series[0]


def seg_of(series, path: Path, labels: np.ndarray) -> Path:
    write_seg(path, labels, series, segments_of({"tumour": (1,)}), MAKER)
    return path


def test_a_seg_is_read_from_slices_that_are_not_quite_even(tmp_path):
    """As a series is; and with empty slices between others, whose distance nothing states."""
    places = np.arange(7) * 2.5 + np.array([0, 0.045, -0.045, 0.03, 0.04, -0.02, 0])
    series = stack(tmp_path / "ct", places)
    labels = np.zeros(series.shape, np.uint8)
    labels[[0, 2, 5], 2:5, 3:8] = 1
    path = seg_of(series, tmp_path / "seg", labels)
    content = pydicom.dcmread(path)
    measures = content.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.pop("SpacingBetweenSlices", None)
    content.save_as(path)

    assert np.array_equal(read(path, series, RoiRules({"tumour": 1}, {}))[0], labels)


@pytest.mark.parametrize("finer", [(0.4, 17, 7), (0.8, 9, 13)])
def test_a_seg_on_a_coarser_grid_is_refused(tmp_path, finer):
    """All of its voxels are voxels of the image, but not all between them are its own."""
    pixel, n_pixels, n_slices = finer
    coarse = stack(tmp_path / "ct", np.arange(7) * 2.5)
    path = seg_of(coarse, tmp_path / "seg", np.ones(coarse.shape, np.uint8))
    series = stack(tmp_path / "fine", np.linspace(0, 15, n_slices), pixel, n_pixels)

    with pytest.raises(SeriesError, match=r"not those of the image, which are .* resample it"):
        read(path, series, RoiRules({"tumour": 1}, {}))


def test_a_seg_larger_than_the_image_is_refused(tmp_path):
    whole = stack(tmp_path / "ct", np.arange(7) * 2.5)
    path = seg_of(whole, tmp_path / "seg", np.ones(whole.shape, np.uint8))
    part = stack(tmp_path / "part", np.arange(5) * 2.5)

    with pytest.raises(SeriesError, match="it has voxels outside of the image; pair it with"):
        read(path, part, RoiRules({"tumour": 1}, {}))


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
