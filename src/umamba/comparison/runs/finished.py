"""Finished trainings, evaluated once and cached in the folder of results."""

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from umamba.comparison.results import from_plain, to_plain
from umamba.comparison.rows import CaseRow, LearningCurve, ObjectRow, Training
from umamba.comparison.runs.budget import Length
from umamba.comparison.runs.training_states import FINAL
from umamba.errors import UMambaError
from umamba.nnunet.checkpoints.files import read_checkpoint
from umamba.nnunet.training.seed_streams import SHARED
from umamba.system.atomic_files import make_folder, write_whole
from umamba.system.interruption import run_again

__all__ = [
    "Details",
    "Finished",
    "file_marks",
    "read_details",
    "read_finished",
    "recall_finished",
]

_VERSION = 2


@dataclass(frozen=True)
class Finished:
    """A summary of a finished and evaluated training; `read_details` returns the rest.

    Attributes:
        length: Length of the training.
        seed: Its seed; `None` if it had none.
        seeds: Whether trainings of that seed in other folds are `INDEPENDENT` of it, or used the
            same random numbers (`SHARED`); `None` without a seed.
        train_hours: Hours of all its epochs, without pauses and the final validation.
        dice: Mean of the defined Dice over cases and labels; `None` if none is defined.
    """

    length: Length
    seed: int | None
    seeds: str | None
    train_hours: float
    dice: float | None


@dataclass(frozen=True)
class Details:
    """The rows of a finished and evaluated training.

    Attributes:
        cases: Metrics by case and label.
        instances: Objects found, by case, label and size.
        curve: The log of the training.
    """

    cases: tuple[CaseRow, ...]
    instances: tuple[ObjectRow, ...]
    curve: LearningCurve


@dataclass(frozen=True)
class _Head:
    """The first line of a cache file; the second one holds the details.

    Attributes:
        key: Fingerprint of the training and its evaluation.
        finished: The summary.
        checksum: CRC-32 of the details.
    """

    key: dict[str, Any]
    finished: Finished
    checksum: int


def recall_finished(folder: Path, cache: Path, evaluated_as: Mapping[str, Any]) -> Finished | None:
    """Return the cached summary of a training, if training and evaluation are unchanged.

    Args:
        folder: The folder of the fold.
        cache: The cache file.
        evaluated_as: Everything except the predictions that the evaluation depends on.
    """
    try:
        head, _ = _read_cache(cache)
        return head.finished if head.key == _key(folder, evaluated_as) else None
    except (OSError, ValueError):
        return None


def read_details(cache: Path, training: Training) -> Details:
    """Return the details of a finished training that are not in `Finished`.

    Args:
        cache: The cache file.
        training: The training, whose name the file does not hold.

    Raises:
        UMambaError: If the cache can no longer be read.
    """
    try:
        kept = json.loads(_read_cache(cache)[1])
        name = vars(training)
        rows = {key: [name | row for row in kept[key]] for key in ("cases", "instances")}
        return from_plain({**rows, "curve": name | kept["curve"]}, Details)
    except (OSError, ValueError, LookupError, TypeError) as error:
        msg = f"{cache} cannot be read ({error}); {run_again('evaluate it anew')}"
        raise UMambaError(msg) from None


def _read_cache(cache: Path) -> tuple[_Head, bytes]:
    """Return the head of a cache file, and its line of details after checking it.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is damaged.
    """
    line, _, details = cache.read_bytes().partition(b"\n")
    head = from_plain(json.loads(line), _Head)
    if head.checksum != zlib.crc32(details):
        msg = "its checksum does not match"
        raise ValueError(msg)
    return head, details


def read_finished(
    folder: Path,
    cache: Path,
    evaluated_as: Mapping[str, Any],
    evaluate: Callable[[Path], dict[str, list[dict[str, Any]]]],
) -> Finished:
    """Evaluate a finished training, and cache the result.

    Args:
        folder: The folder of the fold.
        cache: The cache file.
        evaluated_as: Everything except the predictions that the evaluation depends on.
        evaluate: Evaluates a folder of predictions.

    Raises:
        UMambaError: If the checkpoint or a prediction cannot be read, or the cache not written.
    """
    try:
        key = _key(folder, evaluated_as)  # of the files as they are before reading
    except OSError as error:
        msg = f"{folder} cannot be read: {error}"
        raise UMambaError(msg) from None
    length, seed, seeds, curve = _read_log(folder / FINAL)
    rows = evaluate(folder / "validation")
    finished = Finished(length, seed, seeds, curve["hours"][-1], _mean_dice(rows["cases"]))
    details = json.dumps(to_plain({"curve": curve, **rows})) + "\n"
    head = _Head(key, finished, zlib.crc32(details.encode()))
    make_folder(cache.parent)
    write_whole(cache, json.dumps(to_plain(head)) + "\n" + details)
    return finished


def _mean_dice(rows: Iterable[Mapping[str, Any]]) -> float | None:
    values = [row["metrics"]["dice"] for row in rows]
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _read_log(file: Path) -> tuple[Length, int | None, str | None, dict[str, list[Any]]]:
    """Return length, seed, relation of the seed to other folds, and curve of a training.

    Raises:
        UMambaError: If the checkpoint cannot be read, or does not belong to a training.
    """
    checkpoint = read_checkpoint(file)
    try:
        settings = checkpoint.get("umamba") or {}
        if settings:
            length = Length(settings["epochs"], settings["iterations_per_epoch"])
        else:
            length = Length(checkpoint["current_epoch"])
        curve = _curve(checkpoint["logging"])
        seed, _ = settings.get("seed"), curve["hours"][-1]
        seeds = None if seed is None else settings.get("seeds", SHARED)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        msg = f"{file} lacks the log of a training ({type(error).__name__}: {error})"
        raise UMambaError(msg) from None
    return length, seed, seeds, curve


def _curve(logged: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Return nnU-Net's log with one value per epoch; an interrupted epoch may lack its end."""
    seconds = [
        max(end - start, 0.0)  # clocks may be set back
        for start, end in zip(
            logged["epoch_start_timestamps"], logged["epoch_end_timestamps"], strict=False
        )
    ]
    columns = {"dice": "mean_fg_dice", "train_loss": "train_losses", "val_loss": "val_losses"}
    return {
        "epoch": list(range(1, len(seconds) + 1)),
        "hours": [total / 3600 for total in accumulate(seconds)],
    } | {
        name: [float(value) for value in logged[key][: len(seconds)]]
        for name, key in columns.items()
    }


def file_marks(files: Iterable[Path]) -> list[list[Any]]:
    """Return a fingerprint of files that shows changes: path, size and time of each.

    Raises:
        OSError: If a file is missing.
    """
    stats = [(path, path.stat()) for path in files]
    return [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]


def _key(folder: Path, evaluated_as: Mapping[str, Any]) -> dict[str, Any]:
    """Return a fingerprint that shows whether a training, or its evaluation, has changed."""
    return {
        "version": _VERSION,
        "files": file_marks((folder / FINAL, folder / "validation" / "summary.json")),
        "evaluated_as": dict(evaluated_as),
    }
