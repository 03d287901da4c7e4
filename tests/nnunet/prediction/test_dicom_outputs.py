"""Prediction of DICOM series into SEG and RTSTRUCT."""

import json
from pathlib import Path
from types import SimpleNamespace

import highdicom
import numpy as np
import pydicom
import pytest

from dicom_files import PATIENT, edit, write_series
from model_factory import write_model
from plans_factory import DATASET_JSON
from umamba.cli.main import main
from umamba.datasets.checks import Case
from umamba.datasets.inputs import FoundInputs
from umamba.dicom.finding import find_series
from umamba.dicom.output_formats import OutputFormats, format_names
from umamba.errors import UMambaError
from umamba.images.contents import Geometry
from umamba.images.files import read_image, write_image
from umamba.nnunet.prediction.dicom_outputs import DicomOutputs

STORED = np.random.default_rng(2).normal(100, 40, (9, 20, 18)).astype(np.int16)
AXES = (1, 0, 0, 0, 1, 0, 0, 0, 1)
ALL = "nifti,seg,labelmap-seg,rtstruct"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def study(tmp_path: Path) -> list[Path]:
    return write_series(tmp_path / "in", STORED)


def predict(tmp_path: Path, model: Path, *more: str) -> int:
    fixed = ["predict", "-m", str(model), "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    return main([*fixed, "-device", "cpu", "--disable_tta", *more])


def test_a_series_is_segmented_into_all_formats(tmp_path, model, study, capsys):
    assert predict(tmp_path, model, "--output-format", ALL, "--json") == 0

    (name,) = json.loads(capsys.readouterr().out)["predicted"]
    out = tmp_path / "out"
    labels = read_image(out / f"{name}.nii.gz").array[0].astype(int)
    assert labels.any()
    seg = highdicom.seg.segread(out / f"{name}.seg.dcm")
    names = [segment.SegmentLabel for segment in seg.SegmentSequence]
    assert names == list(json.loads((out / "dataset.json").read_text())["labels"])[1:]
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    for ending in ("seg", "labelmap"):
        volume = highdicom.seg.segread(out / f"{name}.{ending}.dcm").get_volume(
            combine_segments=True
        )
        found = np.unique(volume.array[volume.array > 0], return_counts=True)
        assert np.array_equal(found, (values, counts))
    rtstruct = pydicom.dcmread(out / f"{name}.rtstruct.dcm")
    assert [roi.ROIName for roi in rtstruct.StructureSetROISequence] == names
    assert rtstruct.PatientID == PATIENT["PatientID"]

    assert predict(tmp_path, model, "--output-format", "seg", "rtstruct", "--json") == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == [name]


def test_only_the_wanted_format_is_written(tmp_path, model, study):
    assert predict(tmp_path, model, "--output-format", "rtstruct") == 0

    endings = {path.name.partition(".")[2] for path in (tmp_path / "out").glob("case_*")}
    assert endings == {"rtstruct.dcm"}


def test_a_format_that_was_not_asked_for_before_is_added(tmp_path, model, study, capsys):
    assert predict(tmp_path, model) == 0
    assert predict(tmp_path, model, "--output-format", "nifti", "seg", "--json") == 0

    (name,) = json.loads(capsys.readouterr().out.splitlines()[-1])["predicted"]
    assert (tmp_path / "out" / f"{name}.nii.gz").is_file()
    assert (tmp_path / "out" / f"{name}.seg.dcm").is_file()

    (tmp_path / "codes.json").write_text("{}")
    codes = ["--codes", str(tmp_path / "codes.json")]
    assert predict(tmp_path, model, "--output-format", "nifti", "seg", *codes) == 2
    assert "(codes_sha256 differs); give another -o, or --overwrite" in capsys.readouterr().err


def test_a_series_without_a_frame_of_reference_is_left_out_before_it_is_predicted(
    tmp_path, model, study, capsys
):
    for path in study:
        edit(path, FrameOfReferenceUID=None)

    assert predict(tmp_path, model, "--output-format", "seg") == 2
    message = capsys.readouterr().err
    assert "no FrameOfReferenceUID, which SEG and RTSTRUCT need" in message
    assert "--output-format nifti" in message


def test_what_does_not_fit_into_dicom_is_left_out_and_not_quoted(
    tmp_path, model, study, capsys, monkeypatch
):
    def refuse(*_: object, **__: object) -> None:
        raise ValueError(PATIENT["PatientName"])

    monkeypatch.setattr("umamba.dicom.seg_writing.write_seg", refuse)

    assert predict(tmp_path, model, "--output-format", "seg") == 2
    message = capsys.readouterr().err
    assert "its headers hold values that do not fit into SEG or RTSTRUCT; choose" in message
    assert PATIENT["PatientName"] not in message


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--codes", "codes.json"], "--codes is for DICOM; add --output-format"),
        (["--output-format", "seg", "--codes", "none.json"], "none.json does not exist"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, model, study, capsys, options, expected):
    assert predict(tmp_path, model, *options) == 2
    assert expected in capsys.readouterr().err


def test_images_of_other_formats_have_no_slices_to_refer_to(tmp_path, model, capsys):
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a_0000.nii.gz", STORED, Geometry((1,) * 3, (0,) * 3, AXES))

    assert predict(tmp_path, model, "--output-format", "rtstruct") == 2
    assert "refers to slices of DICOM, but the images are other files" in capsys.readouterr().err


def outputs(tmp_path: Path, codes: dict[str, object] | None) -> DicomOutputs:
    file = None if codes is None else tmp_path / "codes.json"
    if file is not None:
        file.write_text(json.dumps(codes))
    series = find_series(tmp_path / "in").series
    inputs = FoundInputs((Case("a", (), None),), {}, (), series={"a": series})
    predictor = SimpleNamespace(dataset_json=DATASET_JSON)
    return DicomOutputs(predictor, inputs, OutputFormats(("seg",), file), {})


def test_a_missing_highdicom_is_noticed_before_any_prediction(tmp_path, study, monkeypatch):
    monkeypatch.setattr("umamba.dicom.library.find_spec", lambda name: name != "highdicom" or None)
    with pytest.raises(UMambaError, match=r"highdicom: pip install 'umamba\[dicom\]'"):
        outputs(tmp_path, None)


def test_other_codes_make_other_files(tmp_path, study):
    name = list(DATASET_JSON["labels"])[1]
    red, blue = ({name: {"color": color}} for color in ([255, 0, 0], [0, 0, 255]))
    settings = [outputs(tmp_path, codes).settings for codes in (None, red, blue, red)]
    assert settings[0] == {}
    assert settings[1] == settings[3] != settings[2]


def test_a_format_that_does_not_exist_is_refused():
    with pytest.raises(UMambaError, match="'sg' does not exist; did you mean seg"):
        format_names(["nifti,sg"])


def test_regions_that_overlap_do_not_fit_into_a_label_map():
    with pytest.raises(UMambaError, match="they overlap; choose --output-format seg"):
        OutputFormats(("labelmap-seg",)).segments({"whole": (1, 2), "core": (2,)})
