"""The contents of an exported model, `manifest.json`, and the check that a folder matches it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umamba.errors import OTHER_COPY, ModelFileError, quoted
from umamba.nnunet.trust import check_file_name
from umamba.system.archives import check_member_name
from umamba.system.checksums import sha256
from umamba.system.json_files import load_json
from umamba.system.path_names import is_foreign_link, is_hidden_below

__all__ = ["CARD", "MANIFEST", "FoldRecord", "Manifest", "verify_folder"]

MANIFEST = "manifest.json"
CARD = "README.md"  # the only file without a checksum: people are to complete it
_SCHEMA = 1
_MOST_JSON_BYTES = 64 * 2**20
_FOLD = re.compile("all|[0-9]{1,4}")
_MOST_FOLDS = 100


@dataclass(frozen=True)
class FoldRecord:
    """The facts that, with the weights of a fold, make a checkpoint of nnU-Net.

    Args:
        weights: The file of weights.
        trainer_name: The trainer whose network it is, as the checkpoint names it.
        mirroring_axes: Axes along which predictions may be mirrored.
        epochs: How long it was trained.
        iterations: The same in iterations.
        training_cases: How many cases it was trained on.
        validation_cases: How many cases it was validated on.
    """

    weights: str
    trainer_name: str
    mirroring_axes: tuple[int, ...] | None
    epochs: int | None
    iterations: int | None = None
    training_cases: int | None = None
    validation_cases: int | None = None


@dataclass(frozen=True)
class Manifest:
    """An exported model.

    Args:
        dataset: Full name of the data set.
        trainer: Trainer in the name of the model's folder.
        plans_name: Name of the plans.
        configuration: The configuration.
        folds: The record of every fold.
        versions: Versions of the software that trained and exported it.
        metrics: Validation metrics.
        files: File to its size and checksum; all but the manifest and the card.
    """

    dataset: str
    trainer: str
    plans_name: str
    configuration: str
    folds: dict[str, FoldRecord]
    versions: dict[str, str]
    metrics: dict[str, Any]
    files: dict[str, dict[str, Any]]

    @property
    def folder_name(self) -> str:
        """Return the name of the model's folder below its data set, as nnU-Net builds it."""
        return f"{self.trainer}__{self.plans_name}__{self.configuration}"

    def write(self, folder: Path) -> None:
        """Write `manifest.json`."""
        folds = {fold: vars(record) for fold, record in self.folds.items()}
        content = {"schema_version": _SCHEMA} | vars(self) | {"folds": folds}
        (folder / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def verify_folder(folder: Path, shown: Path) -> Manifest:
    """Check that a folder holds what its manifest lists, and nothing else.

    Args:
        folder: The folder.
        shown: The user's name for it, for messages.

    Returns:
        The manifest.

    Raises:
        ModelFileError: If a file is missing, unlisted, changed, or a link other than those of the
            Hugging Face hub's cache.
    """
    manifest = _read(folder, shown)
    there = set()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if is_foreign_link(path, folder) or not (path.is_dir() or path.is_file()):
            msg = (
                f"{shown}: {name!r} is a link or a special file; an exported model has neither, so "
                f"{OTHER_COPY}"
            )
            raise ModelFileError(msg)
        if path.is_file() and not is_hidden_below(name):
            there.add(name)
    extra = sorted(there - set(manifest.files) - {MANIFEST, CARD})
    if extra:
        msg = f"{shown}: {MANIFEST} does not list {extra[0]!r}; {OTHER_COPY}"
        raise ModelFileError(msg)
    for name, listed in manifest.files.items():
        if name not in there:
            msg = f"{shown}: {name!r} is missing; {OTHER_COPY}"
            raise ModelFileError(msg)
        size = (folder / name).stat().st_size
        if size != listed["bytes"] or sha256(folder / name) != listed["sha256"]:
            msg = f"{shown}: {name!r} is not what was exported: its checksum differs; {OTHER_COPY}"
            raise ModelFileError(msg)
        if name.endswith(".json") and size > _MOST_JSON_BYTES:
            msg = f"{shown}: {name!r} has {size} bytes, too many for a description"
            raise ModelFileError(msg)
    return manifest


def _read(folder: Path, shown: Path) -> Manifest:
    path = folder / MANIFEST
    if is_foreign_link(path, folder) or (path.is_file() and path.stat().st_size > _MOST_JSON_BYTES):
        msg = f"{shown}: {MANIFEST} is a link, or far too large; {OTHER_COPY}"
        raise ModelFileError(msg)
    content = load_json(path)
    if content.get("schema_version") != _SCHEMA:
        msg = (
            f"{shown}: {MANIFEST} has schema_version {quoted(content.get('schema_version'))}; this "
            f"umamba reads {_SCHEMA}. Install a newer umamba"
        )
        raise ModelFileError(msg)
    try:
        manifest = _parse(content)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        msg = f"{shown}: {MANIFEST} is damaged ({type(error).__name__} {error}); {OTHER_COPY}"
        raise ModelFileError(msg) from None
    for place in ("dataset", "trainer", "plans_name", "configuration"):
        check_file_name(getattr(manifest, place), place, shown / MANIFEST)
    for name in (*manifest.files, *(record.weights for record in manifest.folds.values())):
        check_member_name(name, shown)
    needed = {"plans.json", "dataset.json", *(r.weights for r in manifest.folds.values())}
    if not manifest.folds or not needed <= set(manifest.files):
        lacks = ", ".join(sorted(needed - set(manifest.files))) or "folds"
        msg = f"{shown}: {MANIFEST} lists no {lacks}, which every model needs"
        raise ModelFileError(msg)
    return manifest


def _parse(content: Mapping[str, Any]) -> Manifest:
    folds = {str(fold): _parse_fold(record) for fold, record in content["folds"].items()}
    wrong = next((fold for fold in folds if not _FOLD.fullmatch(fold)), None)
    if wrong is not None:
        msg = f"there is no fold {quoted(wrong)}"
        raise ValueError(msg)
    if len({record.weights for record in folds.values()}) < len(folds) or len(folds) > _MOST_FOLDS:
        msg = f"{len(folds)} folds share their weights, or are too many"
        raise ValueError(msg)
    files = {
        str(name): {"bytes": int(listed["bytes"]), "sha256": str(listed["sha256"])}
        for name, listed in content["files"].items()
    }
    return Manifest(
        dataset=content["dataset"],
        trainer=content["trainer"],
        plans_name=content["plans_name"],
        configuration=content["configuration"],
        folds=folds,
        versions=dict(content["versions"]),
        metrics=dict(content["metrics"]),
        files=files,
    )


def _parse_fold(record: Mapping[str, Any]) -> FoldRecord:
    axes, epochs = record["mirroring_axes"], record["epochs"]
    counts = {  # which umamba did not always note
        key: record.get(key) for key in ("iterations", "training_cases", "validation_cases")
    }
    numbers = [epochs, *counts.values(), *([] if axes is None else axes)]
    if any(n is not None and type(n) is not int for n in numbers):
        msg = f"mirroring_axes, epochs or counts are not whole: {quoted(numbers)}"
        raise ValueError(msg)
    return FoldRecord(
        weights=str(record["weights"]),
        trainer_name=str(record["trainer_name"]),
        mirroring_axes=None if axes is None else tuple(axes),
        epochs=epochs,
        **counts,
    )
