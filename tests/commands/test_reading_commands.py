"""Commands follow the reader that nnU-Net will use, and say which statement of a header counts."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from contradicting_headers import form, write
from dataset_files import make_folders, save_raw
from model_factory import write_model
from toy import voxels, write_toy_images
from umamba.cli.main import main
from umamba.nnunet.preparation import _check_raw as check_raw

SKEWED = np.array([[1, 0.02, 0, 0], [0, 1, 0, 0], [0.01, 0, 1, 0], [0, 0, 0, 1.0]])


def skew(path: Path) -> None:
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), SKEWED), path)


def predict(tmp_path: Path) -> int:
    folders = (str(tmp_path / name) for name in ("model", "images", "out"))
    options = [text for pair in zip(("-m", "-i", "-o"), folders, strict=True) for text in pair]
    return main(["predict", *options, "-device", "cpu", "--disable_tta"])


def name_reader(model: Path, reader: str) -> None:
    for file in model.glob("plans.json"):
        plans = json.loads(file.read_text())
        file.write_text(json.dumps({**plans, "image_reader_writer": reader}))


@pytest.mark.parametrize(("reader", "code"), [("NibabelIO", 0), ("SimpleITKIO", 1)])
def test_prediction_of_skewed_axes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reader: str, code: int
) -> None:
    write_model(tmp_path / "model")
    name_reader(tmp_path / "model", reader)
    write_toy_images(tmp_path, n_cases=2)
    skew(tmp_path / "images" / "case_0.nii.gz")
    assert predict(tmp_path) == code
    written = tmp_path / "out" / "case_0.nii.gz"
    assert written.is_file() == (code == 0)
    if code == 0:
        assert np.allclose(nibabel.load(written).affine, SKEWED)
    else:
        assert "axes in its header are not at right angles" in capsys.readouterr().err
    assert voxels(tmp_path / "out" / "case_1.nii.gz").any()


def test_prediction_names_the_statement_that_counts_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "model")
    write_toy_images(tmp_path, n_cases=2)
    for path in sorted((tmp_path / "images").glob("*.nii.gz")):
        array = np.asarray(nibabel.load(path).dataobj)
        plain = path.with_suffix("")
        write(plain, array, sform=form(2))
        plain.rename(path)  # not compressed, which is said, too
    assert predict(tmp_path) == 0
    message = capsys.readouterr().err
    assert message.count("the sform (2, 2, 2); pixdim is used") == 1
    assert message.count("it is not compressed, though its name ends in .nii.gz") == 1


def test_planning_takes_skewed_axes_and_what_check_has_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = save_raw(make_folders(tmp_path), overwrite_image_reader_writer="NibabelIO")
    for path in raw.rglob("*.nii.gz"):
        skew(path)
    assert main(["check", raw.name, "--raw", str(raw.parent)]) == 0
    assert check_raw(raw) == ["a", "b", "c", "d", "e"]
    message = capsys.readouterr().err
    assert "(10 of 10 files are unchanged since an earlier check)" in message
