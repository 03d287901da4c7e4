"""A small model folder as training leaves it, with random weights: nothing is trained."""

import json
from pathlib import Path

import torch

from plans_factory import DATASET_JSON, stock_plans
from toy import NAME
from umamba.nnunet.checkpoints.files import write_checkpoint
from umamba.nnunet.plans.derivation import PlanOptions, Plans, derive_plans
from umamba.registry import find_architecture

MODEL = "nnUNetTrainerUMamba__nnUNetUMambaBotPlans__3d_fullres"
SUMMARY = {
    "foreground_mean": {"Dice": 0.75},
    "mean": {"1": {"Dice": 0.75}, "2": {"Dice": float("nan")}},
    "metric_per_case": [{"prediction_file": "/home/somebody/secret_case.nii.gz"}],
}


def toy_plans() -> Plans:
    source = stock_plans()
    source["configurations"] = {"3d_fullres": source["configurations"]["3d_fullres"]}
    source["configurations"]["3d_fullres"]["spacing"] = [2.0, 1.2, 1.0]
    source["foreground_intensity_properties_per_channel"] = {"0": {}}
    options = PlanOptions(features=(4, 8), patch_size=(8, 16, 16))
    return derive_plans(source, find_architecture("umamba_bot"), options)


def write_toy_model(results: Path, folds: tuple[str, ...] = ("0", "1")) -> Path:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    folder = results / NAME / MODEL
    folder.mkdir(parents=True)
    plans = toy_plans()
    dataset_json = DATASET_JSON | {"licence": "CC BY 4.0", "training": ["secret_case"]}
    (folder / "plans.json").write_text(json.dumps(plans | {"continue_training": False}))
    (folder / "dataset.json").write_text(json.dumps(dataset_json))
    (folder / "dataset_fingerprint.json").write_text("{}")
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    for fold in folds:
        network = get_network_from_plans(*architecture.values(), 1, 3, deep_supervision=True)
        (folder / f"fold_{fold}" / "validation").mkdir(parents=True)
        checkpoint = {
            "network_weights": network.state_dict(),
            "optimizer_state": {"momentum": torch.ones(2)},
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": "3d_fullres", "fold": int(fold)},
            "inference_allowed_mirroring_axes": (0, 1, 2),
            "current_epoch": 2,
        }
        path = folder / f"fold_{fold}" / "checkpoint_final.pth"
        write_checkpoint(checkpoint, path, keep_previous=False)
        summary = folder / f"fold_{fold}" / "validation" / "summary.json"
        summary.write_text(json.dumps(SUMMARY))
        (folder / f"fold_{fold}" / "progress.png").touch()
    return folder
