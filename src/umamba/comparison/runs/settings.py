"""Settings that a folder of results was begun with, so that later calls use the same."""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from umamba.comparison.results import from_plain, to_plain
from umamba.comparison.runs.budget import Length
from umamba.comparison.runs.planning import Asked, ComparisonRequest
from umamba.comparison.runs.requests import CompareRequest
from umamba.comparison.training_options import TrainingOptions, training_options
from umamba.errors import UMambaError
from umamba.options import flags_of
from umamba.system.atomic_files import make_folder, write_whole
from umamba.system.json_files import load_json
from umamba.system.path_names import check_writable
from umamba.system.run_lock import LEFT_INSIDE

__all__ = [
    "check_output",
    "extend_request",
    "is_begun",
    "read_lengths",
    "write_settings",
]

_FILE = "comparison.json"
_VERSION = 1
# What may not change, besides the data set.
_FIXED = ("configuration", "source", "budget", *(f.name for f in fields(TrainingOptions)))


@dataclass(frozen=True)
class _Settings(TrainingOptions):
    """The contents of `comparison.json`, besides the version.

    Attributes:
        dataset: Full name of the data set.
        configuration: The configuration that is trained.
        source: Plans to derive from.
        budget: The budget of each training, by its kind.
        models: Models of all calls; none if the folder is only claimed.
        folds: Folds of all calls.
        seeds: Seeds of all calls.
        baseline: The model that the others are compared with, if one was given.
        size_cut_points: Limits between small and large objects, by label.
        lengths: Epochs, and iterations per epoch, of each model's trainings.
        credit: Origin and licence of the data, if one was given.
        asked: The trainings requested by each call; `None` in the first files, which do not tell
            calls apart.
    """

    dataset: str
    configuration: str
    source: str
    budget: dict[str, int | float]
    models: tuple[str, ...]
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    baseline: str | None
    size_cut_points: dict[str, tuple[float, ...]]
    lengths: dict[str, tuple[int, int]]
    credit: str | None = None
    asked: tuple[Asked, ...] | None = None

    @property
    def calls(self) -> tuple[Asked, ...]:
        """Return the trainings requested by each call."""
        return (Asked(self.models, self.folds, self.seeds),) if self.asked is None else self.asked


def extend_request(
    request: ComparisonRequest, dataset: str, configuration: str
) -> ComparisonRequest:
    """Add the models, folds and seeds that the folder of results has from earlier calls.

    Args:
        request: The present request.
        dataset: Full name of the data set.
        configuration: The configuration requested or chosen.

    Raises:
        UMambaError: If settings common to all trainings, such as the budget, have changed.
    """
    now = Asked(request.models, request.folds, request.seeds)
    before = _read(request.output)
    if before is None:
        return replace(request, now=now)
    _check_same(before, _settings(request, dataset, configuration, {}), request.output)
    extended = replace(
        request,
        models=_union(before.models, request.models),
        folds=tuple(sorted(_union(before.folds, request.folds))),
        seeds=tuple(sorted(_union(before.seeds, request.seeds))),
        earlier=tuple(asked for asked in before.calls if asked != now),
        now=now,
        baseline=request.baseline or before.baseline,
        credit=before.credit if request.credit is None else request.credit,
        evaluation=replace(request.evaluation, size_cut_points=before.size_cut_points),
    )
    _tell_added(extended, before)
    return extended


def _read(output: Path) -> _Settings | None:
    """Return the settings of earlier calls; `None` if there was no such call.

    Raises:
        UMambaError: If the file cannot be used.
    """
    file = output / _FILE
    if not file.is_file():
        check_output(output)
        return None
    content = load_json(file)
    if content.get("schema_version") != _VERSION:
        msg = f"{file} was written by another version of umamba; give another --output"
        raise UMambaError(msg)
    try:
        before = from_plain(content, _Settings)
    except ValueError as error:
        msg = f"{file} is damaged ({error}); give another --output"
        raise UMambaError(msg) from None
    return before if before.models else None


def _check_same(before: _Settings, now: _Settings, output: Path) -> None:
    """Check that settings common to all trainings are as before.

    Raises:
        UMambaError: If one has changed.
    """
    if before.dataset != now.dataset:
        msg = f"{output} compares models on {before.dataset}; give another --output"
        raise UMambaError(msg)
    flags = flags_of(CompareRequest)
    for key in _FIXED:
        was, wanted = getattr(before, key), getattr(now, key)
        if was != wanted:
            msg = (
                f"{output} was begun with {flags[key]} {_as_option(was)}, not "
                f"{_as_option(wanted)}; give that, or another --output"
            )
            raise UMambaError(msg)


def _tell_added(request: ComparisonRequest, before: _Settings) -> None:
    """Log what this call adds to earlier ones."""
    added = {
        key: [
            str(value) for value in getattr(request.now, key) if value not in getattr(before, key)
        ]
        for key in ("models", "folds", "seeds")
    }
    told = "; ".join(f"{key} {', '.join(values)}" for key, values in added.items() if values)
    if told:
        sys.stderr.write(f"added to what {request.output} compares: {told}\n")


def is_begun(output: Path) -> bool:
    """Return whether a folder contains a comparison to continue."""
    return (output / _FILE).is_file()


def check_output(output: Path) -> None:
    """Check that a folder can hold a comparison: writable, and empty or a comparison already.

    Raises:
        UMambaError: If it cannot.
    """
    check_writable(output, "--output")
    if is_begun(output) or not output.exists():
        return
    if not output.is_dir() or any(not _is_ours(path) for path in output.iterdir()):
        msg = f"{output} exists and does not hold a comparison; give another --output"
        raise UMambaError(msg)


def _is_ours(path: Path) -> bool:
    """Return whether a file was left by a comparison that was killed before it began."""
    return path.name.startswith((*LEFT_INSIDE, f".{_FILE}.partial-"))


def _as_option(value: Any) -> str:
    if value is None:
        return "left out"
    if isinstance(value, dict):
        return ", ".join(f"{key}:{item}" for key, item in value.items())
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _union(before: Iterable[Any], now: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys([*before, *now]))


def read_lengths(output: Path) -> dict[str, Length]:
    """Return the length of each model's trainings, as far as earlier calls determined it."""
    before = _read(output) if is_begun(output) else None
    return {model: Length(*length) for model, length in before.lengths.items()} if before else {}


def write_settings(
    request: ComparisonRequest,
    dataset: str,
    configuration: str,
    lengths: Mapping[str, Length] | None = None,
) -> None:
    """Write the settings that `extend_request` and `read_lengths` read.

    Args:
        request: The comparison.
        dataset: Full name of the data set.
        configuration: The configuration that is trained.
        lengths: Length of each model's trainings; `None` if not determined yet, in which case the
            folder is only claimed, unless it is already.
    """
    make_folder(request.output)
    if lengths is None:
        if _read(request.output) is not None:
            return
        nothing = Asked((), (), ())
        request = replace(request, models=(), folds=(), seeds=(), earlier=(), now=nothing)
    settings = _settings(request, dataset, configuration, lengths or {})
    content = {"schema_version": _VERSION, **to_plain(settings)}
    write_whole(request.output / _FILE, json.dumps(content, indent=2) + "\n")


def _settings(
    request: ComparisonRequest, dataset: str, configuration: str, lengths: Mapping[str, Length]
) -> _Settings:
    return _Settings(
        dataset=dataset,
        configuration=configuration,
        source=request.source,
        budget=request.budget.to_dict(),
        **training_options(request),
        models=request.models,
        folds=request.folds,
        seeds=request.seeds,
        baseline=request.baseline,
        credit=request.credit,
        size_cut_points=dict(request.evaluation.size_cut_points),
        lengths={m: (n.epochs, n.iterations_per_epoch) for m, n in lengths.items()},
        asked=tuple(asked for asked in request.asked if asked.models),
    )
