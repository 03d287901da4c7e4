"""A model as 3D Slicer's extension NNUNet takes it from a folder.

The extension takes the first `dataset.json` that it finds below the folder for that of the model,
wants `DatasetXXX_Name/TRAINER__PLANS__CONFIGURATION/fold_N/checkpoint_final.pth`, takes numbers of
folds only, hands over one volume as NIfTI, and runs stock `nnUNetv2_predict`, without any variable
but nnU-Net's three folders (KitwareMedical/SlicerNNUnet, `Parameter.py`, `SegmentationLogic.py`).
"""

import sys
from pathlib import Path

from umamba.datasets.description import channel_names
from umamba.errors import ModelFileError, quoted
from umamba.nnunet.checkpoints.files import read_checkpoint
from umamba.nnunet.fold_folders import fold_folder, folders_of_folds
from umamba.nnunet.plans.derivation import resolve
from umamba.system.json_files import load_json

__all__ = ["check_slicer_folder", "fit_for_slicer"]

_CHECKPOINT = "checkpoint_final.pth"
_ENDING = ".nii.gz"
_NEEDS_VARIABLE = "nnUNetTrainerUMamba"  # how trainers begin that stock nnU-Net does not find


def check_slicer_folder(folder: Path) -> None:
    """Check that a folder holds no other model.

    Raises:
        ModelFileError: If it does.
    """
    other = next(folder.rglob("dataset.json"), None) if folder.is_dir() else None
    if other is not None:
        msg = (
            f"{folder} holds a model already, {other.parent.name}, and Slicer takes the first that "
            "it finds in a folder; give a new folder"
        )
        raise ModelFileError(msg)


def fit_for_slicer(model: Path, source: Path) -> None:
    """Check that the extension can run a model, and number its fold `all` as 0.

    Args:
        model: Its folder, which is changed.
        source: The user's name for it.

    Raises:
        ModelFileError: If it cannot.
    """
    dataset_json = load_json(model / "dataset.json")
    channels, ending = channel_names(dataset_json), str(dataset_json["file_ending"])
    if len(channels) != 1:
        msg = (
            f"{source} needs the channels {', '.join(map(str, channels))}, but Slicer's extension "
            "gives it one volume; use `umamba predict`"
        )
        raise ModelFileError(msg)
    if ending != _ENDING:
        msg = f"{source} reads {ending}, Slicer's extension writes .nii.gz; use `umamba predict`"
        raise ModelFileError(msg)
    if len(model.name.split("__")) != 3:
        msg = f"{source}: {model.name} must have two double underscores, between its three parts"
        raise ModelFileError(msg)
    configuration = model.name.split("__")[2]
    stage = resolve(load_json(model / "plans.json"), configuration).get("previous_stage")
    if stage is not None:
        msg = (
            f"{source} is the second stage of a cascade, which needs what {stage} predicts, and "
            "Slicer's extension runs one model; use `umamba predict`"
        )
        raise ModelFileError(msg)
    whole, first = fold_folder(model, "all"), fold_folder(model, "0")
    if whole.is_dir() and not first.exists():
        sys.stderr.write(
            "note: fold all becomes fold 0, as Slicer's extension takes numbers only\n"
        )
        whole.rename(first)
    for fold in folders_of_folds(model):
        _check_fold(fold, source)


def _check_fold(fold: Path, source: Path) -> None:
    checkpoint = fold / _CHECKPOINT
    if not checkpoint.is_file():
        msg = f"{source}: {fold.name} has no {_CHECKPOINT}, which Slicer's extension looks for"
        raise ModelFileError(msg)
    trainer = str(read_checkpoint(checkpoint).get("trainer_name"))
    if trainer.startswith(_NEEDS_VARIABLE):
        msg = (
            f"{source}: stock nnU-Net finds the trainer {quoted(trainer)} by the variable "
            "nnUNet_extTrainer alone, which Slicer's extension does not set; train from plans of "
            "`umamba plan`, or use `umamba predict`"
        )
        raise ModelFileError(msg)
