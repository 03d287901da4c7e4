"""Where predictions go: never over what they are made from, and only where they can be written."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from toy import read_json, write_toy_images
from umamba.cli.main import main
from umamba.errors import UMambaError
from umamba.nnunet.paths import check_writable
from umamba.nnunet.prediction import PredictionOptions, predict

DESCRIPTION = {"channel_names": {"0": "MRI"}, "file_ending": ".nii.gz"}


class FakePredictor:
    """Writes what nnU-Net's predictor writes beside the segmentations, without a network."""

    dataset_json = DESCRIPTION
    configuration_manager = SimpleNamespace(previous_stage_name=None)

    def predict_from_files(
        self, _inputs: object, outputs: Sequence[str], **_options: object
    ) -> None:
        for output in outputs:
            Path(f"{output}.nii.gz").write_text("segmentation")
        for name in ("plans.json", "dataset.json", "predict_from_raw_data_args.json"):
            (Path(outputs[0]).parent / name).write_text("{}")


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("umamba.nnunet.prediction.load_model", lambda *_: FakePredictor())
    write_toy_images(tmp_path, n_cases=2)
    return tmp_path / "images"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_only_what_describes_the_segmentations_is_kept(images: Path, tmp_path: Path) -> None:
    report = predict(tmp_path, images, tmp_path / "out", PredictionOptions())
    assert report.predicted == ["case_0", "case_1"]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["case_0.nii.gz", "case_1.nii.gz", "dataset.json", "plans.json"]
    assert read_json(tmp_path / "out" / "plans.json") == {}


def test_the_images_are_never_overwritten(images: Path, tmp_path: Path) -> None:
    before = contents(images)
    (tmp_path / "same").symlink_to(images)
    for output in (images, images / ".." / "images", tmp_path / "same"):
        with pytest.raises(UMambaError, match="is the folder of -i, too, and its files would be"):
            predict(tmp_path, images, output, PredictionOptions())
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "case_0.nii.gz").symlink_to(images / "case_0.nii.gz")
    with pytest.raises(UMambaError, match=r"case_0.nii.gz is a link to .*would be overwritten"):
        predict(tmp_path, linked, images, PredictionOptions())
    assert contents(images) == before


def test_the_first_stages_predictions_are_never_overwritten(images: Path, tmp_path: Path) -> None:
    options = PredictionOptions(previous_stage=tmp_path / "masks")
    with pytest.raises(UMambaError, match="is the folder of -prev_stage_predictions, too"):
        predict(tmp_path, images, tmp_path / "masks", options)


@pytest.mark.parametrize("below", [".", "sub", "sub/sub"])
def test_an_output_that_is_a_file_is_named_before_the_model_is_loaded(
    below: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "afile").touch()
    command = ["predict", "-m", "/no/model", "-i", str(images), "-device", "cpu"]
    assert main([*command, "-o", str(tmp_path / "afile" / below)]) == 2
    message = capsys.readouterr().err
    assert f"nothing can be written to {tmp_path / 'afile' / below} (Not a directory)" in message
    assert "give another folder as -o, or make this one writable" in message


def test_a_folder_is_tried_where_it_would_be_made_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_writable(tmp_path / "new" / "newer", "-o")
    assert list(tmp_path.iterdir()) == []

    def refuse(*_: object, dir: Path, **__: object) -> None:  # noqa: A002 - tempfile's name
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    with pytest.raises(UMambaError, match=r"nothing can be written to .*new \(Permission denied\)"):
        check_writable(tmp_path / "new", "-o")
