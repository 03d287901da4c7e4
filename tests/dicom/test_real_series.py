"""Real series: those that others published as NIfTI, and those that readers stumble over."""

import numpy as np
import pytest
import SimpleITK

from umamba.dicom.finding import find_series
from umamba.dicom.pixels import read_series
from umamba.dicom.series import SeriesError
from umamba.images.files import read_image

ODD = "dicom_odd/dicom2nifti"
TILTED = "its slices are tilted by {} degrees against their stack (a tilted gantry)"
MISSING = "1 slice is missing (slices 3 and 4 of 4 are {} mm apart, others {} mm)"
PATIENTS = [
    "STS_002",
    pytest.param("STS_001", marks=pytest.mark.slow),
    pytest.param("STS_003", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("kind", ["CT", "MR_T1", "PET"])
@pytest.mark.parametrize("patient", PATIENTS)
def test_a_series_is_what_its_publishers_made_of_it(shared_data, patient, kind):
    """The oracle is the NIfTI that the IBSI made with MIRP (CC BY 3.0)."""
    (series,) = find_series(shared_data / "sts_dicom/dicom" / patient / kind).series
    published = read_image(shared_data / "sts_dicom/nifti" / patient / f"{kind}_image.nii.gz")
    assert np.array_equal(read_series(series), published.array[0])
    assert published.geometry is not None
    assert not series.geometry.differences(published.geometry)


@pytest.mark.parametrize(
    "name",
    [
        *(f"generic/compressed{kind}/001" for kind in ("", "_jpeg", "_jpegls", "_j2k", "_rle")),
        *("hitachi/anatomical/001", "hitachi/anatomical/001_implicit"),
        *("philips_enhanced/anatomical/001", "philips_enhanced/anatomical/001_implicit"),
        *("siemens_multiframe/anatomical/001", "failing/slicecount/001"),
    ],
)
def test_an_odd_series_is_what_dicom2nifti_made_of_it(shared_data, name):
    """Compressed, oblique, implicit, multi-frame, and of two slices (MIT)."""
    (series,) = find_series(shared_data / ODD / name).series
    ours = SimpleITK.GetImageFromArray(read_series(series))
    ours.SetOrigin(series.geometry.origin)
    ours.SetSpacing(series.geometry.spacing)
    ours.SetDirection(series.geometry.direction)
    theirs = SimpleITK.ReadImage(str(shared_data / ODD / f"{name}_ground_truth.nii.gz"))
    ours, theirs = (SimpleITK.DICOMOrient(image, "RAS") for image in (ours, theirs))
    arrays = (SimpleITK.GetArrayFromImage(image) for image in (ours, theirs))
    np.testing.assert_allclose(*arrays, rtol=3e-7)  # theirs are rounded to float32 twice
    for place in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(ours, place)(), getattr(theirs, place)(), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (f"{ODD}/failing/gantrytilting/001", TILTED.format(14)),
        (f"{ODD}/failing/sliceincrement/001", MISSING.format(10, 5)),
        (
            f"{ODD}/failing/sliceincrement/002",
            f"{TILTED.format(15.5)} and {MISSING.format(1.499, 0.7497)}",
        ),
        (
            "dicom_odd/dcm_qa_ct/GE",
            f"{TILTED.format(18.5)} and the gaps between its slices are unequal "
            "(1.081 to 6.999 mm, median 4.002 mm)",
        ),
    ],
)
def test_slices_on_no_regular_grid_are_refused_unless_resampled(shared_data, name, reason):
    (failed,) = find_series(shared_data / name).failed
    assert failed.reason == f"{reason}; export the series again, or add --resample-irregular"
    (series,) = find_series(shared_data / name, resample=True).series
    assert series.notes[0].startswith(f"resampled, because {reason}: ")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("failing/notavolume/001", "its 4 slices lie in only 1 places; export one image of each"),
        ("failing/sliceorientation/001", "its slices have 2 orientations (2 + 2 slices); export"),
    ],
)
def test_what_is_no_stack_is_refused(shared_data, name, reason):
    (failed,) = find_series(shared_data / ODD / name, resample=True).failed
    assert failed.reason.startswith(reason)


def test_secondary_captures_in_colour_are_left_out(shared_data):
    found = find_series(shared_data / ODD / "generic" / "rgb" / "001")
    assert (found.series, found.failed) == ((), ())
    assert found.notes == (
        "left out, because they are not slices of a volume: 4 secondary captures",
    )


def test_a_tilted_head_is_sheared_upright(shared_data):
    """Every voxel of a source slice lies where its header says, to a part of a pixel."""
    (series,) = find_series(shared_data / ODD / "failing/gantrytilting/001", resample=True).series
    voxels = read_series(series)
    direction = np.reshape(series.geometry.direction, (3, 3))
    for number, plane in enumerate(series.planes):
        inside = direction.T @ (np.array(plane.position) - series.geometry.origin)
        x, y, z = inside / series.geometry.spacing
        assert z == pytest.approx(number, abs=1e-3)
        assert abs(x - round(x)) < 1e-3
        row = 250  # of the slice, between two rows of the grid
        below = int(np.floor(y + row))
        part = y + row - below
        source = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(plane.path)))[0, row]
        above_row = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(plane.path)))[0, row + 1]
        between = source * part + above_row * (1 - part)
        np.testing.assert_allclose(voxels[number, below + 1, :512], between, atol=1e-2)


def test_a_decoder_that_ends_its_process_is_an_error_of_the_series(shared_data, tmp_path):
    """The gdcm of python-gdcm aborts at this damage to lossless JPEG."""
    source = sorted((shared_data / ODD / "generic/compressed_jpeg/001").iterdir())[1]
    content = bytearray(source.read_bytes())
    start = content.find(b"\xff\xd8\xff")
    content[start : start + 40] = b"\xff\xd9" * 20
    (tmp_path / "a.dcm").write_bytes(content)
    (series,) = find_series(tmp_path).series
    with pytest.raises(SeriesError, match="pixels of a slice are torn"):
        read_series(series)
