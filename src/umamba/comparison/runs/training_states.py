"""The trainings of a comparison, models x folds x seeds, and how far each has come."""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from umamba.comparison.rows import Training
from umamba.comparison.runs.budget import Length
from umamba.errors import CheckpointError, UMambaError
from umamba.images.file_names import visible_files
from umamba.nnunet.checkpoints.files import read_checkpoint
from umamba.nnunet.training.state import CHECKPOINTS, newest_checkpoint
from umamba.system.json_files import load_json
from umamba.system.run_lock import only_training

__all__ = [
    "FINAL",
    "TrainingState",
    "check_length",
    "inspect_training",
    "is_validated",
    "wait_for_trainings",
]

FINAL = CHECKPOINTS[0]

_LONGEST_WAIT_SECONDS = 120.0
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class TrainingState:
    """How far a training has come.

    Attributes:
        status: `done`, `interrupted`, `pending`, or `failed`, as results show it.
        option: What `umamba train` needs to go on: `--resume`, `--val`, or nothing.
        reason: Why it failed.
    """

    status: str
    option: str | None = None
    reason: str | None = None


def inspect_training(
    folder: Path, training: Training, length: Length, cases: frozenset[str], file_ending: str
) -> TrainingState:
    """Find out from its files how far a training has come.

    Args:
        folder: Where it trains, which need not be there.
        training: The training.
        length: How long it is to train.
        cases: The validation cases of its fold.
        file_ending: That of the data set.

    Returns:
        Its state: done is a final checkpoint and a prediction of every validation case.

    Raises:
        UMambaError: If the folder holds a training of another length or seed.
    """
    if not any((folder / name).is_file() for name in CHECKPOINTS):
        return TrainingState("pending")
    try:
        checkpoint = read_checkpoint(newest_checkpoint(folder))
    except CheckpointError:
        return TrainingState(
            "interrupted", "--resume"
        )  # the training says what is wrong, and fails
    settings = checkpoint.get("umamba") or {}
    found = Length(settings.get("epochs", 0), settings.get("iterations_per_epoch", 0))
    check_length(folder, training, length, found, settings.get("seed"))
    if not (folder / FINAL).is_file():
        return TrainingState("interrupted", "--resume")
    if not is_validated(folder, cases, file_ending):
        return TrainingState("interrupted", "--val")
    return TrainingState("done")


def is_validated(folder: Path, cases: frozenset[str], file_ending: str) -> bool:
    """Return whether nnU-Net's validation of a fold has ended, and on these very cases."""
    validation = folder / "validation"
    try:
        load_json(validation / "summary.json")  # written last
    except UMambaError:
        return False
    names = {path.name for path in visible_files(validation) if path.name.endswith(file_ending)}
    return names == {case + file_ending for case in cases}


def check_length(
    folder: Path, training: Training, length: Length, found: Length, found_seed: int | None
) -> None:
    """Check that a folder holds the training that is wanted.

    Raises:
        UMambaError: If its length or seed is another one.
    """
    if (length, training.seed) != (found, found_seed):
        msg = (
            f"{folder} holds a training of {found} from seed {found_seed}, and this comparison "
            f"needs {length} from seed {training.seed}; rename that folder, or give another "
            "--results"
        )
        raise UMambaError(msg)


def wait_for_trainings(folders: Iterable[Path]) -> None:
    """Let trainings save and end that a call of ours, which was killed, has left behind.

    Those that go on for long are not waited for: they are another comparison's.

    Args:
        folders: Where trainings may run, which need not be there.
    """
    until = time.monotonic() + _LONGEST_WAIT_SECONDS
    said = ""
    for folder in filter(Path.is_dir, folders):
        while time.monotonic() < until:
            try:
                with only_training(folder):
                    break
            except UMambaError:
                if not said:
                    said = f"waiting until the training in {folder} has ended\n"
                    sys.stderr.write(said)
                time.sleep(_POLL_SECONDS)
