"""What a finished training has to tell, read once and kept in the folder of results."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from umamba.comparison.budget import Length
from umamba.comparison.cells import FINAL
from umamba.errors import UMambaError
from umamba.nnunet.checkpoints import read_checkpoint
from umamba.nnunet.json_files import load_json
from umamba.nnunet.whole_files import write_whole

__all__ = ["Finished", "file_marks", "read_finished", "recall_finished"]

_VERSION = 1


@dataclass(frozen=True)
class Finished:
    """A finished training.

    Attributes:
        length: How long it was.
        seed: Its seed; `None` if it had none.
        train_hours: Hours of all its epochs, without pauses and without the final validation.
        curve: `epoch`, `hours` since the start, `dice` (nnU-Net's pseudo Dice on validation
            patches, not smoothed), `train_loss` and `val_loss`, a value per epoch.
        evaluation: `cases` and `instances`, rows of metrics.
    """

    length: Length
    seed: int | None
    train_hours: float
    curve: dict[str, list[Any]]
    evaluation: dict[str, list[dict[str, Any]]]


def recall_finished(folder: Path, cache: Path, evaluated_as: Mapping[str, Any]) -> Finished | None:
    """Return what was read of a training before, if it and its evaluation are still the same.

    Args:
        folder: The folder of the fold.
        cache: Where it is kept.
        evaluated_as: All that the evaluation depends on besides the predictions.
    """
    try:
        kept = load_json(cache)
        if kept["key"] != _key(folder, evaluated_as):
            return None
        values = kept["finished"]
        return Finished(**values | {"length": Length(**values["length"])})
    except (UMambaError, OSError, KeyError, TypeError):
        return None


def read_finished(
    folder: Path,
    cache: Path,
    evaluated_as: Mapping[str, Any],
    evaluate: Callable[[Path], dict[str, list[dict[str, Any]]]],
) -> Finished:
    """Read and evaluate a finished training, and keep what comes out.

    Args:
        folder: The folder of the fold.
        cache: Where to keep it.
        evaluated_as: All that the evaluation depends on besides the predictions.
        evaluate: Evaluates a folder of predictions.

    Raises:
        UMambaError: If the checkpoint or a prediction cannot be read.
    """
    finished = Finished(**_read_log(folder / FINAL), evaluation=evaluate(folder / "validation"))
    content = {"key": _key(folder, evaluated_as), "finished": asdict(finished)}
    cache.parent.mkdir(parents=True, exist_ok=True)
    write_whole(cache, json.dumps(content) + "\n")
    return finished


def _read_log(file: Path) -> dict[str, Any]:
    """Return length, seed, hours and curve of a training.

    Raises:
        UMambaError: If the checkpoint cannot be read, or is not that of a training.
    """
    checkpoint = read_checkpoint(file)
    try:
        settings = checkpoint.get("umamba") or {}
        if settings:
            length = Length(settings["epochs"], settings["iterations_per_epoch"])
        else:
            length = Length(checkpoint["current_epoch"])
        curve = _curve(checkpoint["logging"])
        hours, seed = curve["hours"][-1], settings.get("seed")
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        msg = f"{file} lacks the log of a training ({type(error).__name__}: {error})"
        raise UMambaError(msg) from None
    return {"length": length, "seed": seed, "train_hours": hours, "curve": curve}


def _curve(logged: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Return nnU-Net's log, a value per epoch; it may lack the end of an interrupted one."""
    seconds = [
        max(end - start, 0.0)  # clocks are set back at times
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
    """Return what tells whether files have changed: path, size and time of each.

    Raises:
        OSError: If one is not there.
    """
    stats = [(path, path.stat()) for path in files]
    return [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]


def _key(folder: Path, evaluated_as: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells whether a training, or how it is evaluated, has changed."""
    return {
        "version": _VERSION,
        "files": file_marks((folder / FINAL, folder / "validation" / "summary.json")),
        "evaluated_as": dict(evaluated_as),
    }
