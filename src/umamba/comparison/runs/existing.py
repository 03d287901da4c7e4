"""Existing trainings of stock nnU-Net, taken into a comparison."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umamba import registry
from umamba.comparison.rows import Training
from umamba.comparison.runs.budget import Length
from umamba.comparison.runs.planning import Planned
from umamba.comparison.runs.training_states import FINAL, Validated, is_validated
from umamba.errors import UMambaError
from umamba.nnunet.fold_folders import fold_folder
from umamba.nnunet.paths import Paths
from umamba.nnunet.plans.derivation import Plans, resolve
from umamba.system.json_files import load_json

__all__ = ["StockTraining", "find_stock_trainings"]

# nnU-Net's trainer, and those of its variants that differ from it only in their length.
_TRAINERS = re.compile(r"nnUNetTrainer(?:_(\d{1,9})epochs?)?", re.ASCII)
_EPOCHS = 1000  # of the one that does not name them
_COMPARED = ("architecture", "patch_size", "batch_size", "data_identifier")


@dataclass(frozen=True)
class StockTraining:
    """A finished fold of stock nnU-Net, validated on the same cases as the comparison."""

    model: str
    fold: int
    folder: Path

    @property
    def training(self) -> Training:
        """Its name in results, without a seed as none is on record."""
        return Training(self.model, self.fold, seed=None)

    def __str__(self) -> str:
        return f"{self.model}_fold{self.fold}_stock"


def find_stock_trainings(
    planned: Planned,
    lengths: Mapping[str, Length],
    folds: Mapping[int, frozenset[str]],
    paths: Paths,
    validated: Validated,
) -> Iterator[StockTraining]:
    """Find trainings by `nnUNetv2_train` with the same network, patch, batch and splits.

    Among several trainers, that with the length most similar to the comparison's is taken.

    Args:
        planned: The comparison.
        lengths: Length of the trainings of each model.
        folds: The validation cases of each fold.
        paths: nnU-Net's folders.
        validated: How validation cases are predicted.

    Yields:
        At most one training for each model and fold.
    """
    results = paths.require("results") / planned.source.dataset
    for model in planned.models:
        if planned.recipe_of(model).name != "nnunet":
            continue
        wanted = next(plans for (name, _), plans in planned.plans.items() if name == model)
        names = {
            registry.find_architecture(model).plans_name,
            planned.source.plans.get("plans_name"),
        }
        found: dict[int, Path] = {}
        for folder in _folders(results, lengths[model].iterations):
            _, plans_name, configuration = folder.name.split("__", 2)
            if (
                plans_name in names
                and configuration == planned.source.configuration
                and _is_same_network(folder / "plans.json", wanted, configuration)
            ):
                found |= {
                    fold: fold_folder(folder, fold)
                    for fold, cases in folds.items()
                    if (fold_folder(folder, fold) / FINAL).is_file()
                    and is_validated(
                        fold_folder(folder, fold),
                        cases,
                        planned.source.file_ending,
                        validated,
                    )
                }
        yield from (StockTraining(model, fold, folder) for fold, folder in found.items())


def _folders(results: Path, iterations: int) -> list[Path]:
    """Return folders of models from stock trainers; those of the most similar length come last."""
    distances = {}
    for folder in sorted(results.glob("nnUNetTrainer*__*__*"), reverse=True):
        trainer = _TRAINERS.fullmatch(folder.name.partition("__")[0])
        if trainer is not None:
            distances[folder] = abs(Length(int(trainer[1] or _EPOCHS)).iterations - iterations)
    return sorted(distances, key=lambda folder: -distances[folder])


def _is_same_network(file: Path, wanted: Plans, configuration: str) -> bool:
    try:
        theirs = resolve(load_json(file), configuration)
    except (UMambaError, KeyError, TypeError, AttributeError):
        return False
    ours = resolve(wanted, configuration)
    return all(_plain(theirs.get(key)) == _plain(ours.get(key)) for key in _COMPARED)


def _plain(value: Any) -> Any:
    """Drop the name of a network, as nnU-Net's own have several names for the same network."""
    if isinstance(value, dict):
        return {k: v for k, v in value.items() if k != "_kw_requires_import"} | {
            "network_class_name": str(value.get("network_class_name")).rsplit(".", 1)[-1]
        }
    return value
