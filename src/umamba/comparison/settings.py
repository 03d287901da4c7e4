"""What a folder of results was begun with, so that later calls go on with the same."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from umamba.comparison.budget import Length
from umamba.comparison.planning import ComparisonRequest
from umamba.errors import UMambaError
from umamba.nnunet.json_files import load_json
from umamba.nnunet.paths import check_writable
from umamba.nnunet.whole_files import write_whole

__all__ = ["extend_request", "read_lengths", "write_settings"]

_FILE = "comparison.json"
_VERSION = 1
_OPTIONS = {
    "configuration": "--configuration",
    "source": "--from",
    "budget": "--budget",
    "features": "--features",
    "patch_size": "--patch-size",
    "batch_size": "--batch-size",
}
_KEYS = {"dataset", "models", "folds", "seeds", "baseline", "size_cut_points", "lengths", *_OPTIONS}


def extend_request(
    request: ComparisonRequest, dataset: str, configuration: str
) -> ComparisonRequest:
    """Add the models, folds and seeds that the folder of results has from earlier calls.

    Args:
        request: What is asked for now.
        dataset: Full name of the data set.
        configuration: The configuration that is asked for, or chosen.

    Raises:
        UMambaError: If what all cells have in common, such as the budget, is not the same.
    """
    file = request.output / _FILE
    if not file.is_file():
        _check_new(request.output)
        return request
    before = load_json(file)
    if before.get("schema_version") != _VERSION:
        msg = f"{file} is of another version of umamba; give another --output"
        raise UMambaError(msg)
    lacks = sorted(_KEYS - before.keys())
    if lacks:
        msg = f"{file} is damaged, it lacks {lacks[0]!r}; give another --output"
        raise UMambaError(msg)
    now = _common(request, dataset, configuration)
    if before["dataset"] != dataset:
        msg = f"{request.output} compares models on {before['dataset']}; give another --output"
        raise UMambaError(msg)
    for key, option in _OPTIONS.items():
        if before[key] != now[key]:
            msg = (
                f"{request.output} was begun with {option} {_as_option(before[key])}, not "
                f"{_as_option(now[key])}; give that, or another --output"
            )
            raise UMambaError(msg)
    return replace(
        request,
        models=_union(before["models"], request.models),
        folds=tuple(sorted(_union(before["folds"], request.folds))),
        seeds=tuple(sorted(_union(before["seeds"], request.seeds))),
        baseline=request.baseline or before["baseline"],
        evaluation=replace(
            request.evaluation,
            size_cut_points={k: tuple(v) for k, v in before["size_cut_points"].items()},
        ),
    )


def _check_new(output: Path) -> None:
    check_writable(output, "--output")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        msg = f"{output} is there and holds no comparison; give another --output"
        raise UMambaError(msg)


def _as_option(value: Any) -> str:
    if value is None:
        return "left out"
    if isinstance(value, dict):
        return ", ".join(f"{key}:{item}" for key, item in value.items())
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _union(before: Iterable[Any], now: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys([*before, *now]))


def read_lengths(output: Path) -> dict[str, Length]:
    """Return how long each model's cells train, as far as earlier calls have settled it."""
    file = output / _FILE
    lengths = load_json(file)["lengths"] if file.is_file() else {}
    return {model: Length(*length) for model, length in lengths.items()}


def write_settings(
    request: ComparisonRequest, dataset: str, configuration: str, lengths: dict[str, Length]
) -> None:
    """Write what `extend_request` and `read_lengths` read."""
    request.output.mkdir(parents=True, exist_ok=True)
    content = {
        "schema_version": _VERSION,
        **_common(request, dataset, configuration),
        "models": request.models,
        "folds": request.folds,
        "seeds": request.seeds,
        "baseline": request.baseline,
        "size_cut_points": request.evaluation.size_cut_points,
        "lengths": {m: [n.epochs, n.iterations_per_epoch] for m, n in lengths.items()},
    }
    write_whole(request.output / _FILE, json.dumps(content, indent=2) + "\n")


def _common(request: ComparisonRequest, dataset: str, configuration: str) -> dict[str, Any]:
    """Return what all cells have in common, as JSON gives it back."""
    common = {
        "dataset": dataset,
        "configuration": configuration,
        "source": request.source,
        "budget": request.budget.to_dict(),
        "features": request.features,
        "patch_size": request.patch_size,
        "batch_size": request.batch_size,
    }
    plain: dict[str, Any] = json.loads(json.dumps(common))
    return plain
