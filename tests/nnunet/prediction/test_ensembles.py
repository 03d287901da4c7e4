"""Ensembles and post-processing, beside nnU-Net's own commands for them."""

import argparse
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_factory import write_image, write_model
from toy import voxels
from umamba.cli.main import main
from umamba.errors import UMambaError
from umamba.nnunet.postprocessing import chosen_for, read_postprocessing
from umamba.nnunet.prediction.folders import predict
from umamba.nnunet.prediction.loading import PredictionOptions, load_model
from umamba.nnunet.prediction_request import PredictionRequest
from umamba.options import add_options, as_arguments, from_namespace

KEEP_LARGEST = "remove_all_but_largest_component_from_segmentation"
REGIONS = {"labels": {"background": 0, "whole": [1, 2], "small": 2}, "regions_class_order": [1, 2]}
TRANSPOSED = {"transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0]}


def write_steps(path: Path, *steps: Any, names: list[str] | None = None) -> Path:
    """What nnU-Net writes beside the pickle of the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "postprocessing_fns": names or [KEEP_LARGEST] * len(steps),
        "postprocessing_kwargs": [{"labels_or_regions": step} for step in steps],
    }
    path.write_text(json.dumps(content | {"input_folder": {"foreground_mean": {"Dice": 0.5}}}))
    return path


@pytest.mark.parametrize("description", [{}, REGIONS], ids=["labels", "regions"])
def test_an_ensemble_is_that_of_nnunet(description: dict[str, Any], tmp_path: Path) -> None:
    """Of a 2D and a transposed 3D model; nnU-Net averages what each of them wrote."""
    from nnunetv2.ensembling.ensemble import merge_files

    first = write_model(tmp_path / "one", plans_changes=TRANSPOSED, **description)
    second = write_model(tmp_path / "two", "2d", patch_size=(16, 16), **description)
    write_image(tmp_path / "in" / "a_0000.nii.gz")
    options = PredictionOptions(mirroring=False, save_probabilities=True)
    both = PredictionOptions(mirroring=False, save_probabilities=True, ensemble=(second,))
    predict(first, tmp_path / "in", tmp_path / "out1", options)
    predict(second, tmp_path / "in", tmp_path / "out2", options)
    predict(first, tmp_path / "in", tmp_path / "ours", both)
    stock = load_model(first, options)
    merge_files(
        [str(tmp_path / name / "a.npz") for name in ("out1", "out2")],
        str(tmp_path / "stock"),
        ".nii.gz",
        stock.plans_manager.image_reader_writer_class(),
        stock.label_manager,
        save_probabilities=True,
    )
    want = np.load(tmp_path / "stock.npz")["probabilities"]
    assert np.array_equal(np.load(tmp_path / "ours" / "a.npz")["probabilities"], want)
    ours, labels = voxels(tmp_path / "ours" / "a.nii.gz"), voxels(tmp_path / "stock.nii.gz")
    assert np.array_equal(ours, labels)
    assert len(np.unique(labels)) > 1
    assert not np.array_equal(ours, voxels(tmp_path / "out1" / "a.nii.gz"))


def test_postprocessing_is_that_of_nnunet(tmp_path: Path) -> None:
    from nnunetv2.postprocessing import remove_connected_components as stock

    folder = write_model(tmp_path / "model")
    write_image(tmp_path / "in" / "a_0000.nii.gz")
    steps = [[1, 2], 2]
    file = write_steps(tmp_path / "pp" / "postprocessing.json", *steps)
    plain, cleaned, wanted = (tmp_path / name / "a.nii.gz" for name in ("plain", "ours", "in"))
    predict(folder, tmp_path / "in", plain.parent, PredictionOptions(mirroring=False))
    options = PredictionOptions(mirroring=False, postprocessing=file)
    predict(folder, tmp_path / "in", cleaned.parent, options)
    writer = load_model(folder, options).plans_manager.image_reader_writer_class()
    functions = [stock.remove_all_but_largest_component_from_segmentation] * 2
    keywords = [{"labels_or_regions": step} for step in steps]
    stock.load_postprocess_save(str(plain), str(wanted), writer, functions, keywords)
    assert np.array_equal(voxels(cleaned), voxels(wanted))
    assert not np.array_equal(voxels(cleaned), voxels(plain))


def test_a_folder_belongs_to_an_ensemble_and_its_postprocessing(tmp_path: Path) -> None:
    model, other = write_model(tmp_path / "a"), write_model(tmp_path / "b", folds=2)
    write_image(tmp_path / "in" / "a_0000.nii.gz")
    file = write_steps(tmp_path / "postprocessing.json", 1)
    plain = PredictionOptions(mirroring=False)
    predict(model, tmp_path / "in", tmp_path / "out", plain)
    for changes in ({"ensemble": (other,)}, {"postprocessing": file}):
        name = next(iter(changes))
        options = PredictionOptions(mirroring=False, **changes)
        with pytest.raises(UMambaError, match=rf"other settings \({name} differs\)"):
            predict(model, tmp_path / "in", tmp_path / "out", options)
        predict(model, tmp_path / "in", tmp_path / name, options)
        with pytest.raises(UMambaError, match=rf"other settings \({name} differs\)"):
            predict(model, tmp_path / "in", tmp_path / name, plain)
        assert predict(model, tmp_path / "in", tmp_path / name, options).skipped == ["a"]


def test_models_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    first, second = write_model(tmp_path / "a"), write_model(tmp_path / "b", **REGIONS)
    write_image(tmp_path / "in" / "a_0000.nii.gz")
    options = PredictionOptions(ensemble=(second,))
    with pytest.raises(UMambaError, match=r"a and .*b have different labels; an ensemble needs"):
        predict(first, tmp_path / "in", tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_nnunet_chose_and_applies_it_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "model", folds=2)
    write_image(tmp_path / "in" / "a_0000.nii.gz")
    chosen = write_steps(model / "crossval_results_folds_0_1" / "postprocessing.json", 1, 2)
    asked = ["predict", "-m", str(model), "-i", str(tmp_path / "in"), "--disable_tta"]
    asked += ["-device", "cpu", "-o"]
    assert main([*asked, str(tmp_path / "plain")]) == 0
    note = "note: nnU-Net chose a post-processing for this model; it is applied with --postproc"
    assert note in capsys.readouterr().err
    assert main([*asked, str(tmp_path / "cleaned"), "--postprocessing", "auto"]) == 0
    plain, cleaned = (voxels(tmp_path / name / "a.nii.gz") for name in ("plain", "cleaned"))
    assert np.array_equal(cleaned, read_postprocessing(chosen, [1, 2]).apply(plain))
    assert not np.array_equal(cleaned, plain)
    assert main([*asked, str(tmp_path / "x"), "--postprocessing", "auto", "-f", "0"]) == 2
    assert "nnU-Net chose no post-processing for" in capsys.readouterr().err


def test_an_exported_model_brings_its_postprocessing(tmp_path: Path) -> None:
    name = "Dataset901_Toy/nnUNetTrainer__nnUNetPlans__3d_fullres"
    model = write_model(tmp_path / "results" / name)
    write_steps(model / "crossval_results_folds_0" / "postprocessing.json", [1, 2], 2)
    write_image(tmp_path / "in" / "a_0000.nii.gz")
    archive = tmp_path / "model.zip"
    command = ["export", "901", "3d_fullres", "-p", "nnUNetPlans", "-tr", "nnUNetTrainer"]
    assert main([*command, "-o", str(archive), "--results", str(tmp_path / "results")]) == 0
    for source, name in ((model, "ours"), (archive, "theirs")):
        asked = ["predict", "-m", str(source), "-i", str(tmp_path / "in"), "-device", "cpu"]
        asked += ["--disable_tta", "--postprocessing", "auto"]
        assert main([*asked, "-o", str(tmp_path / name)]) == 0
    ours, theirs = (voxels(tmp_path / name / "a.nii.gz") for name in ("ours", "theirs"))
    assert np.array_equal(theirs, ours)
    with zipfile.ZipFile(archive) as zipped:
        copied = json.loads(zipped.read("crossval_results_folds_0/postprocessing.json"))
    assert set(copied) == {"postprocessing_fns", "postprocessing_kwargs"}  # no scores of cases


@pytest.mark.parametrize("postprocessing", ["auto", "pp/postprocessing.json"])
def test_jobs_in_other_folders_get_the_same_request(
    postprocessing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, PredictionRequest)
    wanted = PredictionRequest(
        images=tmp_path,
        output=tmp_path,
        model_folder=tmp_path / "one",
        ensemble=["two", tmp_path / "three"],
        postprocessing=postprocessing,
    )
    monkeypatch.chdir(tmp_path)
    got = from_namespace(PredictionRequest, parser.parse_args(as_arguments(wanted)))
    assert got.ensemble == (tmp_path / "two", tmp_path / "three")
    file = "auto" if postprocessing == "auto" else tmp_path / postprocessing
    assert got.postprocessing == file


def test_the_choice_for_an_ensemble_is_found_in_either_order(tmp_path: Path) -> None:
    place = tmp_path / "ensembles" / "ensemble___T__P__2d___T__P__3d_fullres___0_1_2"
    chosen = write_steps(place / "postprocessing.json", 1)
    models = [tmp_path / name for name in ("T__P__3d_fullres", "T__P__2d")]
    assert chosen_for(models, ["0", "1", "2"]) == chosen
    assert chosen_for(models[::-1], ["2", "0", "1"]) == chosen
    assert chosen_for(models, ["0", "1"]) is None
    assert chosen_for([models[0], tmp_path / "T__P__3d_lowres"], ["0", "1", "2"]) is None


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    bomb = tmp_path / "postprocessing.pkl"
    bomb.write_bytes(b"cos\nmkdir\n(S'" + str(tmp_path / "ran").encode() + b"'\ntR.")
    with pytest.raises(UMambaError, match=r"is a pickle, which could run any program, and is not"):
        read_postprocessing(bomb, [1])
    write_steps(tmp_path / "postprocessing.json", 1)
    assert read_postprocessing(bomb, [1]).steps == ((1,),)
    assert not (tmp_path / "ran").exists()
    pickle.loads(bomb.read_bytes())
    assert (tmp_path / "ran").exists()  # it is a bomb


@pytest.mark.parametrize(
    ("steps", "names", "message"),
    [
        ([1], ["os.system"], r"asks for 'os\.system', which is not nnU-Net's .*; it was not run"),
        ([1], [KEEP_LARGEST] * 2, "needs postprocessing_fns and postprocessing_kwargs of equal"),
        (["1"], None, "for a step; it must name labels_or_regions, as numbers"),
        ([True], None, "for a step; it must name labels_or_regions, as numbers"),
        ([[[1]]], None, "for a step; it must name labels_or_regions, as numbers"),
        ([7], None, r"names the label 7, which the model does not have; it is another's"),
    ],
)
def test_other_postprocessing_is_refused(
    steps: list[Any], names: list[str] | None, message: str, tmp_path: Path
) -> None:
    file = write_steps(tmp_path / "postprocessing.json", *steps, names=names)
    with pytest.raises(UMambaError, match=message):
        read_postprocessing(file, [1, 2])
