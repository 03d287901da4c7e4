"""Check that folds of a model, and parts of a training, have the same plans and data set."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umamba.errors import CheckpointError, PlansError, UMambaError
from umamba.nnunet.fold_folders import fold_folder, folders_of_folds
from umamba.nnunet.plans.derivation import Plans, resolve
from umamba.system.json_files import load_json

__all__ = ["check_begun_alike", "check_other_folds"]

_OF_PLANS = (
    "transpose_forward",
    "image_reader_writer",
    "foreground_intensity_properties_per_channel",
)
_OF_DATASET = ("labels", "regions_class_order", "channel_names")


def check_other_folds(
    model_folder: Path, fold: int | str, configuration: str, plans: Plans, dataset_json: Plans
) -> None:
    """Check that other folds of a model were trained with the same plans and data set.

    A model has one `plans.json` for all its folds, which training writes before anything else.

    Args:
        model_folder: The folder that holds the folds.
        fold: The fold that is to be trained.
        configuration: The configuration.
        plans: The plans that it is to be trained with.
        dataset_json: The data set's description.

    Raises:
        PlansError: If they were not.
    """
    trained = folders_of_folds(model_folder, "checkpoint_*.pth")
    others = [folder.name for folder in trained if folder != fold_folder(model_folder, fold)]
    if not others:
        return
    try:
        there = [load_json(model_folder / f"{name}.json") for name in ("plans", "dataset")]
    except UMambaError:
        return  # nothing says that they differ
    differing = _differing(there[0], plans, configuration) + _differing_labels(
        there[1], dataset_json
    )
    if differing:
        msg = (
            f"{', '.join(others)} in {model_folder} were trained with other plans or labels "
            f"({', '.join(differing)}), and a model has one plans.json for all folds; derive the "
            "new plans under another --plans-name, or move that folder away"
        )
        raise PlansError(msg)


def check_begun_alike(
    checkpoint: Mapping[str, Any],
    path: Path,
    configuration: str,
    plans: Plans,
    dataset_json: Plans,
) -> None:
    """Check that a checkpoint is of a training with the same plans and data set.

    Args:
        checkpoint: Its contents.
        path: The file, for messages.
        configuration: The configuration.
        plans: The plans that the training is to resume with.
        dataset_json: The data set's description.

    Raises:
        CheckpointError: If it is not.
    """
    begun = checkpoint.get("init_args")
    if not isinstance(begun, Mapping) or not {"plans", "dataset_json"} <= begun.keys():
        return
    differing = _differing(begun["plans"], plans, configuration) + _differing_labels(
        begun["dataset_json"], dataset_json
    )
    if differing:
        msg = (
            f"{path} was trained with other plans or labels ({', '.join(differing)}); put those "
            "back, or begin anew with --overwrite (the old training is kept)"
        )
        raise CheckpointError(msg)


def _differing(one: Plans, other: Plans, configuration: str) -> list[str]:
    try:
        first, second = (_plain(resolve(plans, configuration)) for plans in (one, other))
    except (PlansError, KeyError, TypeError, AttributeError):
        return [configuration]
    keys = sorted(key for key in first | second if first.get(key) != second.get(key))
    return keys + [key for key in _OF_PLANS if _plain(one.get(key)) != _plain(other.get(key))]


def _differing_labels(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return [key for key in _OF_DATASET if _plain(one.get(key)) != _plain(other.get(key))]


def _plain(value: Any) -> Any:
    """Return a value as it comes back from JSON, which changes tuples and keys that are numbers."""
    return json.loads(json.dumps(value))
