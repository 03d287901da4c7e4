"""Check the contents of a checkpoint before it is used, in the same way for all readers."""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from umamba.errors import CheckpointError, quoted

__all__ = [
    "check_contents",
    "check_finite",
    "check_mirroring_axes",
    "weights_digest",
    "without_prefixes",
]

log = logging.getLogger(__name__)

# Prefixes that torch.compile and data parallel wrappers put before the names of weights.
_PREFIXES = ("_orig_mod.", "module.")
_MOST_AXES = 3
_MOST_EPOCHS = 10_000_000


def check_contents(checkpoint: Any, path: Path) -> dict[str, Any]:
    """Check the kind and range of the entries of a checkpoint that are used.

    Args:
        checkpoint: The contents of its file.
        path: The file, for messages.

    Returns:
        The checkpoint, with weights named as the network names them.

    Raises:
        CheckpointError: If an entry is not what nnU-Net writes.
    """
    if not isinstance(checkpoint, dict) or "network_weights" not in checkpoint:
        msg = f"{path} is not a checkpoint of nnU-Net: it has no `network_weights`"
        raise CheckpointError(msg)
    weights = checkpoint["network_weights"]
    named = isinstance(weights, dict) and all(
        isinstance(name, str) and isinstance(weight, Tensor) for name, weight in weights.items()
    )
    if not named:
        _refuse("network_weights", weights, "tensors by name", path)
    trainer = checkpoint.get("trainer_name", "")
    if not isinstance(trainer, str):
        _refuse("trainer_name", trainer, "the name of a class", path)
    arguments = checkpoint.get("init_args", {})
    if not isinstance(arguments, dict):
        _refuse("init_args", arguments, "arguments by name", path)
    if not isinstance(arguments.get("configuration", ""), str):
        _refuse("init_args.configuration", arguments["configuration"], "a name", path)
    if not isinstance(arguments.get("plans", {}), dict):
        _refuse("init_args.plans", arguments["plans"], "plans", path)
    _check_epoch(checkpoint.get("current_epoch"), path)
    check_mirroring_axes(checkpoint.get("inference_allowed_mirroring_axes"), path)
    return checkpoint | {"network_weights": without_prefixes(weights, path)}


def _refuse(place: str, value: Any, fits: str, path: Path) -> None:
    msg = f"{path}: {place} is {quoted(value)}, but must be {fits}; use another copy"
    raise CheckpointError(msg)


def _check_epoch(epoch: Any, path: Path) -> None:
    whole = isinstance(epoch, (int, np.integer)) and not isinstance(epoch, bool)
    if epoch is not None and not (whole and 0 <= epoch <= _MOST_EPOCHS):
        _refuse("current_epoch", epoch, "a number of epochs", path)


def check_mirroring_axes(axes: Any, path: Path) -> None:
    """Check the axes along which predictions are mirrored: each one doubles the work.

    Raises:
        CheckpointError: If they are anything but different axes of an image, or none.
    """
    if axes is None:
        return
    numbers = axes if isinstance(axes, (list, tuple)) else ()
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)
    fits = whole and len(set(numbers)) == len(numbers) and set(numbers) <= set(range(_MOST_AXES))
    if not isinstance(axes, (list, tuple)) or not fits:
        fitting = "different axes of an image (0, 1, 2), or none"
        _refuse("inference_allowed_mirroring_axes", axes, fitting, path)


def without_prefixes(weights: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Remove the prefixes of torch.compile and data parallel wrappers from names of weights.

    Args:
        weights: Name to weight.
        path: The file they come from, for the note.
    """
    taken: list[str] = []
    prefix: str | None = ""
    while prefix is not None:
        weights = {name.removeprefix(prefix): weight for name, weight in weights.items()}
        prefix = next((p for p in _PREFIXES if _all_begin(weights, p)), None)
        taken += [] if prefix is None else [prefix]
    if taken:
        log.info("%s: the prefix %r of its weights' names is removed", path, "".join(taken))
    return dict(weights)


def _all_begin(weights: Mapping[str, Any], prefix: str) -> bool:
    return bool(weights) and all(name.startswith(prefix) for name in weights)


def check_finite(weights: Mapping[str, Any], path: Path) -> None:
    """Check that no weight is NaN or infinite: every prediction would be NaN.

    Raises:
        CheckpointError: If one is.
    """
    for name, weight in weights.items():
        if weight.is_floating_point() and not bool(weight.isfinite().all()):
            msg = (
                f"{path}: weight {quoted(name)} holds values that are not finite numbers, as "
                "after a training that diverged; use an earlier checkpoint"
            )
            raise CheckpointError(msg)


def weights_digest(folds: Iterable[Mapping[str, Any]]) -> str:
    """Return a checksum of the weights of folds, whatever file they are in.

    Args:
        folds: The tensors of every fold, by name.
    """
    digest = hashlib.sha256()
    for weights in folds:
        for name in sorted(weights):
            digest.update(name.encode())
            as_bytes = weights[name].detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(as_bytes.numpy().data)
    return digest.hexdigest()
