"""Evaluation of RTSTRUCT and SEG: as references, as predictions, and as both."""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_files import PATIENT, write_series
from umamba.cli.main import main
from umamba.dicom.derived import Maker
from umamba.dicom.finding import find_series
from umamba.dicom.pseudonyms import Identity, case_names
from umamba.dicom.rtstruct_writing import write_rtstruct
from umamba.dicom.seg_writing import write_seg
from umamba.dicom.segments import segments_of
from umamba.images.files import write_image

UID = "1.2.826.0.1.3680043.9.7777"


class Study:
    """A prediction named by a key file, and its series, whose reference is still missing."""

    def __init__(self, folder: Path) -> None:
        self.predictions, self.references = folder / "out", folder / "ref"
        write_series(folder / "ct", np.zeros((4, 6, 7), np.int16), uid=f"{UID}.1")
        (self.series,) = find_series(folder / "ct").series
        identity = Identity("P", "S", (self.series.head.uid,), ".")
        (self.case,) = case_names([identity], folder / "out.key.json")
        self.reference = np.zeros((4, 6, 7), np.uint8)
        self.reference[1, 1:5, 1:5], self.reference[2, 2:4, 2:4] = 1, 2
        self.prediction = self.reference.copy()
        self.prediction[1, 1, 1:5] = 0  # 12 of 16 voxels: Dice 24 / 28
        self.predictions.mkdir()
        self.references.mkdir()
        file = self.predictions / f"{self.case}.nii.gz"
        write_image(file, self.prediction, self.series.geometry)

    def segments(self, **labels: int):
        return segments_of({name: (value,) for name, value in labels.items()})

    def write(self, name: str = "RS.1.2.3.dcm", write=write_rtstruct, **labels: int) -> None:
        maker = Maker("clinician", "1")
        path = self.references / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, self.reference, self.series, self.segments(**labels), maker)

    def predict(self, write, ending: str, **labels: int) -> None:
        """Put the prediction as DICOM in the place of that as NIfTI."""
        (self.predictions / f"{self.case}.nii.gz").unlink(missing_ok=True)
        path = self.predictions / f"{self.case}{ending}"
        write(path, self.prediction, self.series, self.segments(**labels), Maker("model", "1"))

    def evaluate(self, capsys: pytest.CaptureFixture[str], *options: str):
        command = ["evaluate", str(self.predictions), str(self.references), "--workers", "1"]
        code = main([*command, "--json", *options])
        captured = capsys.readouterr()
        return code, json.loads(captured.out), captured.err


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def dice(result) -> dict[str, float]:
    return {row["label"]: row["metrics"]["dice"] for row in result["cases"]}


@pytest.mark.parametrize("write", [write_rtstruct, write_seg])
def test_references_are_found_by_the_series_that_they_refer_to(study, capsys, write):
    study.write(write=write, GTV_1=1, Node=2)
    (study.predictions / f"{study.case}.seg.dcm").write_bytes(b"of umamba predict")

    code, result, _ = study.evaluate(
        capsys, "--labels", "tumour=1", "node=2", "--rois", "tumour=gtv*"
    )

    assert code == 0
    assert dice(result) == {"tumour": pytest.approx(24 / 28), "node": 1.0}


def test_without_a_key_file_names_decide(study, tmp_path, capsys):
    (tmp_path / "out.key.json").unlink()
    study.write(f"{study.case}.dcm", tumour=1, node=2)
    code, result, _ = study.evaluate(capsys, "--labels", "tumour=1", "node=2")
    assert code == 0
    assert dice(result)["node"] == 1.0

    (study.references / f"{study.case}.dcm").rename(study.references / "RS.dcm")
    code, result, _ = study.evaluate(capsys, "--labels", "tumour=1", "node=2")
    assert code == 2
    assert "name it like its prediction, or give --key" in result["error"]


def test_a_label_without_a_roi_is_said(study, capsys):
    study.write(tumour=1)
    labels = ("--labels", "tumour=1", "node=2")

    code, result, _ = study.evaluate(capsys, *labels)
    assert code == 2
    assert "no ROI for node (its ROIs: tumour); give --rois node=PATTERN" in result["error"]

    code, result, _ = study.evaluate(capsys, *labels, "--rois-may-lack")
    assert code == 0
    assert dice(result)["tumour"] == pytest.approx(24 / 28)


@pytest.mark.parametrize("good", ["P1", "P2"])
def test_files_of_the_same_name_are_told_apart(study, tmp_path, capsys, good):
    """The reference of one case lacks a ROI, which is no problem of the other case."""
    (tmp_path / "out.key.json").unlink()
    prediction = study.predictions / f"{study.case}.nii.gz"
    for case in ("P1", "P2"):
        shutil.copy(prediction, study.predictions / f"{case}.nii.gz")
        labels = {"tumour": 1, "node": 2} if case == good else {"node": 2}
        study.write(f"{case}/RT/rtss.dcm", **labels)
    prediction.unlink()

    code, result, _ = study.evaluate(capsys, "--labels", "tumour=1", "node=2")

    assert code == 1
    assert {row["case"] for row in result["cases"]} == {good}
    assert dice(result)["tumour"] == pytest.approx(24 / 28)
    assert list(result["failed"]) == [{"P1": "P2", "P2": "P1"}[good]]
    assert result["extra"] == []


def test_nothing_of_the_patient_is_in_the_result(study, capsys):
    """Folders of references are often named after patients."""
    segments = segments_of({"organ": (1, 2), "tumour": (2,)})
    folder = study.references / "Mustermann"
    folder.mkdir()
    given = (study.reference, study.series, segments, Maker("clinician", "1"))
    write_rtstruct(folder / "a.dcm", *given)
    write_rtstruct(folder / "b.dcm", *given)
    (folder / "c.dcm").write_bytes((folder / "a.dcm").read_bytes()[:900])

    code, result, said = study.evaluate(capsys, "--labels", "organ=1", "tumour=2")

    assert code == 1
    assert sorted(result["failed"]) == ["file 2 of 3 by path", "file 3 of 3 by path"]
    assert result["notes"] == [
        f"{study.case}: 4 voxels lie in both organ and tumour, and become tumour"
    ]
    told = said + json.dumps(result)
    secrets = [*PATIENT.values(), UID, "Mustermann", "a.dcm"]
    assert [secret for secret in secrets if secret in told] == []


def test_contours_of_another_frame_of_reference_are_not_evaluated(study, capsys):
    study.write(tumour=1)
    path = study.references / "RS.1.2.3.dcm"
    content = pydicom.dcmread(path)
    content.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "1.2.3"
    content.save_as(path)

    code, result, _ = study.evaluate(capsys, "--labels", "tumour=1")

    assert code == 2
    assert "ROI 'tumour' was drawn in another frame of reference" in result["error"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "masks as DICOM have names, not values; give --labels"),
        (["--labels", "all=1,2"], "regions cannot be read from DICOM"),
        (["--labels", "tumour=1", "--rois", "x=*"], "which is not one of the labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(study, capsys, options, expected):
    study.write(tumour=1)
    code, result, _ = study.evaluate(capsys, *options)
    assert code == 2
    assert expected in result["error"]


def test_options_for_dicom_are_refused_with_masks(study, capsys):
    write_image(study.references / f"{study.case}.nii.gz", study.reference, study.series.geometry)

    code, result, _ = study.evaluate(capsys, "--rois", "tumour=GTV")

    assert code == 2
    assert "are for DICOM; " in result["error"]


def test_overlaps_are_reported(study, capsys):
    (study.references / "viewer.png").touch()  # a picture on a CD is no mask
    segments = segments_of({"organ": (1, 2), "tumour": (2,)})
    path = study.references / "RS.dcm"
    write_rtstruct(path, study.reference, study.series, segments, Maker("clinician", "1"))

    code, result, said = study.evaluate(capsys, "--labels", "organ=1", "tumour=2")

    assert code == 0
    assert "4 voxels lie in both organ and tumour" in said + json.dumps(result)


def test_a_page_needs_references_that_it_can_show(study, tmp_path, capsys):
    study.write(tumour=1)

    code, result, _ = study.evaluate(
        capsys, "--labels", "tumour=1", "--report", str(tmp_path / "page.html")
    )

    assert code == 2
    assert "--report cannot show masks as DICOM" in result["error"]


LABELS = ("--labels", "tumour=1", "node=2")
SCORES = {"tumour": pytest.approx(24 / 28), "node": 1.0}


@pytest.mark.parametrize(
    ("write", "ending"), [(write_rtstruct, ".rtstruct.dcm"), (write_seg, ".seg.dcm")]
)
def test_predictions_as_dicom_are_compared_with_masks(study, capsys, write, ending):
    study.predict(write, ending, tumour=1, node=2)
    file = study.references / f"{study.case}.nii.gz"
    write_image(file, study.reference, study.series.geometry)

    code, result, _ = study.evaluate(capsys, *LABELS)
    assert (code, dice(result)) == (0, SCORES)

    file.rename(study.references / "else.nii.gz")
    code, result, _ = study.evaluate(capsys, *LABELS)
    assert code == 2
    assert "no reference has its series (by the key file), its name" in result["error"]


def test_predictions_without_a_reference_are_named_and_left_out(study, capsys):
    study.predict(write_seg, ".seg.dcm", tumour=1, node=2)
    write_image(study.references / "P1.nii.gz", study.reference, study.series.geometry)
    shutil.copy(study.predictions / f"{study.case}.seg.dcm", study.predictions / "P1.dcm")

    code, result, _ = study.evaluate(capsys, *LABELS)

    assert code == 0
    assert result["extra"] == [study.case]
    assert {row["case"] for row in result["cases"]} == {"P1"}


def test_both_as_dicom_are_compared_on_the_slices_of_their_series(study, tmp_path, capsys):
    """Segments have the names of labels, ROIs those that were given; of two formats one counts."""
    study.predict(write_seg, ".seg.dcm", tumour=1, node=2)
    study.predict(write_rtstruct, ".rtstruct.dcm", tumour=1, node=2)
    study.write(GTV_1=1, node=2)
    rois = ("--rois", "tumour=gtv*")

    code, result, _ = study.evaluate(capsys, *LABELS, *rois)
    assert code == 2
    assert "give the folder of the series with --study" in result["error"]

    code, result, said = study.evaluate(capsys, *LABELS, *rois, "--study", str(tmp_path / "ct"))
    assert (code, dice(result)) == (0, SCORES)
    assert {row["case"] for row in result["cases"]} == {study.case}
    assert [row["metrics"]["hd95"] for row in result["cases"]] == [pytest.approx(0.8), 0.0]
    assert UID not in said + json.dumps(result)

    (tmp_path / "out.key.json").unlink()
    (study.references / "RS.0.dcm").write_bytes(next(study.references.iterdir()).read_bytes()[:900])
    _, result, _ = study.evaluate(capsys, *LABELS, *rois, "--study", str(tmp_path / "ct"))
    assert {row["case"] for row in result["cases"]} == {"prediction file 1 of 2 by path"}
    assert list(result["failed"]) == ["reference file 1 of 2 by path"]


def test_a_study_without_the_series_of_the_predictions_is_said(study, tmp_path, capsys):
    study.predict(write_seg, ".seg.dcm", tumour=1, node=2)
    study.write(tumour=1, node=2)

    code, result, _ = study.evaluate(capsys, *LABELS, "--study", str(tmp_path / "other"))
    assert code == 2
    assert "other does not exist; give the folder of the series" in result["error"]

    (tmp_path / "other").mkdir()
    code, result, _ = study.evaluate(capsys, *LABELS, "--study", str(tmp_path / "other"))
    assert code == 2
    assert "its series is not in the folder of --study; add it there" in result["error"]

    next((tmp_path / "ct").glob("*_1")).unlink()
    code, result, _ = study.evaluate(capsys, *LABELS, "--study", str(tmp_path / "ct"))
    assert code == 2
    assert f"{study.case}: its series: 1 slice is missing (slices 1 and 2 of 3" in result["error"]
    assert result["error"].endswith("; export the series again")


def test_a_study_is_for_two_folders_of_dicom(study, tmp_path, capsys):
    study.write(tumour=1)
    code, result, _ = study.evaluate(capsys, *LABELS, "--study", str(tmp_path / "ct"))
    assert code == 2
    assert "--study is for predictions and references that are both DICOM" in result["error"]


def test_a_reference_of_two_series_says_that_it_belongs_to_several_cases(study, tmp_path, capsys):
    write_series(tmp_path / "ct" / "other", np.zeros((4, 6, 7), np.int16), uid=f"{UID}.2")
    study.predict(write_seg, ".seg.dcm", tumour=1, node=2)
    study.series = next(s for s in find_series(tmp_path / "ct").series if s.head.uid == f"{UID}.2")
    study.write("../out/b.seg.dcm", write_seg, tumour=1, node=2)
    study.write(tumour=1, node=2)
    path = study.references / "RS.1.2.3.dcm"
    content = pydicom.dcmread(path)
    referred = content.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    both = referred.RTReferencedSeriesSequence
    both.append(copy.deepcopy(both[0]))
    both[1].SeriesInstanceUID = f"{UID}.1"
    content.save_as(path)

    code, result, _ = study.evaluate(capsys, *LABELS, "--study", str(tmp_path / "ct"))

    assert code == 2
    assert "reference file 1 of 1 by path: it belongs to several cases (" in result["error"]
    assert "; keep the series of one, or give each its own file" in result["error"]


def test_predictions_without_any_mask_are_named_by_their_folder(study, tmp_path, capsys):
    write_image(study.references / "P1.nii.gz", study.reference, study.series.geometry)
    shutil.rmtree(study.predictions)
    (tmp_path / "ct").rename(study.predictions)

    code, result, _ = study.evaluate(capsys, *LABELS)

    assert code == 2
    assert result["error"].endswith("out can be used: it holds no RTSTRUCT or SEG")
