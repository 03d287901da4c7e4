"""Cases from DICOM: which series they take, their names and files, and SUV."""

import json
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest

from dicom_files import MR, PATIENT, PET, edit, write_series
from full_disks import no_room_beyond
from umamba.dicom.series import SeriesError
from umamba.dicom.studies import FoundStudies, StudyOptions, find_studies, write_case
from umamba.errors import DatasetError, UMambaError
from umamba.images.files import read_image

STORED = np.random.default_rng(5).integers(0, 900, (4, 5, 6)).astype(np.int16)
UID = "1.2.826.0.1.3680043.9.7777"


def study(tmp_path: Path, channels=("CT",), **options: object) -> FoundStudies:
    key = tmp_path / "key.json"
    return find_studies(tmp_path / "in", channels, StudyOptions(**options), key)


def describe(text):
    def change(_, ds):
        ds.SeriesDescription = text

    return change


def pet_and_ct(tmp_path: Path, step: float = 2.5) -> None:
    write_series(tmp_path / "in" / "ct", STORED, uid=f"{UID}.1")
    places = [(-10, -20, 30 + step * n) for n in range(4)]
    write_series(
        tmp_path / "in" / "pet", STORED * 2, uid=f"{UID}.2", sop_class=PET, positions=places
    )


def test_every_series_is_a_case_under_a_name_that_stays(tmp_path):
    write_series(tmp_path / "in" / "a", STORED, uid=f"{UID}.1")
    first = study(tmp_path)
    write_series(tmp_path / "in" / "b", STORED, uid=f"{UID}.2")
    again = study(tmp_path)
    assert again.cases[0].name == first.cases[0].name
    assert len({case.name for case in again.cases}) == 2
    known = json.loads((tmp_path / "key.json").read_text())["cases"]
    assert known[first.cases[0].name] == {
        "patient_id": PATIENT["PatientID"],
        "study_uid": PATIENT["StudyInstanceUID"],
        "series_uids": [f"{UID}.1"],
        "path": "a",
        "suv": False,
    }
    assert stat.S_IMODE((tmp_path / "key.json").stat().st_mode) == 0o600


def test_a_lost_key_gives_new_names(tmp_path):
    write_series(tmp_path / "in", STORED)
    before = study(tmp_path).cases[0].name
    (tmp_path / "key.json").unlink()
    assert study(tmp_path).cases[0].name != before


@pytest.mark.parametrize("text", ["{}", '{"umamba_key": 2, "about": "", "cases": {}}', "x"])
def test_a_file_that_is_no_key_is_kept(tmp_path, text):
    write_series(tmp_path / "in", STORED)
    (tmp_path / "key.json").write_text(text)
    with pytest.raises(UMambaError, match=r"key\.json"):
        study(tmp_path)
    assert (tmp_path / "key.json").read_text() == text


@pytest.mark.parametrize("chosen", [f"{UID}.1", "*ax*portal*", "mr"])
def test_a_series_is_chosen_by_uid_description_or_modality(tmp_path, chosen):
    one, two = describe("T1 ax Portal venous"), describe("T2 cor")
    write_series(tmp_path / "in" / "a", STORED, uid=f"{UID}.1", sop_class=MR, change=one)
    write_series(tmp_path / "in" / "b", STORED, uid=f"{UID}.2", change=two)
    (case,) = study(tmp_path, series=(chosen,)).cases
    assert case.series[0].head.uid == f"{UID}.1"


def test_nothing_chosen_says_what_is_there(tmp_path):
    pet_and_ct(tmp_path)
    with pytest.raises(DatasetError, match="2 series of CT, PT, but none that matches T1; change"):
        study(tmp_path, series=("T1",))


def test_channels_are_matched_within_a_study(tmp_path):
    pet_and_ct(tmp_path)
    (tmp_path / "map.json").write_text('{"SUV": ["PT"], "Density": "CT"}')
    for given in (("Density=CT", "SUV=PT"), (str(tmp_path / "map.json"),)):
        (case,) = study(tmp_path, ("Density", "SUV"), series=given).cases
        assert [series.head.modality for series in case.series] == ["CT", "PT"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((), "say which series is channel CT, by UID, .*: --series 'CT=...' 'PT=...'"),
        (("CT=CT", "PET=PT"), "--series PET=PT: give it as CHANNEL=PET=PT; channels: CT, PT"),
    ],
)
def test_channels_without_a_mapping_are_refused(tmp_path, given, text):
    pet_and_ct(tmp_path)
    with pytest.raises(DatasetError, match=text):
        study(tmp_path, ("CT", "PT"), series=given)


def test_channels_that_cannot_be_matched_are_named(tmp_path):
    pet_and_ct(tmp_path)
    found = study(tmp_path, ("CT", "MR"), series=("CT=CT", "MR=T1*"))
    (why,) = found.failed.values()
    assert why.startswith("channel MR: no series of the study matches T1*;")
    write_series(tmp_path / "in" / "more", STORED, uid=f"{UID}.3")
    (why,) = study(tmp_path, ("CT", "PT"), series=("CT=CT", "PT=PT")).failed.values()
    assert why.startswith("channel CT: 2 series of the study match CT; name one of them by its UID")


def test_channels_on_other_grids_are_resampled_only_when_asked(tmp_path):
    pet_and_ct(tmp_path, step=1.25)
    options = {"series": ("CT=CT", "PT=PT")}
    (why,) = study(tmp_path, ("CT", "PT"), **options).failed.values()
    assert "spacing (0.7, 0.8, 1.25) but (0.7, 0.8, 2.5); add --resample-channels" in why
    asked = StudyOptions(**options, resample_channels=True)
    (case,) = study(tmp_path, ("CT", "PT"), **vars(asked)).cases
    files = write_case(case, tmp_path, ".nii.gz", asked)
    ct, pet = (read_image(file) for file in files)
    assert pet.geometry == ct.geometry
    assert np.array_equal(ct.array[0], STORED)
    assert np.allclose(pet.array[0, :2], STORED[[0, 2]] * 2)
    assert (pet.array[0, 2:] == STORED.min() * 2).all()  # outside of its slices


def test_channels_of_other_frames_of_reference_are_refused(tmp_path):
    pet_and_ct(tmp_path)
    for path in (tmp_path / "in" / "pet").iterdir():
        edit(path, FrameOfReferenceUID="1.2.3")
    options = {"series": ("CT=CT", "PT=PT"), "resample_channels": True}
    (why,) = study(tmp_path, ("CT", "PT"), **options).failed.values()
    assert why.startswith("channel PT has another frame of reference than the first channel;")


def pet(tmp_path: Path, **values: object) -> None:
    def change(_, ds):
        from pydicom.dataset import Dataset

        drug = Dataset()
        drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = 370e6, 6586.2
        drug.RadiopharmaceuticalStartTime = "233000.0"
        ds.RadiopharmaceuticalInformationSequence = [drug]
        ds.Units, ds.DecayCorrection, ds.PatientWeight = "BQML", "START", 74
        ds.SeriesDate = ds.AcquisitionDate = "20190818"
        ds.SeriesTime, ds.AcquisitionTime = "003000", "003100.5"
        ds.CorrectedImage = ["DECY", "ATTN", "SCAT"]
        ds.RescaleSlope, ds.RescaleIntercept = 50, 0
        for name, value in values.items():
            setattr(ds, name, value)

    write_series(tmp_path / "in", STORED, sop_class=PET, change=change)


@pytest.mark.parametrize(
    ("values", "factor"),
    [
        ({}, 50 * 74000 / (370e6 * 2 ** (-3600 / 6586.2))),  # injected an hour before, at night
        ({"DecayCorrection": "ADMIN"}, 50 * 74000 / 370e6),
        ({"Units": "GML"}, 50),
    ],
)
def test_suv_is_activity_by_decayed_dose_and_weight(tmp_path, values, factor):
    pet(tmp_path, **values)
    (case,) = study(tmp_path, suv=True).cases
    (file,) = write_case(case, tmp_path, ".nii.gz", StudyOptions(suv=True))
    assert np.allclose(read_image(file).array[0], STORED.astype(float) * factor, rtol=1e-6)
    plain = study(tmp_path).cases[0]
    assert plain.name != case.name
    (file,) = write_case(plain, tmp_path, ".nii.gz", StudyOptions())
    assert np.array_equal(read_image(file).array[0], STORED.astype(int) * 50)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"CorrectedImage": "DECY"}, "does not say that attenuation and decay were corrected"),
        ({"CorrectedImage": None}, "does not say that attenuation and decay were corrected"),
        ({"Units": "CNTS"}, "its values have the units CNTS, not BQML"),
        ({"PatientWeight": None}, "does not state dose, half-life, times and weight"),
        ({"PatientWeight": 0}, "weight and decay correction START do not give SUV"),
        ({"SeriesTime": "003200"}, "began after it was acquired"),
        ({"RadiopharmaceuticalInformationSequence": []}, "does not state dose"),
    ],
)
def test_suv_without_what_it_needs_is_refused(tmp_path, values, text):
    pet(tmp_path, **values)
    (case,) = study(tmp_path, suv=True).cases
    with pytest.raises(SeriesError, match=text):
        write_case(case, tmp_path, ".nii.gz", StudyOptions(suv=True))


def test_suv_without_any_pet_is_refused(tmp_path):
    pet_and_ct(tmp_path)
    with pytest.raises(DatasetError, match=r"no series taken from .* is PET; leave --suv out"):
        study(tmp_path, suv=True, series=("CT",))


def test_a_name_stays_when_a_series_that_is_not_used_goes(tmp_path):
    pet_and_ct(tmp_path)
    paths = write_series(tmp_path / "in" / "more", STORED, uid=f"{UID}.3")
    edit(paths[1], Rows=2)
    options = {"series": ("CT=CT", "PT=PT")}
    (before,) = study(tmp_path, ("CT", "PT"), **options).cases
    shutil.rmtree(tmp_path / "in" / "more")
    (after,) = study(tmp_path, ("CT", "PT"), **options).cases
    assert before.name == after.name


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), "it does not fit into memory; use a machine with more"),
        (RuntimeError("ITK"), "cannot be resampled, or written .*; make room there"),
    ],
)
def test_a_series_that_cannot_be_written_is_an_error_of_its_own(tmp_path, monkeypatch, error, text):
    def fail(*_: object) -> None:
        raise error

    write_series(tmp_path / "in", STORED)
    (case,) = study(tmp_path).cases
    monkeypatch.setattr("umamba.dicom.studies.write_image", fail)
    with pytest.raises(SeriesError, match=text):
        write_case(case, tmp_path, ".nii.gz", StudyOptions())


def test_an_image_on_a_full_disk_is_not_used(tmp_path):
    """ITK cuts it off without an error, and its readers would blame the file."""
    write_series(tmp_path / "in", STORED)
    (case,) = study(tmp_path).cases
    message = "the disk of the folder for temporary files is full"
    with no_room_beyond(200), pytest.raises(SeriesError, match=message):
        write_case(case, tmp_path, ".nii.gz", StudyOptions())


def test_the_key_may_not_lie_in_what_is_shared(tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match="which may be shared"):
        StudyOptions(key=tmp_path / "out" / "key.json").key_beside(tmp_path / "out")
    assert StudyOptions().key_beside(tmp_path / "out") == tmp_path / "out.key.json"
    monkeypatch.chdir(tmp_path)
    for given in (".", "sub/.."):
        beside = tmp_path.with_name(f"{tmp_path.name}.key.json")
        assert StudyOptions().key_beside(Path(given)) == beside
