"""Install a shared model: verify it, rebuild it from plain data, put it in place atomically."""

import contextlib
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from umamba.errors import CheckpointError, ModelFileError, UMambaError
from umamba.nnunet.checkpoints.files import read_checkpoint, write_checkpoint
from umamba.nnunet.fold_folders import fold_folder, fold_name, folders_of_folds
from umamba.nnunet.model_loading import read_model
from umamba.nnunet.paths import Paths
from umamba.nnunet.postprocessing import chosen_for
from umamba.nnunet.sharing.manifest import CARD, MANIFEST, verify_folder
from umamba.nnunet.sharing.slicer_layout import check_slicer_folder, fit_for_slicer
from umamba.nnunet.sharing.weight_files import read_weights
from umamba.runtime.onnx_files import checked_onnx
from umamba.runtime.pipeline import PIPELINE, read_pipeline
from umamba.system.archives import list_members, unpack
from umamba.system.atomic_files import take_name
from umamba.system.checksums import sha256
from umamba.system.path_names import check_writable
from umamba.system.publishing import (
    full_temporary_folder_explained,
    publication,
    scratch_folder,
)

__all__ = ["install_model", "opened_model"]

_STAGING = ".umamba-install-"
_DATASET = re.compile(r"Dataset\d{3}_[\w.-]+", re.ASCII)
_MODEL = re.compile(r"[\w.-]+?__[\w.-]+?__[\w.-]+", re.ASCII)
# The rest of a stock zip is left out: nnU-Net would unpickle some of it.
_STOCK_SUFFIXES = (".pth", ".json", ".txt", ".png", ".pdf")
_FINAL = "checkpoint_final.pth"


@dataclass(frozen=True)
class _Model:
    """A finished model folder, and its place below nnU-Net's results."""

    folder: Path
    dataset: str
    name: str


def install_model(
    source: Path, paths: Paths, *, trust_plans: bool = False, slicer: Path | None = None
) -> list[Path]:
    """Install an exported model, or a zip file of stock nnU-Net, as a trained model.

    Args:
        source: A file or folder that `umamba export` or `nnUNetv2_export_model_to_zip` wrote.
        paths: nnU-Net's folders.
        trust_plans: Whether plans may name unknown code.
        slicer: The folder for 3D Slicer, in place of nnU-Net's results; `None` for none.

    Returns:
        The model folders, below nnU-Net's results or the folder for Slicer.

    Raises:
        UMambaError: If anything in the file is damaged, hostile or unknown, or a model of that
            name exists; nothing is installed then.
    """
    option = "--results" if slicer is None else "--layout slicer"
    results = slicer or paths.require("results")
    check_writable(results, option)
    if slicer is not None:
        check_slicer_folder(slicer)
    try:
        results.mkdir(parents=True, exist_ok=True)
        with scratch_folder(_STAGING, results) as work:
            models = _prepare(source, work, trust_plans=trust_plans)
            if slicer is not None:
                fit_for_slicer(_only(models, source).folder, source)
            return _publish(models, results)
    except OSError as error:
        msg = (
            f"{source} cannot be installed in {results} ({error.strerror or error}); make room or "
            f"give write access, or give another {option}"
        )
        raise ModelFileError(msg) from error


def _only(models: list[_Model], source: Path) -> _Model:
    """Return the only model of a file.

    Raises:
        ModelFileError: If there are several.
    """
    if len(models) > 1:
        names = ", ".join(model.name for model in models)
        msg = f"{source} holds several models: {names}; `umamba install` it, then name one"
        raise ModelFileError(msg)
    return models[0]


@contextlib.contextmanager
def opened_model(source: Path, *, trust_plans: bool = False) -> Iterator[Path]:
    """Provide the model folder of anything that holds a model, during the block.

    Args:
        source: A model folder, an exported folder, or a zip file with one model.
        trust_plans: Whether plans may name unknown code.

    Yields:
        The model folder.

    Raises:
        UMambaError: If the contents of an exported folder or zip file are not whole and known.
    """
    if not source.is_file() and not (source / MANIFEST).is_file():
        yield source
        return
    with scratch_folder() as work:
        with full_temporary_folder_explained(work.parent):
            models = _prepare(source, work, trust_plans=trust_plans)
        folder = _only(models, source).folder
        try:
            yield folder
        except UMambaError as error:  # the user knows the file, not where it was unpacked
            error.args = (str(error).replace(str(folder), str(source)),)
            raise


def _prepare(source: Path, work: Path, *, trust_plans: bool) -> list[_Model]:
    """Build model folders below a working folder, and check that they predict."""
    if not source.exists():
        msg = f"{source} does not exist; give an exported folder or zip file"
        raise ModelFileError(msg)
    try:
        models = _build(source, work)
        for model in models:
            _check_loads(model.folder, trust_plans=trust_plans)
    except UMambaError as error:  # the user knows the file, not where it was unpacked
        inside = rf"{re.escape(str(work))}[/\\]\w+"
        error.args = (re.sub(inside, lambda _: str(source), str(error)),)
        raise
    return models


def _build(source: Path, work: Path) -> list[_Model]:
    if source.is_dir():
        if not (source / MANIFEST).is_file():
            msg = (
                f"{source} has no {MANIFEST}, so it is not a folder that `umamba export` wrote; a "
                "folder of a trained model needs no installation: predict with -m"
            )
            raise ModelFileError(msg)
        return [_build_exported(source, source, work / "models")]
    members = list_members(source)
    top = next((m.filename for m in members if Path(m.filename).name == MANIFEST), None)
    if top is None:
        return _build_stock(source, members, work / "models")
    unpack(source, members, work / "unpacked")
    folder = (work / "unpacked" / top).parent
    outside = [m for m in members if not m.filename.startswith(top.removesuffix(MANIFEST))]
    if outside:
        msg = f"{source}: {MANIFEST} does not list {outside[0].filename!r}; get another copy"
        raise ModelFileError(msg)
    return [_build_exported(folder, source, work / "models")]


def _build_exported(folder: Path, source: Path, models: Path) -> _Model:
    """Write checkpoints of nnU-Net from an exported model that matches its manifest."""
    manifest = verify_folder(folder, source)
    named = _DATASET.fullmatch(manifest.dataset) and _MODEL.fullmatch(manifest.folder_name)
    if not named:
        msg = (
            f"{source}: nnU-Net finds no model {manifest.folder_name!r} of {manifest.dataset!r}; "
            f"the names in {MANIFEST} must be DatasetXXX_Name and TRAINER__PLANS__CONFIGURATION"
        )
        raise ModelFileError(msg)
    model = models / manifest.dataset / manifest.folder_name
    model.mkdir(parents=True)
    exported = [name for name in manifest.files if name == PIPELINE or name.endswith(".onnx")]
    chosen = chosen_for([folder], list(manifest.folds))
    if chosen is not None:
        exported.append(chosen.relative_to(folder).as_posix())
    for name in ("plans.json", "dataset.json", CARD, *exported):
        if (folder / name).is_file():
            (model / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / name, model / name)
    for fold, record in manifest.folds.items():
        weights = read_weights(folder / record.weights, f"{source}: {record.weights}")
        checkpoint = {
            "network_weights": weights,
            "trainer_name": record.trainer_name,
            "init_args": {
                "configuration": manifest.configuration,
                "fold": fold if fold == "all" else int(fold),
            },
            "inference_allowed_mirroring_axes": record.mirroring_axes,
            "current_epoch": record.epochs,
        }
        fold_folder(model, fold).mkdir()
        _write(checkpoint, fold_folder(model, fold) / _FINAL)
    if PIPELINE in exported:
        _check_networks(folder)
    return _Model(model, manifest.dataset, manifest.folder_name)


def _check_networks(folder: Path) -> None:
    """Check `pipeline.json` and the ONNX files that it names, as far as they can be read here.

    Raises:
        ModelFileError: If one is not what it should be.
    """
    for network in read_pipeline(folder).networks:
        if find_spec("onnx") is not None:  # without it no engine will load them
            checked_onnx(folder / network.file)


def _build_stock(source: Path, members: list[zipfile.ZipInfo], folder: Path) -> list[_Model]:
    """Unpack the models of a stock zip file, and rewrite their checkpoints from plain data.

    So nnU-Net will later load exactly the data that was found harmless now.
    """
    wanted = [m for m in members if _is_of_model(m.filename)]
    if not wanted:
        msg = (
            f"{source} holds neither a {MANIFEST} nor models as nnUNetv2_export_model_to_zip "
            "writes them (Dataset.../TRAINER__PLANS__CONFIGURATION/...)"
        )
        raise ModelFileError(msg)
    if len(wanted) < len(members):
        left = len(members) - len(wanted)
        sys.stderr.write(f"note: {left} files that prediction does not need are left out\n")
    unpack(source, wanted, folder)
    for path in sorted(folder.rglob("*.pth")):
        _write(read_checkpoint(path), path)
    return [_Model(path, path.parent.name, path.name) for path in sorted(folder.glob("*/*"))]


def _is_of_model(name: str) -> bool:
    parts = name.split("/")
    return (
        len(parts) > 2
        and _DATASET.fullmatch(parts[0]) is not None
        and _MODEL.fullmatch(parts[1]) is not None
        and name.endswith(_STOCK_SUFFIXES)
    )


def _check_loads(folder: Path, *, trust_plans: bool) -> None:
    """Check that every checkpoint fits the network that the plans describe."""
    checkpoints = [path for fold in folders_of_folds(folder) for path in sorted(fold.glob("*.pth"))]
    if not checkpoints:
        msg = f"{folder} has no fold with a checkpoint"
        raise ModelFileError(msg)
    for path in checkpoints:
        fold = fold_name(path.parent)
        sys.stderr.write(f"checking {folder.name}, fold {fold}\n")
        read_model(folder, (fold,), path.name, trust_plans=trust_plans)


def _write(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint.

    Raises:
        OSError: If it cannot be written.
    """
    try:
        write_checkpoint(checkpoint, path, keep_previous=False)
    except CheckpointError as error:
        cause = error.__cause__
        if cause is None:
            raise
        raise (cause if isinstance(cause, OSError) else OSError(str(cause))) from None


def _publish(models: list[_Model], results: Path) -> list[Path]:
    """Put models in place; of several, those that a killed run has installed stay."""
    wanted = {results / model.dataset / model.name: model for model in models}
    are_all_there = all(os.path.lexists(target) for target in wanted)
    with contextlib.ExitStack() as stack:
        works = []
        for target, model in wanted.items():
            if are_all_there or not _is_installed(model.folder, target):
                remedy = "nothing is overwritten: move it away, or give another --results"
                works.append((model, stack.enter_context(publication(target, remedy))))
        for model, work in works:
            take_name(model.folder, work.new)
            work.publish()
            _note_same_number(model.dataset, results)
    return list(wanted)


def _is_installed(folder: Path, target: Path) -> bool:
    """Return whether every file of a folder is in another one, with the same content."""
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return all(
        (target / name).is_file() and sha256(target / name) == sha256(folder / name)
        for name in names
    )


def _note_same_number(dataset: str, results: Path) -> None:
    number = dataset.split("_", 1)[0]
    others = sorted(p.name for p in results.glob(f"{number}_*") if p.name != dataset)
    if others:
        sys.stderr.write(
            f"note: {others[0]} has the same number; name {dataset} in full, and for stock nnU-Net "
            "give one of them another number\n"
        )
