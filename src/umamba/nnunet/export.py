"""A trained model to a folder or zip file that can be shared: weights, description, checksums."""

import json
import os
import platform
import re
import shutil
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

from umamba import __version__
from umamba.errors import CheckpointError, ModelFileError, PlansError
from umamba.nnunet.checkpoints import read_checkpoint
from umamba.nnunet.json_files import load_json
from umamba.nnunet.manifest import CARD, MANIFEST, FoldRecord, Manifest, sha256
from umamba.nnunet.model_card import model_card
from umamba.nnunet.model_loading import find_folds
from umamba.nnunet.paths import Paths, check_writable
from umamba.nnunet.preparation import find_dataset
from umamba.nnunet.trust import read_model_description
from umamba.nnunet.weight_files import write_weights

__all__ = ["ExportRequest", "export_model"]

# What others need; a training's lists of cases, paths and settings stay here.
_PLANS_KEYS = (
    "dataset_name",
    "plans_name",
    "original_median_spacing_after_transp",
    "original_median_shape_after_transp",
    "image_reader_writer",
    "transpose_forward",
    "transpose_backward",
    "configurations",
    "experiment_planner_used",
    "label_manager",
    "foreground_intensity_properties_per_channel",
    "foreground_intensity_properties_by_modality",
)
_DATASET_KEYS = (
    "channel_names",
    "modality",
    "labels",
    "regions_class_order",
    "file_ending",
    "numTraining",
    "overwrite_image_reader_writer",
    "name",
    "description",
    "reference",
    "release",
    "licence",
    "license",
)
_LOCAL_PATH = re.compile(r"(/|~|[A-Za-z]:[\\/]|\\\\|file:)")


@dataclass(frozen=True)
class ExportRequest:
    """Which model to export.

    Args:
        dataset: `DatasetXXX_Name` or its number.
        configuration: `2d`, `3d_fullres`, ...
        plans_name: Name of the plans.
        trainer: Name of the trainer.
        folds: Folds to export; empty means all that are there.
        checkpoint_name: File in each fold.
        trust_plans: Whether plans may name code that is not known here.
    """

    dataset: str
    configuration: str
    plans_name: str
    trainer: str = "nnUNetTrainerUMamba"
    folds: tuple[str, ...] = ()
    checkpoint_name: str = "checkpoint_final.pth"
    trust_plans: bool = False


def export_model(request: ExportRequest, output: Path, paths: Paths) -> Manifest:
    """Write a trained model as a folder, or as a zip file where the output's name ends in `.zip`.

    Args:
        request: The model.
        output: Where it goes; nothing may be there yet.
        paths: nnU-Net's folders.

    Returns:
        What was written.

    Raises:
        UMambaError: If the model is not there, or cannot be shared, or the output cannot be
            written; nothing is left there.
    """
    dataset = find_dataset(request.dataset, paths)
    name = f"{request.trainer}__{request.plans_name}__{request.configuration}"
    model = paths.require("results") / dataset / name
    if not model.is_dir():
        msg = f"model folder {model} does not exist; train first, or check -p, -tr and the names"
        raise ModelFileError(msg)
    if output.exists() or output.is_symlink():
        msg = f"{output} exists, and nothing is overwritten; give another -o"
        raise ModelFileError(msg)
    check_writable(output, "-o")
    partial = output.with_name(f".{output.name}.partial-{os.getpid()}")
    try:
        (partial / "model").mkdir(parents=True)
        manifest = _write_folder(request, dataset, model, partial / "model")
        if output.suffix.lower() == ".zip":
            _zip(partial / "model", partial / "model.zip")
            (partial / "model.zip").rename(output)
        else:
            (partial / "model").rename(output)
    except OSError as error:
        msg = f"cannot write {output} ({error.strerror or error}); give another -o, or make room"
        raise ModelFileError(msg) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _write_folder(request: ExportRequest, dataset: str, model: Path, folder: Path) -> Manifest:
    dataset_json, plans = read_model_description(model, trusted=request.trust_plans)
    dataset_json = _shareable(dataset_json, _DATASET_KEYS, model / "dataset.json")
    plans = _shareable(plans, _PLANS_KEYS, model / "plans.json")
    for name, content in (("dataset.json", dataset_json), ("plans.json", plans)):
        (folder / name).write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
    folds, metrics = {}, {}
    for fold in request.folds or find_folds(model, request.checkpoint_name):
        sys.stderr.write(f"exporting fold {fold}\n")
        folds[fold] = _write_fold(model / f"fold_{fold}" / request.checkpoint_name, fold, folder)
        summary = model / f"fold_{fold}" / "validation" / "summary.json"
        if summary.is_file():
            metrics[fold] = _metrics(load_json(summary))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = Manifest(
        dataset=dataset,
        trainer=request.trainer,
        plans_name=request.plans_name,
        configuration=request.configuration,
        folds=folds,
        versions={
            "umamba": __version__,
            "nnunetv2": version("nnunetv2"),
            "torch": version("torch"),
            "python": platform.python_version(),
        },
        metrics=metrics,
        files={
            path.relative_to(folder).as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": sha256(path),
            }
            for path in files
        },
    )
    manifest.write(folder)
    (folder / CARD).write_text(model_card(manifest, dataset_json, plans), encoding="utf-8")
    return manifest


def _write_fold(checkpoint_path: Path, fold: str, folder: Path) -> FoldRecord:
    checkpoint = read_checkpoint(checkpoint_path)
    relative = f"fold_{fold}/weights.safetensors"
    (folder / relative).parent.mkdir()
    write_weights(checkpoint["network_weights"], folder / relative, checkpoint_path)
    if "trainer_name" not in checkpoint:
        msg = f"checkpoint {checkpoint_path} names no trainer; it was not written by nnU-Net v2"
        raise CheckpointError(msg)
    axes = checkpoint.get("inference_allowed_mirroring_axes")
    epochs = checkpoint.get("current_epoch")
    return FoldRecord(
        weights=relative,
        trainer_name=str(checkpoint["trainer_name"]),
        mirroring_axes=None if axes is None else tuple(int(axis) for axis in axes),
        epochs=None if epochs is None else int(epochs),
    )


def _metrics(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the means of a validation; the names of its cases stay here."""

    def known(value: float) -> float | None:  # NaN for a label that is in no case
        return value if isfinite(value) else None

    return {
        "cases": len(summary["metric_per_case"]),
        "mean_dice": known(summary["foreground_mean"]["Dice"]),
        "dice": {label: known(values["Dice"]) for label, values in summary["mean"].items()},
    }


def _shareable(content: Mapping[str, Any], keys: tuple[str, ...], file: Path) -> dict[str, Any]:
    """Return the entries that others need.

    Raises:
        PlansError: If a path of this machine is among them.
    """
    kept = {key: content[key] for key in keys if key in content}
    for place, text in _texts(kept, ""):
        if _LOCAL_PATH.match(text):
            msg = (
                f"{file}: {place} is {text!r}, a path of this machine, which is not to be shared; "
                "remove it"
            )
            raise PlansError(msg)
    return kept


def _texts(content: Any, place: str) -> list[tuple[str, str]]:
    if isinstance(content, str):
        return [(place, content)]
    items: list[tuple[Any, Any]] = []
    if isinstance(content, Mapping):
        items = list(content.items())
    elif isinstance(content, list):
        items = list(enumerate(content))
    return [found for key, value in items for found in _texts(value, f"{place}.{key}".lstrip("."))]


def _zip(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as zipped:
        for name in (CARD, MANIFEST):  # first, for whoever looks into it
            zipped.write(folder / name, name, zipfile.ZIP_DEFLATED)
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and name not in (CARD, MANIFEST):
                zipped.write(path, name)
