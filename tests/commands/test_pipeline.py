"""From raw images to segmentations: our commands, and stock nnU-Net on what they leave."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reference_cases import GOLDEN, relative_l2
from toy import NAME, PLANS, folder_options, read_json, voxels
from umamba.cli.main import main
from umamba.nnunet.checkpoints.files import previous_of
from umamba.nnunet.splits import chosen_cases
from umamba.system.environment import environment

pytestmark = pytest.mark.nnunet

FEW = ["--epochs", "2", "--iterations", "6"]
# Validation with mirroring takes eight times as long; only `trained` needs it.
PLAIN = ["--validation-tta", "off"]


@pytest.fixture(scope="module")
def root(preprocessed_toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data set, plans and preprocessed images made by our commands, on two workers."""
    root = shutil.copytree(preprocessed_toy, tmp_path_factory.mktemp("nnunet") / "toy")
    with environment(nnUNet_def_n_proc="2", nnUNet_n_proc_DA="0"):
        yield root


@pytest.fixture(scope="module")
def trained(root: Path, draw_curves: Callable[..., None]) -> Path:
    from nnunetv2.training.logging.nnunet_logger import LocalLogger

    command = ["train", NAME, "3d_fullres", "0", "--model", "umamba_bot", *FEW, "--seed", "3"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(LocalLogger, "plot_progress_png", draw_curves)
        assert main([*command, "-device", "cpu", *folder_options(root)]) == 0
    return root / "results" / NAME / f"nnUNetTrainerUMamba__{PLANS}__3d_fullres"


def predict(root: Path, *options: str) -> int:
    images = ["-i", str(root / "raw" / NAME / "imagesTr")]
    return main(["predict", *images, "--disable_tta", "-device", "cpu", *options])


def test_training_leaves_what_nnunet_leaves(trained: Path) -> None:
    fold = trained / "fold_0"
    checkpoint = torch.load(fold / "checkpoint_final.pth", weights_only=False)
    assert checkpoint["trainer_name"] == "nnUNetTrainer"
    assert checkpoint["current_epoch"] == 2
    assert read_json(trained / "plans.json")["plans_name"] == PLANS
    assert 0 <= read_json(fold / "validation" / "summary.json")["foreground_mean"]["Dice"] <= 1
    assert (fold / "progress.png").stat().st_size > 10_000
    log = next(fold.glob("training_log_*.txt")).read_text()
    assert log.count("Epoch time") == 2
    assert not list(fold.glob(".*partial*"))


def test_stock_prediction_needs_no_variable_and_agrees(
    root: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    assert predict(root, "-m", str(trained), "-o", str(tmp_path / "ours")) == 0
    stock = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    stock.initialize_from_trained_model_folder(str(trained), (0,))
    (tmp_path / "stock").mkdir()
    stock.predict_from_files_sequential(
        str(root / "raw" / NAME / "imagesTr"), str(tmp_path / "stock")
    )
    names = sorted(p.name for p in (tmp_path / "ours").glob("*.nii.gz"))
    assert names == [f"case_{i}.nii.gz" for i in range(6)]
    for name in names:
        assert np.array_equal(voxels(tmp_path / "ours" / name), voxels(tmp_path / "stock" / name))
    image = SimpleITK.ReadImage(str(root / "raw" / NAME / "imagesTr" / "case_0_0000.nii.gz"))
    result = SimpleITK.ReadImage(str(tmp_path / "ours" / "case_0.nii.gz"))
    assert result.GetSpacing() == image.GetSpacing()
    assert result.GetOrigin() == image.GetOrigin()
    assert not [path for path in (tmp_path / "ours").iterdir() if path.name.startswith(".")]


def test_an_exported_zip_installs_and_predicts(
    root: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnunetv2.model_sharing.model_export import export_pretrained_model
    from nnunetv2.model_sharing.model_import import install_model_from_zip_file

    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(root / name))
    archive = str(tmp_path / "model.zip")
    export_pretrained_model(
        NAME, archive, ("3d_fullres",), "nnUNetTrainerUMamba", PLANS, (0,), strict=True
    )
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "elsewhere"))
    install_model_from_zip_file(archive)
    installed = tmp_path / "elsewhere" / NAME / trained.name
    assert predict(root, "-m", str(installed), "-o", str(tmp_path / "out")) == 0
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 6


def test_the_authors_model_folder_predicts_their_segmentation(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    case = GOLDEN / "fork_model" / "case"
    shutil.copy(case / "fork_000_0000.nii.gz", tmp_path / "in")
    command = ["predict", "-m", str(GOLDEN / "fork_model"), "-i", str(tmp_path / "in")]
    command += ["-o", str(tmp_path / "out"), "-f", "all", "--disable_tta", "-device", "cpu"]
    assert main(command) == 0
    want = voxels(case / "expected_segmentation.nii.gz")
    differing = voxels(tmp_path / "out" / "fork_000.nii.gz") != want
    # Four times the worst measured of 107,520 voxels: 7 near-ties differ with torch 2.6; with
    # torch 2.14 one does on a machine with AVX2, none on one with AVX-512.
    assert differing.sum() <= 28


def test_the_authors_model_gives_their_logits_through_the_stock_predictor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    from umamba.nnunet.training.folds import ext_trainer_folder

    monkeypatch.setenv("nnUNet_extTrainer", str(ext_trainer_folder()))
    stock = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    stock.initialize_from_trained_model_folder(str(GOLDEN / "fork_model"), ("all",))
    case = GOLDEN / "fork_model" / "case"
    preprocessor = stock.configuration_manager.preprocessor_class()
    data, _, _ = preprocessor.run_case(
        [str(case / "fork_000_0000.nii.gz")],
        None,
        stock.plans_manager,
        stock.configuration_manager,
        stock.dataset_json,
    )
    logits = stock.predict_logits_from_preprocessed_data(torch.from_numpy(data))
    want = torch.from_numpy(np.load(case / "logits_preprocessed_grid.npz")["logits"])
    # nnU-Net accumulates the logits in half precision
    assert relative_l2(logits, want) < 2e-3


def test_a_seed_fixes_the_weights_whatever_the_number_of_workers(root: Path) -> None:
    weights = []
    for workers, name in (("0", "a"), ("2", "b")):
        copied = root / f"seeded_{name}"
        options = ["--raw", str(root / "raw"), "--preprocessed", str(root / "preprocessed")]
        command = ["train", "901", "3d_fullres", "1", "-p", PLANS, "--seed", "5"]
        command += ["--epochs", "1", "--iterations", "3", "-device", "cpu", *PLAIN, *options]
        with environment(nnUNet_n_proc_DA=workers):
            assert main([*command, "--results", str(copied)]) == 0
        checkpoint = next(copied.rglob("checkpoint_final.pth"))
        weights.append(torch.load(checkpoint, weights_only=False)["network_weights"])
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_an_interrupted_training_goes_on_as_it_was_begun(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interrupted after one of two epochs, its last checkpoint torn, and continued: the same."""
    from umamba.nnunet.training.trainers import nnUNetTrainerUMamba

    def command(name: str, *more: str) -> list[str]:
        options = ["--raw", str(root / "raw"), "--preprocessed", str(root / "preprocessed")]
        options += ["--results", str(root / name), "-device", "cpu", *PLAIN, *more]
        return ["train", "901", "3d_fullres", "1", "-p", PLANS, *options]

    length = [*FEW, "--seed", "7"]
    assert main(command("whole", *length)) == 0
    begin = nnUNetTrainerUMamba.on_epoch_start

    def interrupt(self: Any) -> None:
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        begin(self)

    with monkeypatch.context() as patched:
        patched.setattr(nnUNetTrainerUMamba, "on_epoch_start", interrupt)
        assert main(command("broken", *length, "--tensorboard")) == 75
    assert "--resume (or --c) continues from" in capsys.readouterr().err
    assert main(command("broken", "--resume", "--epochs", "9")) == 2
    assert "leave --epochs, --iterations and --seed out" in capsys.readouterr().err
    latest = next((root / "broken").rglob("checkpoint_latest.pth"))
    shutil.copy(latest, previous_of(latest))
    latest.write_bytes(latest.read_bytes()[:1000])
    assert main(command("broken", "--resume", "--tensorboard")) == 0
    assert f"resuming from {latest.with_name('checkpoint_best.pth')}" in capsys.readouterr().err
    shown = EventAccumulator(str(latest.parent / "tensorboard")).Reload()
    assert [event.step for event in shown.Scalars("pseudo Dice/mean")] == [1, 2]
    kept = sorted(path.name for path in latest.parent.glob("checkpoint*"))
    assert kept == ["checkpoint_best.pth", "checkpoint_final.pth"]
    whole, broken = (
        torch.load(next((root / name).rglob("checkpoint_final.pth")), weights_only=False)
        for name in ("whole", "broken")
    )
    assert broken["current_epoch"] == whole["current_epoch"] == 2
    assert broken["umamba"] == {
        "epochs": 2,
        "iterations_per_epoch": 3,
        "validation_iterations_per_epoch": 1,
        "recipe": "nnunet",
        "seed": 7,
        "seeds": "independent",
    }
    for key, weight in whole["network_weights"].items():
        assert torch.equal(broken["network_weights"][key], weight), key


def test_validation_of_one_case_without_mirroring_predicts_as_disable_tta(
    root: Path, trained: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    shutil.copytree(root / "results", results)
    command = ["train", "901", "3d_fullres", "0", "-p", PLANS, "--val", *PLAIN]
    command += ["--validation-cases", "1"]
    before = results / NAME / trained.name / "fold_0" / "validation"
    all_cases = {path.name.removesuffix(".nii.gz") for path in before.glob("*.nii.gz")}
    shutil.rmtree(before)
    folders = ["--raw", str(root / "raw"), "--preprocessed", str(root / "preprocessed")]
    assert main([*command, "-device", "cpu", *folders, "--results", str(results)]) == 0
    fold = results / NAME / trained.name / "fold_0"
    assert predict(root, "-m", str(trained), "-f", "0", "-o", str(tmp_path / "out")) == 0
    validated = sorted((fold / "validation").glob("*.nii.gz"))
    assert [f"{case}.nii.gz" for case in chosen_cases(all_cases, 1)] == [validated[0].name]
    assert len(all_cases) > len(validated) == 1
    mirrored = [voxels(trained / "fold_0" / "validation" / path.name) for path in validated]
    plain = [voxels(path) for path in validated]
    assert all(
        np.array_equal(mask, voxels(tmp_path / "out" / path.name))
        for mask, path in zip(plain, validated, strict=True)
    )
    assert any((a != b).any() for a, b in zip(plain, mirrored, strict=True))
    checkpoint = torch.load(fold / "checkpoint_final.pth", weights_only=False)
    assert checkpoint["inference_allowed_mirroring_axes"] == (0, 1, 2)


def test_a_finished_fold_is_not_trained_over(
    root: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained / "fold_0" / "checkpoint_final.pth").stat().st_mtime_ns
    command = ["train", "901", "3d_fullres", "0", "-p", PLANS, *FEW, "-device", "cpu"]
    assert main([*command, *folder_options(root)]) == 2
    assert "holds a finished training; --val validates it again" in capsys.readouterr().err
    assert (trained / "fold_0" / "checkpoint_final.pth").stat().st_mtime_ns == before
    assert main([*command, "--resume", *folder_options(root)]) == 2
    assert "leave --epochs" in capsys.readouterr().err


def broken_inputs(folder: Path, root: Path) -> dict[str, str]:
    """Fill a folder with cases that cannot be predicted, one that can; return why not."""
    folder.mkdir()
    good = root / "raw" / NAME / "imagesTr" / "case_0_0000.nii.gz"
    shutil.copy(good, folder / "good_0000.nii.gz")
    (folder / "torn_0000.nii.gz").write_bytes(good.read_bytes()[:2000])
    image = SimpleITK.ReadImage(str(good))
    array = SimpleITK.GetArrayFromImage(image)
    array[2, 3, 4] = np.nan
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(folder / "nan_0000.nii.gz"))
    shutil.copy(good, folder / "two_0000.nii.gz")
    shutil.copy(good, folder / "two_0001.nii.gz")
    return {"torn": "truncated", "nan": "1 NaN voxels", "two": "2 channel"}


def test_bad_cases_are_reported_and_the_rest_is_predicted(
    root: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reasons = broken_inputs(tmp_path / "in", root)
    command = ["predict", "-m", str(trained), "-i", str(tmp_path / "in")]
    command += ["-o", str(tmp_path / "out"), "--disable_tta", "-device", "cpu", "--json"]
    assert main(command) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["predicted"] == ["good"]
    assert set(report["failed"]) == set(reasons)
    for case_id, reason in reasons.items():
        assert reason in report["failed"][case_id]
    assert [p.name for p in (tmp_path / "out").glob("*.nii.gz")] == ["good.nii.gz"]
    assert main([*command, "--continue_prediction"]) == 1
    assert json.loads(capsys.readouterr().out)["skipped"] == ["good"]


def test_only_bad_cases_is_the_users_fault(
    root: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken_inputs(tmp_path / "in", root)
    (tmp_path / "in" / "good_0000.nii.gz").unlink()
    command = ["predict", "-m", str(trained), "-i", str(tmp_path / "in"), "-device", "cpu"]
    assert main([*command, "-o", str(tmp_path / "out")]) == 2
    assert "no case in" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train", "902", "3d_fullres", "0", "-p", PLANS], "data set '902' was not found"),
        (["train", "901", "3d_lowres", "0", "-p", PLANS], "'3d_lowres' is not in plans"),
        (["train", "901", "3d_fullres", "0", "-p", "Other"], "plans 'Other' do not exist"),
        (["train", "901", "3d_fullres", "0", "-p", PLANS, "-tr", "Mine"], "'Mine' does not exist"),
        (["train", "901", "3d_fullres", "4", "-p", PLANS, "--val"], "no finished training"),
        (
            ["train", "901", "3d_fullres", "4", "-p", PLANS, "-pretrained_weights", "/none.pth"],
            "checkpoint /none.pth does not exist",
        ),
        (
            ["train", "901", "3d_fullres", "4", "-p", PLANS, "-tr", "nnUNetTrainer", "--seed", "1"],
            "are for nnUNetTrainerUMamba; nnUNetTrainer sets its own",
        ),
        (
            ["train", "901", "3d_fullres", "4", "-p", PLANS, "--epochs", "3", "--iterations", "2"],
            "2 iterations cannot be spread over 3 epochs",
        ),
        (
            ["train", "901", "3d_fullres", "x", "-p", PLANS],
            "fold 'x' is neither a number nor 'all'",
        ),
        (["plan", "901", "--model", "umamba_bot", "--from", "Other"], "'Other' do not exist"),
        (
            ["plan", "901", "--model", "umamba_bot", "--patch-size", "9", "16", "16"],
            r"patch_size [9, 16, 16]",
        ),
    ],
)
def test_the_users_mistakes_are_named(
    root: Path, command: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(p for p in root.rglob("*"))
    assert main([*command, *folder_options(root)]) == 2
    assert message in capsys.readouterr().err
    assert sorted(p for p in root.rglob("*")) == before


def test_plans_edited_by_hand_are_checked_before_training(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = root / "preprocessed" / NAME
    plans = read_json(folder / f"{PLANS}.json") | {"plans_name": "Edited"}
    plans["configurations"]["3d_fullres"]["patch_size"] = [9, 16, 16]
    (folder / "Edited.json").write_text(json.dumps(plans))
    train = ["train", "901", "3d_fullres", "1", "-p", "Edited", *folder_options(root)]
    assert main(train) == 2
    assert "patch_size [9, 16, 16]" in capsys.readouterr().err
    assert not list((root / "results").rglob("*Edited*"))


def test_unknown_folders_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.delenv(f"nnUNet_{name}", raising=False)
    assert main(["train", "901", "2d", "0", "-p", PLANS]) == 2
    assert "not found in no folder at all" in capsys.readouterr().err
    assert "nnUNet_raw" not in os.environ


def run_trainer(name: str, root: Path, plans: dict[str, Any], dataset_json: dict[str, Any]) -> Any:
    """One epoch of two iterations, as stock nnU-Net's `run_training` does it."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    from umamba.nnunet.training.folds import ext_trainer_folder

    folders = {f"nnUNet_{n}": str(root / n) for n in ("raw", "preprocessed", "results")}
    with environment(**folders, nnUNet_extTrainer=str(ext_trainer_folder())):
        trainer = recursive_find_trainer_class_by_name(name)(
            plans | {"continue_training": False},
            "3d_fullres",
            "all",
            dataset_json,
            torch.device("cpu"),
        )
        trainer.num_epochs, trainer.num_iterations_per_epoch = 1, 2
        trainer.num_val_iterations_per_epoch = 1
        trainer.run_training()
    return trainer


@pytest.mark.parametrize(
    ("trainer", "network", "variant"),
    [
        ("nnUNetTrainerUMambaBot", "UMambaBot", "official"),
        ("nnUNetTrainerUMambaEnc", "UMambaEnc", "official"),
        ("nnUNetTrainerUMambaEncNoAMP", "UMambaEnc", "official"),
    ],
)
def test_the_authors_trainers_train_stock_plans(
    root: Path, tmp_path: Path, trainer: str, network: str, variant: str
) -> None:
    for name in ("raw", "preprocessed"):
        (tmp_path / name).symlink_to(root / name)
    folder = root / "preprocessed" / NAME
    plans = read_json(folder / "nnUNetPlans.json")
    entry = plans["configurations"]["3d_fullres"]
    entry["patch_size"], entry["batch_size"] = [8, 16, 16], 2
    source = read_json(folder / f"{PLANS}.json")["configurations"]["3d_fullres"]
    for key in ("features_per_stage", "n_stages", "kernel_sizes", "strides"):
        entry["architecture"]["arch_kwargs"][key] = source["architecture"]["arch_kwargs"][key]
    done = run_trainer(trainer, tmp_path, plans, read_json(folder / "dataset.json"))
    assert type(done.network).__name__ == network
    assert done.network.variant == variant
    checkpoint = torch.load(f"{done.output_folder}/checkpoint_final.pth", weights_only=False)
    assert checkpoint["trainer_name"] == trainer


def test_stock_trainer_trains_our_plans(root: Path, tmp_path: Path) -> None:
    for name in ("raw", "preprocessed"):
        (tmp_path / name).symlink_to(root / name)
    folder = root / "preprocessed" / NAME
    plans, dataset_json = read_json(folder / f"{PLANS}.json"), read_json(folder / "dataset.json")
    done = run_trainer("nnUNetTrainer", tmp_path, plans, dataset_json)
    assert type(done).__module__.startswith("nnunetv2.")
    assert type(done.network).__name__ == "UMambaBot"
    assert done.network.variant == "paper"


def test_weight_decay_spares_the_recurrence_and_deep_supervision_can_be_off(
    root: Path, tmp_path: Path
) -> None:
    for name in ("raw", "preprocessed"):
        (tmp_path / name).symlink_to(root / name)
    folder = root / "preprocessed" / NAME
    plans = read_json(folder / f"{PLANS}.json")
    folders = {f"nnUNet_{n}": str(tmp_path / n) for n in ("raw", "preprocessed", "results")}
    from umamba.nnunet.training.trainers import nnUNetTrainerUMamba

    with environment(**folders):
        done = nnUNetTrainerUMamba(
            plans | {"continue_training": False},
            "3d_fullres",
            "all",
            read_json(folder / "dataset.json"),
            torch.device("cpu"),
        )
        done.enable_deep_supervision = False
        done.set_budget(epochs=1, iterations=2)
        done.run_training()
    spared = [g for g in done.optimizer.param_groups if g["weight_decay"] == 0]
    names = {id(p): n for n, p in done.network.named_parameters()}
    assert [names[id(p)] for g in spared for p in g["params"]] == [
        "mamba_layer.mamba.A_log",
        "mamba_layer.mamba.D",
    ]
    assert sum(len(g["params"]) for g in done.optimizer.param_groups) == len(names)


def second_dataset(root: Path, name: str, **changes: Any) -> None:
    """Copy the toy data set under another name, with changes to its dataset.json."""
    shutil.copytree(root / "raw" / NAME, root / "raw" / name)
    path = root / "raw" / name / "dataset.json"
    path.write_text(json.dumps(read_json(path) | changes))


@pytest.mark.usefixtures("uncounted_memory")
def test_regions_and_ignore_label_train(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "Dataset902_Regions"
    labels = {"background": 0, "whole": [1, 2], "small": 2, "ignore": 3}
    second_dataset(root, name, labels=labels, regions_class_order=[1, 2])
    for path in (root / "raw" / name / "labelsTr").iterdir():
        image = SimpleITK.ReadImage(str(path))
        array = SimpleITK.GetArrayFromImage(image)
        array[:2] = 3
        marked = SimpleITK.GetImageFromArray(array)
        marked.CopyInformation(image)
        SimpleITK.WriteImage(marked, str(path))
    plan = ["plan", name, "--model", "umamba_enc", "--features", "4,8", "--batch-size", "2"]
    plan += ["--patch-size", "8", "16", "16", "--configurations", "3d_fullres"]
    assert main([*plan, *folder_options(root)]) == 0
    train = ["train", name, "3d_fullres", "0", "--model", "umamba_enc", "--iterations", "2"]
    assert main([*train, *PLAIN, "-device", "cpu", *folder_options(root)]) == 0
    summary = next((root / "results" / name).rglob("validation/summary.json"))
    assert set(read_json(summary)["mean"]) == {"(1, 2)", "2"}
    assert re.search(r"\(whole: [\d.]+, small: [\d.]+\)\n$", capsys.readouterr().out)


@pytest.mark.usefixtures("uncounted_memory")
def test_cascade_trains_and_predicts(root: Path, tmp_path: Path) -> None:
    """Both stages on `all`: the first predicts every case for the second."""
    folder = root / "preprocessed" / NAME
    plans = read_json(folder / "nnUNetPlans.json")
    fullres = plans["configurations"]["3d_fullres"]
    lowres = {
        "data_identifier": "nnUNetPlans_3d_lowres",
        "inherits_from": "3d_fullres",
        "spacing": [1.5 * s for s in fullres["spacing"]],
        "next_stage": "3d_cascade_fullres",
    }
    cascade = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    plans["plans_name"] = "CascadePlans"
    plans["configurations"] |= {"3d_lowres": lowres, "3d_cascade_fullres": cascade}
    (folder / "CascadePlans.json").write_text(json.dumps(plans))
    plan = ["plan", "901", "--model", "umamba_bot", "--from", "CascadePlans", "--features", "4"]
    plan += ["--plans-name", "Cascade", "--patch-size", "8", "16", "16", "--batch-size", "2"]
    assert main([*plan, *folder_options(root)]) == 0
    train = ["train", "901", "3d_cascade_fullres", "all", "-p", "Cascade", "--iterations", "2"]
    assert main([*train, *folder_options(root)]) == 2  # the first stage has not predicted yet
    for configuration in ("3d_lowres", "3d_cascade_fullres"):
        train = ["train", "901", configuration, "all", "-p", "Cascade", "--iterations", "2"]
        assert main([*train, *PLAIN, "-device", "cpu", *folder_options(root)]) == 0
    model = root / "results" / NAME / "nnUNetTrainerUMamba__Cascade__"
    first = ["-m", f"{model}3d_lowres", "-f", "all", "-o", str(tmp_path / "first")]
    assert predict(root, *first) == 0
    second = ["-m", f"{model}3d_cascade_fullres", "-f", "all", "-o", str(tmp_path / "second")]
    assert predict(root, *second) == 2
    previous = ["-prev_stage_predictions", str(tmp_path / "first")]
    assert predict(root, *second, *previous) == 0
    assert len(list((tmp_path / "second").glob("*.nii.gz"))) == 6


@pytest.mark.slow
def test_stock_finds_the_best_configuration(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunetv2.evaluation.find_best_configuration import find_best_configuration

    for fold in range(5):
        train = ["train", "901", "3d_fullres", str(fold), "-p", PLANS, "--iterations", "2"]
        train += ["--npz", "--overwrite", "-device", "cpu", *folder_options(root)]
        assert main(train) == 0
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(root / name))
    model = {"plans": PLANS, "configuration": "3d_fullres", "trainer": "nnUNetTrainerUMamba"}
    best = find_best_configuration(901, (model,), allow_ensembling=False, num_processes=2)
    assert (
        best["best_model_or_ensemble"]["selected_model_or_models"][0]["plans_identifier"] == PLANS
    )
