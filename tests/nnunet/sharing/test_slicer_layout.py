"""A model laid out for 3D Slicer runs as the extension NNUNet runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from toy import NAME, read_json, voxels, write_toy_images
from toy_model import MODEL, write_toy_model
from umamba.cli.main import main
from umamba.nnunet.checkpoints.files import read_checkpoint, write_checkpoint

pytestmark = pytest.mark.nnunet
_PREDICT = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point as p; p()"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("slicer") / "results"
    torch.manual_seed(1)
    write_toy_model(results, folds=("0",))
    return results


def export(results: Path, output: Path) -> Path:
    command = ["export", "901", "3d_fullres", "--model", "umamba_bot", "-o", str(output)]
    assert main([*command, "--results", str(results)]) == 0
    return output


def install(source: Path, folder: Path) -> int:
    return main(["install", str(source), "--layout", "slicer", str(folder)])


def slicer_command(model_path: Path, images: Path, output: Path) -> list[str]:
    """What the extension makes of a model path and the fold 0, after its own checks."""
    model = next(model_path.rglob("dataset.json")).parent
    trainer, plans, configuration = model.name.split("__")
    assert (model / "fold_0" / "checkpoint_final.pth").is_file()
    named = ["-d", model.parent.name, "-tr", trainer, "-p", plans, "-c", configuration, "-f", "0"]
    settings = ["-npp", "1", "-nps", "1", "-step_size", "0.5", "-device", "cpu"]
    checkpoint = ["-chk", "checkpoint_final.pth", "--disable_tta"]
    return ["-i", str(images), "-o", str(output), *named, *settings, *checkpoint]


def test_a_model_is_laid_out_and_nothing_else_is_there(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = results / NAME / MODEL / "fold_all"  # which the extension cannot name
    (results / NAME / MODEL / "fold_0").rename(whole)
    folder = tmp_path / "slicer" / "toy"
    try:
        source = export(results, tmp_path / "toy.zip")
    finally:
        whole.rename(whole.with_name("fold_0"))
    assert install(source, folder) == 0
    said = capsys.readouterr()
    assert f"in Slicer: Model path {folder}, Folds 0\n" in said.out
    assert "note: fold all becomes fold 0" in said.err
    assert slicer_command(folder, tmp_path, tmp_path)[4:6] == ["-d", NAME]
    assert install(source, folder) == 2
    assert "holds a model already" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["install", str(source), "--layout", "slicr", str(folder)])
    assert "layout 'slicr' does not exist; did you mean slicer?" in capsys.readouterr().err


@pytest.mark.slow
def test_the_extension_gets_the_segmentation_of_the_model(results: Path, tmp_path: Path) -> None:
    folder = tmp_path / "slicer" / "toy"
    assert install(export(results, tmp_path / "toy.zip"), folder) == 0
    write_toy_images(tmp_path, n_cases=1)
    images, output = tmp_path / "images", tmp_path / "output"
    (images / "case_0.nii.gz").rename(images / "volume_0000.nii.gz")
    # The model's own folder is all that the extension sets.
    variables = {f"nnUNet_{kind}": str(folder) for kind in ("raw", "preprocessed", "results")}
    system = {key: value for key, value in os.environ.items() if not key.startswith("nnUNet_")}
    command = [sys.executable, "-c", _PREDICT, *slicer_command(folder, images, output)]
    subprocess.run(command, env=system | variables, check=True, capture_output=True)
    (found,) = output.rglob("*.nii*")
    model, want = str(results / NAME / MODEL), tmp_path / "want"
    options = ["--disable_tta", "-device", "cpu"]
    assert main(["predict", "-m", model, "-i", str(images), "-o", str(want), *options]) == 0
    assert len(np.unique(voxels(found))) > 1
    np.testing.assert_array_equal(voxels(found), voxels(want / "volume.nii.gz"))


def test_the_second_stage_of_a_cascade_is_refused(tmp_path: Path) -> None:
    """Stock nnU-Net needs the first stage's predictions, which the extension does not give it."""
    from umamba.errors import ModelFileError
    from umamba.nnunet.sharing.slicer_layout import fit_for_slicer

    model = write_toy_model(tmp_path / "results", folds=("0",))
    plans = read_json(model / "plans.json")
    plans["configurations"]["3d_fullres"]["previous_stage"] = "3d_lowres"
    (model / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(ModelFileError, match="second stage of a cascade, which needs what 3d_lowr"):
        fit_for_slicer(model, Path("toy.zip"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channel_names": {"0": "T1", "1": "T2"}}, "needs the channels T1, T2, but Slicer's"),
        ({"file_ending": ".nrrd"}, "reads .nrrd, Slicer's extension writes .nii.gz; use `umamba"),
        ({}, "finds the trainer 'nnUNetTrainerUMambaBot' by the variable nnUNet_extTrainer alone"),
    ],
    ids=["channels", "format", "trainer"],
)
def test_what_the_extension_cannot_run_is_refused(
    changes: dict, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from umamba.errors import ModelFileError
    from umamba.nnunet.sharing.slicer_layout import fit_for_slicer

    model = write_toy_model(tmp_path / "results", folds=("0",))
    description = read_json(model / "dataset.json") | changes
    (model / "dataset.json").write_text(json.dumps(description))
    if not changes:
        path = model / "fold_0" / "checkpoint_final.pth"
        checkpoint = read_checkpoint(path) | {"trainer_name": "nnUNetTrainerUMambaBot"}
        write_checkpoint(checkpoint, path, keep_previous=False)
    with pytest.raises(ModelFileError, match=message):
        fit_for_slicer(model, Path("toy.zip"))
