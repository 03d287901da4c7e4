"""Load the models that predict: one, or several whose probabilities are averaged."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from umamba.datasets.description import channel_names
from umamba.dicom.output_formats import OutputFormats
from umamba.dicom.studies import StudyOptions
from umamba.errors import UMambaError
from umamba.networks import UMambaUNetPlusPlus
from umamba.nnunet.model_loading import read_model
from umamba.nnunet.plans.networks import building
from umamba.nnunet.postprocessing import PostProcessing, read_postprocessing
from umamba.nnunet.prediction.engines import use_engine
from umamba.nnunet.sharing.installation import opened_model
from umamba.system.terminal import hidden_stdout

__all__ = ["PredictionOptions", "image_reader", "load_model", "load_models", "postprocessing_of"]


@dataclass(frozen=True)
class PredictionOptions:
    """The options of prediction; names and defaults are nnU-Net's.

    Args:
        folds: Folds to ensemble; empty means all that exist.
        checkpoint_name: File in each fold.
        engine: What runs the network: `auto`, `torch` or an ONNX engine.
        prune_to: Depth to which a `unetpp_nested` is computed; `None` means all of it.
        step_size: Step of the sliding window, in patches.
        mirroring: Whether predictions of mirrored images are averaged.
        skip_background_patches: Whether patches that are background in a coarse pass keep its
            logits.
        save_probabilities: Whether probabilities are written as well.
        device: `cpu`, `cuda` or `mps`.
        previous_stage: Segmentations of the first stage, for a cascade.
        overwrite: Whether cases with an output are predicted again.
        num_parts: Number of parts that the sorted cases are divided into.
        part_id: The part to predict, from 0: every `num_parts`-th case, beginning with this one.
        trust_plans: Whether plans and checkpoints may name any code to import.
        studies: The options of reading DICOM.
        formats: The formats of the segmentations.
        ensemble: Folders of further models, whose probabilities are averaged with the first's.
        postprocessing: File of post-processing that nnU-Net chose, to be applied.
    """

    folds: tuple[str, ...] = ()
    checkpoint_name: str = "checkpoint_final.pth"
    engine: str = "torch"
    prune_to: int | None = None
    step_size: float = 0.5
    mirroring: bool = True
    skip_background_patches: bool = False
    save_probabilities: bool = False
    device: str = "cpu"
    previous_stage: Path | None = None
    overwrite: bool = False
    num_parts: int = 1
    part_id: int = 0
    trust_plans: bool = False
    studies: StudyOptions = field(default_factory=StudyOptions)
    formats: OutputFormats = field(default_factory=OutputFormats)
    ensemble: tuple[Path, ...] = ()
    postprocessing: Path | None = None


def load_model(model_folder: Path, options: PredictionOptions) -> Any:
    """Build nnU-Net's predictor from a model folder of nnU-Net, the authors' fork, or ours.

    Checkpoints are read without running code in them.

    Args:
        model_folder: Folder with `plans.json`, `dataset.json` and `fold_*`.
        options: The options of prediction.

    Returns:
        An `nnUNetPredictor`, ready to predict.

    Raises:
        UMambaError: If the folder is not a model, or its parts do not fit together.
    """
    predictor = _torch_predictor(model_folder, options)
    use_engine(predictor, model_folder, options.engine, is_pruned=options.prune_to is not None)
    return predictor


def _torch_predictor(model_folder: Path, options: PredictionOptions) -> Any:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    model = read_model(
        model_folder, options.folds, options.checkpoint_name, trust_plans=options.trust_plans
    )
    with building(model_folder / "plans.json"):
        network = model.build()
    network.load_state_dict(model.weights[0])
    if options.prune_to is not None:
        _prune(network, options.prune_to)
    device = torch.device(options.device)
    with hidden_stdout():  # on a CPU it says that this is no GPU
        predictor = nnUNetPredictor(
            tile_step_size=options.step_size,
            use_mirroring=options.mirroring,
            perform_everything_on_device=device.type == "cuda",
            device=device,
            allow_tqdm=sys.stderr.isatty(),
        )
    predictor.manual_initialization(
        network,
        model.plans,
        model.configuration,
        list(model.weights),
        model.dataset_json,
        model.trainer,
        model.mirroring_axes,
    )
    return predictor


def _prune(network: torch.nn.Module, depth: int) -> None:
    if not isinstance(network, UMambaUNetPlusPlus):
        msg = f"--prune-to is for unetpp_nested; a {type(network).__name__} cannot be pruned"
        raise UMambaError(msg)
    network.prune(depth)


def image_reader(predictor: Any) -> str:
    """Return the name of nnU-Net's reader in the plans of a model."""
    return str(predictor.plans_manager.plans.get("image_reader_writer"))


def load_models(folders: Sequence[Path], options: PredictionOptions) -> list[Any]:
    """Build nnU-Net's predictors of one model, or of several that fit together.

    Args:
        folders: A folder, exported folder or zip file for each.
        options: The options of prediction.

    Raises:
        UMambaError: If a model cannot be used, or they do not read and predict the same.
    """
    with ExitStack() as opened:
        models = [
            load_model(
                opened.enter_context(opened_model(folder, trust_plans=options.trust_plans)), options
            )
            for folder in folders
        ]
    for model, folder in zip(models, folders, strict=True):
        _check_cascade(model, options)
        for what, value in _common(models[0]).items():
            if _common(model)[what] != value:
                msg = (
                    f"the models {folders[0]} and {folder} have different {what}; an ensemble "
                    "needs models of one data set"
                )
                raise UMambaError(msg)
    return models


def _common(model: Any) -> dict[str, Any]:
    """Return the properties in which the models of an ensemble must agree."""
    return {
        "channels": channel_names(model.dataset_json),
        "labels": model.dataset_json["labels"],
        "regions_class_order": model.dataset_json.get("regions_class_order"),
        "file endings": model.dataset_json["file_ending"],
        "readers of images": image_reader(model),
    }


def postprocessing_of(model: Any, file: Path | None) -> PostProcessing:
    """Return the post-processing in a file, for the labels of a model; without one, none.

    Raises:
        UMambaError: If the file cannot be used.
    """
    if file is None:
        return PostProcessing()
    return read_postprocessing(file, list(map(int, model.label_manager.foreground_labels)))


def _check_cascade(predictor: Any, options: PredictionOptions) -> None:
    stage = predictor.configuration_manager.previous_stage_name
    if stage is not None and options.previous_stage is None:
        msg = (
            f"this model is the second stage of a cascade; predict with {stage} first, and give "
            "that output as -prev_stage_predictions DIR"
        )
        raise UMambaError(msg)
