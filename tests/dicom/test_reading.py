"""Volumes from DICOM: order, geometry, true values, and what is left out or refused."""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLosslessSV1

from dicom_files import ENHANCED_MR, MR, PET, edit, enhanced, write_series
from umamba.dicom.finding import find_series
from umamba.dicom.library import quiet_pydicom
from umamba.dicom.pixels import read_series
from umamba.dicom.series import Series, SeriesError
from umamba.images.dicom_files import counts_as_dicom, holds_dicom

STORED = np.random.default_rng(3).integers(-900, 2000, (5, 4, 6)).astype(np.int16)


def only(folder) -> Series:
    found = find_series(folder)
    assert not found.failed, found.failed
    (series,) = found.series
    return series


def reason(folder, **options) -> str:
    found = find_series(folder, **options)
    assert not found.series
    (failed,) = found.failed
    return failed.reason


def test_slices_are_sorted_by_place_in_any_nesting(tmp_path):
    paths = write_series(tmp_path / "a" / "b", STORED)
    (tmp_path / "c").mkdir()
    paths[2].rename(tmp_path / "c" / "0.dcm")
    series = only(tmp_path)
    assert np.array_equal(read_series(series), STORED)
    assert series.geometry.spacing == (0.7, 0.8, 2.5)
    assert series.geometry.origin == (-10, -20, 30)
    assert series.head.modality == "CT"
    assert series.planes[2].path == tmp_path / "c" / "0.dcm"


def test_the_grid_of_an_oblique_series_maps_every_voxel_to_its_place(tmp_path):
    row = np.array([0.8, 0.6, 0])
    column = np.array([0, 0, -1.0])
    normal = np.cross(row, column)
    places = [np.array([5, 6, 7]) + 3.1 * n * normal for n in range(5)]
    write_series(tmp_path, STORED, positions=places[::-1], axes=[*row, *column])
    series = only(tmp_path)
    assert np.array_equal(read_series(series), STORED[::-1])
    geometry = series.geometry
    direction = np.reshape(geometry.direction, (3, 3))
    last = geometry.origin + direction @ (np.array(geometry.spacing) * (5, 3, 4))
    assert np.allclose(last, places[4] + 5 * 0.7 * row + 3 * 0.8 * column, atol=1e-6)


def test_rescaling_is_that_of_each_slice(tmp_path):
    def change(number, ds):
        ds.RescaleSlope, ds.RescaleIntercept = 0.5 + number, -3

    write_series(tmp_path, STORED, sop_class=PET, change=change)
    voxels = read_series(only(tmp_path))
    assert voxels.dtype == np.float32
    slopes = np.arange(5)[:, None, None] + 0.5
    assert np.allclose(voxels, STORED * slopes - 3, rtol=1e-6)


@pytest.mark.parametrize(("intercept", "kind"), [(-1024, np.int16), (-40000, np.int32)])
def test_hounsfield_units_stay_integers(tmp_path, intercept, kind):
    def change(_, ds):
        ds.RescaleSlope, ds.RescaleIntercept = 1, intercept
        ds.BitsStored, ds.HighBit = 12, 11

    write_series(tmp_path, STORED, change=change)
    voxels = read_series(only(tmp_path))
    assert voxels.dtype == kind
    assert np.array_equal(voxels, STORED.astype(int) + intercept)


@pytest.mark.parametrize(("sop_class", "first"), [(MR, 4095 - 7), (PET, 7)])
def test_monochrome1_is_turned_over_unless_values_have_a_unit(tmp_path, sop_class, first):
    def change(_, ds):
        ds.PhotometricInterpretation, ds.PixelRepresentation = "MONOCHROME1", 0
        ds.BitsStored, ds.HighBit = 12, 11

    write_series(tmp_path, np.full((2, 3, 3), 7), sop_class=sop_class, change=change)
    assert (read_series(only(tmp_path)) == first).all()


def test_frames_of_an_enhanced_file_are_slices(tmp_path):
    enhanced(tmp_path / "e.dcm", STORED, [1, 2, 3, 4, 5], "1.2.3")
    series = only(tmp_path)
    assert series.head.sop_class_uid == ENHANCED_MR
    assert [plane.frame for plane in series.planes] == [4, 3, 2, 1, 0]
    expected = STORED * np.arange(1, 6)[:, None, None] + 1
    assert np.array_equal(read_series(series), expected)


def test_series_of_several_patients_are_told_apart(tmp_path):
    for number in range(3):
        folder = tmp_path / f"p{number}"

        def change(_, ds, number=number):
            ds.PatientID = f"p{number}"

        write_series(folder, STORED[: number + 2], uid=f"1.2.{number}", change=change)
    found = find_series(tmp_path)
    assert [(s.head.patient_id, s.shape[0]) for s in found.series] == [
        ("p0", 2),
        ("p1", 3),
        ("p2", 4),
    ]


def test_what_is_no_volume_is_left_out_with_a_note(tmp_path):
    write_series(tmp_path / "a", STORED)
    (tmp_path / "notes.txt").write_text("none")

    def overview(_, ds):
        ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    def capture(_, ds):
        ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"

    def report(_, ds):
        ds.Modality = "SR"
        del ds.Rows, ds.PixelData

    for name, change in (("b", overview), ("c", capture), ("d", report)):
        write_series(tmp_path / name, STORED[:2], uid=f"1.2.{ord(name)}", change=change)
    found = find_series(tmp_path)
    assert len(found.series) == 1
    assert not found.failed
    (note,) = found.notes
    assert "2 SR objects, 1 file that is not DICOM, 2 localizers, 2 secondary captures" in note


def test_copies_of_files_count_once(tmp_path):
    write_series(tmp_path / "a", STORED)
    write_series(tmp_path / "b", STORED[:2])
    series = only(tmp_path)
    assert series.shape == (5, 4, 6)
    assert series.notes == ("2 slices were there twice, and are used once",)


def at(heights, tilt=0.0):
    return [(-10.0, tilt * z, z) for z in heights]


@pytest.mark.parametrize(
    ("places", "text"),
    [
        (at([0, 2, 4, 8, 10]), "1 slice is missing (slices 3 and 4 of 5 are 4 mm apart, others 2"),
        (at([0, 2, 4, 7, 10]), "the gaps between its slices are unequal (2 to 3 mm, median 2.5"),
        (at([0, 2, 2, 4, 6]), "its 5 slices lie in only 4 places; export one image of each place"),
        (at([0, 2, 4, 6, 8], tilt=0.25), "its slices are tilted by 14 degrees against their stack"),
        ([(0, 3 * (n == 2), n) for n in range(5)], "shifted against each other by up to 3.75"),
    ],
)
def test_irregular_places_are_refused_with_their_numbers(tmp_path, places, text):
    write_series(tmp_path, STORED, positions=places)
    assert text in reason(tmp_path)


def test_a_slice_far_from_all_others_is_refused_even_if_it_may_be_resampled(tmp_path):
    write_series(tmp_path, STORED, positions=at([0, 0.002, 0.004, 0.006, 90000]))
    text = "a grid of 45000001 x 4 x 6 voxels; remove the slices that lie apart"
    assert text in reason(tmp_path, resample=True)


def test_places_that_are_rounded_are_regular(tmp_path):
    write_series(tmp_path, STORED, positions=at([0, 0.33, 0.67, 1, 1.33]))
    assert only(tmp_path).geometry.spacing[2] == pytest.approx(1.33 / 4)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "2 orientations (4 + 1 slices)"),
        ({"PixelSpacing": [0.8, 0.9]}, "differ in pixel size (0.8 x 0.7, 0.8 x 0.9 mm)"),
        ({"PixelSpacing": [0, 0.9]}, "its pixel size (PixelSpacing) is 0 x 0.9 (1 of 5 files)"),
        ({"ImagePositionPatient": None}, "does not state its place (ImagePositionPatient)"),
        ({"FrameOfReferenceUID": "1.2"}, "its slices belong to 2 frames of reference"),
        ({"PatientID": "other"}, "its files name several patients"),
        ({"RescaleSlope": 0}, "RescaleSlope 0 and RescaleIntercept 0 give no true values"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colours (RGB)"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colours (PALETTE COLOR)"),
        ({"NumberOfFrames": 7}, "it has 7 frames without a place for each"),
    ],
)
def test_slices_that_do_not_fit_are_refused(tmp_path, values, text):
    paths = write_series(tmp_path, STORED)
    edit(paths[3], **values)
    assert text in reason(tmp_path)


def test_slices_of_two_sizes_are_refused(tmp_path):
    write_series(tmp_path / "a", STORED[:3])
    places = [(-10, -20, 40 + 2.5 * n) for n in range(2)]
    write_series(tmp_path / "b", STORED[:2, :3], positions=places)
    for number, path in enumerate(sorted((tmp_path / "b").iterdir())):
        edit(path, SOPInstanceUID=f"1.2.{number}")
    assert "differ in size (3 of 4 x 6, 2 of 3 x 6 pixels)" in reason(tmp_path)


def test_a_torn_file_is_reported_and_the_rest_of_the_folder_read(tmp_path):
    paths = write_series(tmp_path / "a", STORED)
    write_series(tmp_path / "b", STORED, uid="1.2.9")
    paths[1].write_bytes(paths[1].read_bytes()[:200])
    (tmp_path / "empty.dcm").touch()
    found = find_series(tmp_path)
    assert [series.head.uid for series in found.series] == ["1.2.9"]
    reasons = sorted(failed.reason for failed in found.failed)
    assert "1 slice is missing" in reasons[0]
    torn = "the file is empty, or not DICOM; replace the file, or remove it"
    assert reasons[1:] == [torn, torn]


def test_torn_pixels_are_an_error_of_the_series(tmp_path):
    paths = write_series(tmp_path, STORED)
    ds = pydicom.dcmread(paths[0])
    ds.PixelData = ds.PixelData[:10]
    ds.save_as(paths[0])
    with pytest.raises(SeriesError, match="pixels of a slice are torn"):
        read_series(only(tmp_path))


def test_a_folder_without_dicom_is_none(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"x" * 200)
    assert not holds_dicom(tmp_path)
    write_series(tmp_path / "deep", STORED[:1])
    assert holds_dicom(tmp_path)
    assert only(tmp_path).notes == ("it has one slice, which is taken for 2.5 mm thick",)


def test_a_decoder_that_hangs_is_ended(tmp_path, monkeypatch):
    paths = write_series(tmp_path, STORED)
    for path in paths:
        ds = pydicom.dcmread(path)
        ds.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        ds.PixelData = encapsulate([ds.PixelData])
        ds.save_as(path)
    series = only(tmp_path)
    first = series.planes[0].path
    first.unlink()
    os.mkfifo(first)  # opening it waits for ever
    monkeypatch.setattr("umamba.dicom.decoding.MOST_SECONDS", 0.2)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_series, series)
        done, _ = wait([reading], timeout=20)
        if not done:
            first.write_bytes(b"")
        assert done
    with pytest.raises(SeriesError, match="pixels of a slice are torn"):
        reading.result()


def test_a_multi_frame_file_is_opened_once_for_all_its_slices(tmp_path, monkeypatch):
    enhanced(tmp_path / "e.dcm", STORED, [1] * 5, "1.2.3")
    series = only(tmp_path)
    opened = []
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda p, *a, **k: opened.append(p) or real(p, *a, **k))
    assert np.array_equal(read_series(series), STORED + 1)
    assert opened.count(tmp_path / "e.dcm") == 1


def test_pydicom_is_quiet_until_the_last_thread_is_done(caplog):
    first, second = quiet_pydicom(), quiet_pydicom()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as another thread may do
        pydicom.Dataset().PatientBirthDate = "1941-02-03"
    second.__exit__(None, None, None)
    assert not caplog.records
    with pytest.warns(UserWarning, match="Invalid value"):
        pydicom.Dataset().PatientBirthDate = "1941-02-03"


@pytest.mark.parametrize(
    ("file", "options", "expected"),
    [
        ("viewer/logo.png", {"pictures": False}, True),
        ("viewer/logo.png", {"pictures": True}, False),
        ("viewer/logo.png", {"pictures": True, "deep": False}, True),
        ("a.nii.gz", {"pictures": False, "deep": False}, False),
        ("sub/a.nii.gz", {"pictures": False}, False),
        ("sub/a.nii.gz", {"pictures": False, "deep": False}, True),
    ],
)
def test_a_folder_counts_as_dicom_unless_it_holds_other_images(tmp_path, file, options, expected):
    paths = write_series(tmp_path / "study", STORED[:1])
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    assert counts_as_dicom(tmp_path, **options) == expected
    assert counts_as_dicom(tmp_path, pictures=True, besides=[tmp_path / file])
    assert counts_as_dicom(paths[0], pictures=True)
    assert not counts_as_dicom(tmp_path / file, pictures=False)
