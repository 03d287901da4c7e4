"""The states of a comparison's trainings (models x folds x seeds)."""

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
from umamba.nnunet.training.running import is_mirrored
from umamba.nnunet.training.state import CHECKPOINTS, newest_checkpoint, progress_of
from umamba.system.json_files import load_json
from umamba.system.run_lock import only_process

__all__ = [
    "FINAL",
    "TrainingState",
    "Validated",
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
    """The state of a training.

    Attributes:
        status: `done`, `interrupted`, `pending`, or `failed`, as results show it.
        option: Option with which `umamba train` continues: `--resume`, `--val`, or none.
        reason: Reason why it failed.
        progress: Finished epochs, and finished iterations of the next one.
    """

    status: str
    option: str | None = None
    reason: str | None = None
    progress: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Validated:
    """The validation that a finished training must have.

    Attributes:
        mirroring: Whether its cases are predicted with mirroring.
        exactly: Whether a prediction of other cases means that the fold was another one: true if
            all of its validation cases are wanted, and not only some of them.
    """

    mirroring: bool = True
    exactly: bool = True


_AS_USUAL = Validated()


def inspect_training(
    folder: Path,
    training: Training,
    length: Length,
    cases: frozenset[str],
    file_ending: str,
    validated: Validated = _AS_USUAL,
) -> TrainingState:
    """Determine the state of a training from its files.

    Args:
        folder: The folder of the fold, which need not exist.
        training: The training.
        length: Its planned length.
        cases: The validation cases of its fold.
        file_ending: File ending of the data set.
        validated: How the validation cases are predicted.

    Returns:
        Its state; done means a final checkpoint and a prediction of every validation case.

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
        )  # the training will fail and say what is wrong
    settings = checkpoint.get("umamba") or {}
    found = Length(settings.get("epochs", 0), settings.get("iterations_per_epoch", 0))
    check_length(folder, training, length, found, settings.get("seed"))
    progress = progress_of(checkpoint)
    if not (folder / FINAL).is_file():
        return TrainingState("interrupted", "--resume", progress=progress)
    if not is_validated(folder, cases, file_ending, validated):
        return TrainingState("interrupted", "--val", progress=progress)
    return TrainingState("done", progress=progress)


def is_validated(
    folder: Path, cases: frozenset[str], file_ending: str, validated: Validated
) -> bool:
    """Return whether the validation of a fold has ended, on these cases and like this."""
    validation = folder / "validation"
    if is_mirrored(validation) != validated.mirroring:
        return False
    try:
        load_json(validation / "summary.json")  # the last file written
    except UMambaError:
        return False
    names = {path.name for path in visible_files(validation) if path.name.endswith(file_ending)}
    wanted = {case + file_ending for case in cases}
    return names == wanted if validated.exactly else wanted <= names


def check_length(
    folder: Path, training: Training, length: Length, found: Length, found_seed: int | None
) -> None:
    """Check that a folder holds the expected training.

    Raises:
        UMambaError: If its length or seed differs.
    """
    if (length, training.seed) != (found, found_seed):
        msg = (
            f"{folder} holds a training of {found} from seed {found_seed}, and this comparison "
            f"needs {length} from seed {training.seed}; rename that folder, or give another "
            "--results"
        )
        raise UMambaError(msg)


def wait_for_trainings(
    folders: Iterable[Path], most_seconds: float = _LONGEST_WAIT_SECONDS
) -> None:
    """Wait for trainings left by a killed call to save and end.

    Those that continue for long are not waited for, as they belong to another comparison.

    Args:
        folders: Folders in which trainings may run; they need not exist.
        most_seconds: How long to wait at most, for all together.
    """
    until = time.monotonic() + most_seconds
    said = ""
    for folder in filter(Path.is_dir, folders):
        while time.monotonic() < until:
            try:
                with only_process(folder):
                    break
            except UMambaError:
                if not said:
                    said = f"waiting for the training in {folder} to end\n"
                    sys.stderr.write(said)
                time.sleep(_POLL_SECONDS)
