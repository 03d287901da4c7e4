"""The state in a checkpoint besides weights, so that a training resumes as if never stopped."""

import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from umamba.errors import CheckpointError
from umamba.nnunet.checkpoints.files import previous_of, read_checkpoint

__all__ = [
    "CHECKPOINTS",
    "LATEST",
    "STATE",
    "UnfinishedEpoch",
    "how_to_go_on",
    "joined_states",
    "newest_checkpoint",
    "progress_of",
    "random_states",
    "restore_random_states",
    "state_of_process",
]

LATEST = "checkpoint_latest.pth"
# Of two that are equally far, the first is taken.
CHECKPOINTS = (
    "checkpoint_final.pth",
    LATEST,
    "checkpoint_best.pth",
    previous_of(Path(LATEST)).name,
)
STATE = "umamba_state"  # the key of all this in a checkpoint; stock nnU-Net ignores it
_OTHERS = "other_processes"  # the key of the states of all processes but the first

_PYTHON_GENERATOR = 3  # the version of Python's generator that this module can store

Outputs = list[dict[str, Any]]


@dataclass
class UnfinishedEpoch:
    """The steps of the current epoch, as nnU-Net's `train_step` and `validation_step` return them.

    Args:
        training: The result of each training step.
        validation: The result of each validation step.
        seconds: How long they have taken.
    """

    training: Outputs = field(default_factory=list)
    validation: Outputs = field(default_factory=list)
    seconds: float = 0.0

    def to_state(self) -> dict[str, Any]:
        """Return tensors and plain numbers only."""
        return {
            "iterations": len(self.training) + len(self.validation),
            "training": _stacked(self.training),
            "validation": _stacked(self.validation),
            "seconds": self.seconds,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "UnfinishedEpoch":
        """Undo `to_state`."""
        return cls(_unstacked(state["training"]), _unstacked(state["validation"]), state["seconds"])


def _stacked(outputs: Outputs) -> dict[str, torch.Tensor]:
    if not outputs:
        return {}
    return {key: torch.as_tensor(np.stack([o[key] for o in outputs])) for key in outputs[0]}


def _unstacked(stacked: Mapping[str, torch.Tensor]) -> Outputs:
    keys = list(stacked)
    rows = zip(*(stacked[key] for key in keys), strict=True)
    return [dict(zip(keys, (value.numpy() for value in row), strict=True)) for row in rows]


def random_states() -> dict[str, Any]:
    """Return the states of the generators of torch, CUDA, numpy and Python."""
    _, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - nnU-Net's
    _, integers, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": torch.from_numpy(np.asarray(keys, np.int64)),
        "numpy_position": int(position),
        "numpy_gauss": float(cached) if has_gauss else None,
        "python": torch.tensor(integers, dtype=torch.int64),
        "python_gauss": gauss,
    }


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Undo `random_states`; those of CUDA only where there are as many devices."""
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    gauss = states["numpy_gauss"]
    keys = states["numpy"].numpy().astype(np.uint32)
    np.random.set_state(  # noqa: NPY002 - the generator that nnU-Net uses
        ("MT19937", keys, states["numpy_position"], int(gauss is not None), gauss or 0.0)
    )
    integers = tuple(states["python"].tolist())
    random.setstate((_PYTHON_GENERATOR, integers, states["python_gauss"]))


def joined_states(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the states of a training's processes as one, in the form of the first one's."""
    first, *others = states
    return {**first, **({_OTHERS: others} if others else {})}


def state_of_process(
    joined: Mapping[str, Any], number: int, n_processes: int
) -> tuple[Mapping[str, Any], str | None]:
    """Return the state that a process resumes with, and a note if their number has changed.

    Args:
        joined: The result of `joined_states`; empty for a checkpoint of stock nnU-Net.
        number: Number of the process, from 0.
        n_processes: How many there are now.
    """
    states = [joined, *joined.get(_OTHERS, ())]
    note = None
    if joined and len(states) != n_processes:
        note = (
            f"this training was on {len(states)} GPUs or processes and goes on with {n_processes}, "
            "so it will not end with the weights that it would have had"
        )
    return states[number] if number < len(states) else joined, note


def how_to_go_on(folder: Path) -> str | None:
    """Return how to go on with the training in the folder of a fold, if there is a checkpoint."""
    if (folder / CHECKPOINTS[0]).is_file():
        return f"the training in {folder} is finished; --val validates it"
    if any(folder.glob("checkpoint_*.pth")):
        return f"--resume (or --c) continues from {folder}"
    return None


def newest_checkpoint(folder: Path) -> Path:
    """Return the most advanced checkpoint of a fold that can be read.

    Args:
        folder: The folder of the fold.

    Raises:
        CheckpointError: If none can be read.
    """
    progress: dict[Path, tuple[int, int]] = {}
    refused: list[str] = []
    for path in (folder / name for name in CHECKPOINTS):
        if not path.is_file():
            continue
        try:
            progress[path] = progress_of(read_checkpoint(path))
        except CheckpointError as error:
            refused.append(str(error))
    if not progress:
        reasons = "; ".join(refused) or "there is none"
        msg = f"no checkpoint in {folder} can be continued: {reasons}. --overwrite begins anew"
        raise CheckpointError(msg)
    newest = max(progress, key=lambda path: progress[path])
    for reason in refused:
        sys.stderr.write(f"{reason}: resuming from {newest}\n")
    return newest


def progress_of(checkpoint: Mapping[str, Any]) -> tuple[int, int]:
    """Return finished epochs, and finished iterations of the next."""
    unfinished = checkpoint.get(STATE, {}).get("unfinished_epoch")
    iterations = 0 if unfinished is None else unfinished["iterations"]
    return checkpoint.get("current_epoch", 0), iterations
