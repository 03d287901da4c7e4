"""Export a trained model as a folder or zip file to share: weights, description, checksums."""

import json
import platform
import re
import shutil
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

from umamba import __version__
from umamba.errors import CheckpointError, ModelFileError, quoted
from umamba.nnunet.checkpoints.files import read_checkpoint
from umamba.nnunet.fold_folders import fold_folder, folders_of_folds
from umamba.nnunet.model_loading import find_folds, read_model
from umamba.nnunet.paths import Paths
from umamba.nnunet.postprocessing import copy_postprocessing
from umamba.nnunet.preparation import find_dataset
from umamba.nnunet.sharing.compared_cases import CaseSources
from umamba.nnunet.sharing.fold_facts import count_cases, count_iterations
from umamba.nnunet.sharing.hub_metadata import check_for_hub, validate
from umamba.nnunet.sharing.manifest import CARD, MANIFEST, FoldRecord, Manifest
from umamba.nnunet.sharing.model_card import licence_of, model_card
from umamba.nnunet.sharing.network_files import write_networks, write_programs
from umamba.nnunet.sharing.shareable import Sieve
from umamba.nnunet.sharing.weight_files import write_weights
from umamba.nnunet.trust import read_model_description
from umamba.onnx_export.programs import require_compiler
from umamba.onnx_export.writing import require_onnx
from umamba.runtime.pipeline import NetworkFile
from umamba.system.checksums import sha256
from umamba.system.json_files import load_json
from umamba.system.publishing import publication
from umamba.system.run_lock import refuse_if_at_work

__all__ = ["ExportRequest", "export_model"]

_LABEL = re.compile(r"\d+|\(\d+(, ?\d+)*,?\)", re.ASCII)  # or a region, as nnU-Net writes it
_WEIGHT = re.compile(r"\w+(\.\w+)*", re.ASCII)
_TRAINER = re.compile(r"\w+", re.ASCII)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first day that a zip file knows
_UNIX = 3
_SHOWN = 8
_WEIGHTS = "weights.safetensors"

_SUMMARY = "validation/summary.json"


@dataclass(frozen=True)
class ExportRequest:
    """The model to export.

    Args:
        dataset: `DatasetXXX_Name` or its number.
        configuration: `2d`, `3d_fullres`, ...
        plans_name: Name of the plans.
        trainer: Name of the trainer.
        folds: Folds to export; empty means all that exist.
        checkpoint_name: File in each fold.
        trust_plans: Whether plans may name unknown code.
        for_hub: Whether the card must have what people look for on the Hugging Face hub.
        onnx: Whether the networks are written as ONNX files, too.
        check_image: The files of an image, by channel, whose labels ONNX engines must find; empty
            for a case of the data set.
        pt2: Whether they are written as programs of `torch.export`, too.
        aotinductor: Whether they are compiled by AOTInductor, too.
    """

    dataset: str
    configuration: str
    plans_name: str
    trainer: str = "nnUNetTrainerUMamba"
    folds: tuple[str, ...] = ()
    checkpoint_name: str = "checkpoint_final.pth"
    trust_plans: bool = False
    for_hub: bool = False
    onnx: bool = False
    check_image: tuple[Path, ...] = ()
    pt2: bool = False
    aotinductor: bool = False


def export_model(request: ExportRequest, output: Path, paths: Paths) -> Manifest:
    """Write a trained model as a folder, or as a zip file where the output's name ends in `.zip`.

    Args:
        request: The model.
        output: The folder or zip file, which must not exist yet.
        paths: nnU-Net's folders.

    Returns:
        The manifest that was written.

    Raises:
        UMambaError: If the model does not exist or cannot be shared, or the output cannot be
            written; nothing is left there.
    """
    if request.aotinductor:
        require_compiler()
    if request.onnx:
        require_onnx()
    elif request.check_image:
        msg = "--check-image is compared with what ONNX files predict; give --onnx, too"
        raise ModelFileError(msg)
    dataset = find_dataset(request.dataset, paths)
    name = f"{request.trainer}__{request.plans_name}__{request.configuration}"
    model = paths.require("results") / dataset / name
    if not model.is_dir():
        msg = f"model folder {model} does not exist; train first, or check -p, -tr and the names"
        raise ModelFileError(msg)
    sources = CaseSources(
        request.check_image,
        paths.preprocessed and paths.preprocessed / dataset,
        paths.raw and paths.raw / dataset,
    )
    with publication(output, "nothing is overwritten: give another -o") as work:
        is_zip = output.suffix.lower() == ".zip"
        folder = work.workspace / "model" if is_zip else work.new
        folder.mkdir()
        manifest = _write_folder(request, dataset, model, folder, sources)
        if is_zip:
            _zip(folder, work.new)
        work.publish()
    return manifest


def _finished_folds(request: ExportRequest, model: Path) -> list[str]:
    """Return the folds to export, after a check that no other process works in them.

    Raises:
        UMambaError: If one does, or if there is no fold.
    """
    asked = [fold_folder(model, fold) for fold in request.folds]
    for folder in asked or folders_of_folds(model):
        refuse_if_at_work(folder, "export other folds with -f")
    return list(dict.fromkeys(request.folds)) or find_folds(model, request.checkpoint_name)


def _write_folder(
    request: ExportRequest, dataset: str, model: Path, folder: Path, sources: CaseSources
) -> Manifest:
    dataset_json, plans = _shareable(model, trusted=request.trust_plans)
    trained = read_model(  # as whoever installs it will
        model,
        tuple(dict.fromkeys(request.folds)),
        request.checkpoint_name,
        trust_plans=request.trust_plans,
        described=(dataset_json, plans),
    )
    for name, content in (("dataset.json", dataset_json), ("plans.json", plans)):
        (folder / name).write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
    folds, summaries = {}, {}
    finished = _finished_folds(request, model)
    splits = sources.preprocessed and sources.preprocessed / "splits_final.json"
    for fold in finished:
        sys.stderr.write(f"exporting fold {fold}\n")
        source = fold_folder(model, fold)
        record = _write_fold(request, source, fold_folder(folder, fold))
        cases = count_cases(source, dataset_json, splits)
        folds[fold] = replace(record, training_cases=cases[0], validation_cases=cases[1])
        summary = source / _SUMMARY
        if summary.is_file():
            summaries[fold] = load_json(summary)
    validation = validate(summaries)
    if request.for_hub:
        check_for_hub(licence_of(dataset_json), validation)
    labels = trained.plans.get_label_manager(trained.dataset_json).foreground_labels
    chosen = copy_postprocessing(model, finished, folder, list(map(int, labels)))
    networks: Sequence[NetworkFile] = ()
    if request.onnx:
        networks = write_networks(
            trained,
            finished,
            (dataset_json, plans),
            request.configuration,
            folder,
            sources,
            chosen,
        )
    # Compiling takes minutes; by now an image to check that does not fit has been refused.
    if request.pt2:
        write_programs(trained, finished, folder, sources)
    if request.aotinductor:
        write_programs(trained, finished, folder, sources, compiled=True)
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
        metrics={fold: _metrics(summary) for fold, summary in summaries.items()},
        files={
            path.relative_to(folder).as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": sha256(path),
            }
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    )
    manifest.write(folder)
    card = model_card(manifest, dataset_json, plans, validation, networks)
    (folder / CARD).write_text(card, encoding="utf-8")
    return manifest


def _write_fold(request: ExportRequest, source: Path, folder: Path) -> FoldRecord:
    checkpoint_path = source / request.checkpoint_name
    checkpoint = read_checkpoint(checkpoint_path)
    folder.mkdir()
    weights, trainer = checkpoint["network_weights"], checkpoint.get("trainer_name")
    strange = next((name for name in weights if not _WEIGHT.fullmatch(name)), None)
    if strange is not None:
        named = f"a weight named {quoted(strange)}, which no network has"
        msg = f"checkpoint {checkpoint_path} holds {named}"
        raise CheckpointError(msg)
    if not isinstance(trainer, str) or not _TRAINER.fullmatch(trainer):
        msg = f"checkpoint {checkpoint_path} names no trainer; it was not written by nnU-Net v2"
        raise CheckpointError(msg)
    write_weights(weights, folder / _WEIGHTS, checkpoint_path)
    axes = checkpoint.get("inference_allowed_mirroring_axes")
    epochs = checkpoint.get("current_epoch")
    return FoldRecord(
        weights=f"{folder.name}/{_WEIGHTS}",
        trainer_name=trainer,
        mirroring_axes=None if axes is None else tuple(int(axis) for axis in axes),
        epochs=None if epochs is None else int(epochs),
        iterations=count_iterations(checkpoint, request.trainer),
    )


def _metrics(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the means of a validation; the names of its cases stay here."""

    def known(value: float) -> float | None:  # NaN for a label that is in no case
        return value if isfinite(value) else None

    return {
        "cases": len(summary["metric_per_case"]),
        "mean_dice": known(summary["foreground_mean"]["Dice"]),
        "dice": {
            label: known(values["Dice"])
            for label, values in summary["mean"].items()
            if _LABEL.fullmatch(label)
        },
    }


def _shareable(model: Path, *, trusted: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the shared parts of `dataset.json` and of `plans.json`; note the others.

    Raises:
        PlansError: If an entry that the model needs is private, or of an unknown kind.
    """
    dataset_json, plans = read_model_description(model, trusted=trusted)
    of_dataset = Sieve(model / "dataset.json", _case_ids(model))
    of_plans = Sieve(model / "plans.json")
    shared = of_dataset.description(dataset_json), of_plans.plans(plans)
    for sieve in (of_dataset, of_plans):
        if sieve.left_out:
            listed = ", ".join(map(quoted, sieve.left_out[:_SHOWN]))
            more = ", ..." if len(sieve.left_out) > _SHOWN else ""
            sys.stderr.write(f"note: of {sieve.file.name} not exported: {listed}{more}\n")
    return shared


def _case_ids(model: Path) -> set[str]:
    """Return the names of the cases that the folds were validated on."""
    files = [
        Path(str(case.get("prediction_file", ""))).name
        for fold in folders_of_folds(model, _SUMMARY)
        for case in load_json(fold / _SUMMARY).get("metric_per_case", [])
    ]
    return {name.split(".", 1)[0] for name in files}


def _zip(folder: Path, archive: Path) -> None:
    """Pack a folder so that the same files give the same bytes at any time and place."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    first = [CARD, MANIFEST]  # for people who look into it
    with zipfile.ZipFile(archive, "w") as zipped:
        for name in first + [name for name in names if name not in first]:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = _UNIX, 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED if name in first else zipfile.ZIP_STORED
            entry.file_size = (folder / name).stat().st_size
            with (folder / name).open("rb") as file, zipped.open(entry, "w") as packed:
                shutil.copyfileobj(file, packed, 2**20)
