"""The files of a comparison: `results.json`, tables, and a manifest.

`docs/reference/comparison-results.md` describes `results.json`.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, repeat
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from umamba import registry
from umamba.comparison.analysis import compared_scores
from umamba.comparison.controls import control_of
from umamba.comparison.finished import read_details
from umamba.comparison.records import to_plain
from umamba.evaluation.metrics import measured_metrics
from umamba.evaluation.summary import as_csv
from umamba.nnunet.file_names import GEOMETRY_ENDINGS
from umamba.nnunet.whole_files import write_whole

if TYPE_CHECKING:
    from umamba.comparison.state import Comparison

__all__ = ["build_results", "write_results"]

_SCHEMA = "umamba-comparison"
_VERSION = 1


def build_results(comparison: "Comparison") -> dict[str, Any]:
    """Return the contents of `results.json`, without statistics."""
    request, source = comparison.request, comparison.planned.source
    rows: dict[str, list[dict[str, Any]]] = {"cases": [], "instances": [], "curves": []}
    for head, cache in _trainings(comparison):
        details = read_details(cache)
        rows["cases"] += [head | row for row in details["cases"]]
        rows["instances"] += [head | row for row in details["instances"]]
        rows["curves"].append(head | details["curve"])
    content = {
        "schema": _SCHEMA,
        "schema_version": _VERSION,
        "dataset": {
            "name": source.dataset,
            "configuration": source.configuration,
            "labels": source.dataset_json["labels"],
            "n_cases": len(frozenset().union(*comparison.cases.values())),
            "spacing_unit": "mm" if source.file_ending in GEOMETRY_ENDINGS else "px",
        },
        "settings": {
            "models": comparison.planned.models,
            "baseline": comparison.baseline,
            "folds": request.folds,
            "seeds": request.seeds,
            "budget": request.budget.to_dict(),
            "features": request.features,
            "patch_size": request.patch_size,
            "batch_size": request.batch_size,
            **request.evaluation.to_dict(),
            **request.analysis.to_dict(),
        },
        "models": [_model(comparison, name) for name in comparison.planned.models],
        "cells": [*_cells(comparison), *_stock_cells(comparison)],
        "cost": {model: cost.to_dict() for model, cost in comparison.costs.items()},
        "dynamics": {},
        "statistics": {},
        "verdicts": {},
    }
    plain: dict[str, Any] = to_plain(content)
    return plain | rows


def _model(comparison: "Comparison", name: str) -> dict[str, Any]:
    architecture = registry.find_architecture(name)
    length = comparison.lengths[name]
    return {
        "name": name,
        "plans_name": architecture.plans_name,
        "control_of": control_of(name),
        "paper": architecture.paper,
        "epochs": length.epochs,
        "iterations": length.iterations,
    }


def _cells(comparison: "Comparison") -> Iterable[dict[str, Any]]:
    for cell, state in comparison.states.items():
        finished = comparison.finished.get(cell)
        yield vars(cell) | {
            "status": state.status,
            "reason": state.reason,
            "seeds": None if finished is None else finished.seeds,
            "folder": str(comparison.folder(cell)),
            "source": "compare",
            "train_hours": None if finished is None else finished.train_hours,
            "epochs": comparison.lengths[cell.model].epochs,
            "compared": finished is not None,
        }


def _stock_cells(comparison: "Comparison") -> Iterable[dict[str, Any]]:
    for training, finished in comparison.stock.items():
        reason = comparison.why_not_compared(training)
        yield {
            "model": training.model,
            "fold": training.fold,
            "seed": None,
            "seeds": None,
            "status": "done",
            "reason": reason,
            "folder": str(training.folder),
            "source": "stock",
            "train_hours": finished.train_hours,
            "epochs": finished.length.epochs,
            "compared": reason is None,
        }


def _trainings(comparison: "Comparison") -> Iterator[tuple[dict[str, Any], Path]]:
    """Yield what has been evaluated: its model, fold and seed, and where the rest is kept."""
    for cell in comparison.cells:  # in the same order, whichever ended first
        if cell in comparison.finished:
            yield dict(vars(cell)), comparison.cache(str(cell))
    for training in comparison.stock:
        head = {"model": training.model, "fold": training.fold, "seed": None}
        yield head, comparison.cache(str(training))


def write_results(output: Path, results: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Write all files, each whole or not at all."""
    write_whole(output / "results.json", "".join(_as_json(results)))
    write_whole(output / "manifest.json", json.dumps(manifest, indent=2, allow_nan=False) + "\n")
    surface = {"surface": results["settings"]["surface"]}
    cases = [
        {**{k: v for k, v in row.items() if k != "metrics"}, **row["metrics"], **surface}
        for row in results["cases"]
    ]
    metrics = measured_metrics(results["cases"])
    columns = ("model", "fold", "seed", "case", "label", *metrics, "surface", "empty")
    write_whole(output / "cases.csv", as_csv(columns, cases))
    models = [_model_row(results, model) for model in results["models"]]
    write_whole(output / "models.csv", as_csv(list(models[0]), models))


def _as_json(results: Mapping[str, Any]) -> Iterator[str]:
    """Write a row of a table on a line, which takes far less time and room than a line per key."""
    for opens, (key, value) in zip(chain("{", repeat(",")), results.items(), strict=False):
        yield f"{opens}\n{json.dumps(key)}: "
        if isinstance(value, list) and value:
            for between, row in zip(chain("[", repeat(",")), value, strict=False):
                yield f"{between}\n {json.dumps(row, allow_nan=False)}"
            yield "\n]"
        else:
            yield json.dumps(value, indent=1, allow_nan=False)
    yield "\n}\n"


def _model_row(results: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    name = model["name"]
    cells = [c for c in results["cells"] if c["model"] == name and c["compared"]]
    row = {
        "model": name,
        "control_of": model["control_of"],
        "trainings": len(cells),
        "epochs": model["epochs"],
        "iterations": model["iterations"],
        "train_hours": fmean([c["train_hours"] for c in cells]) if cells else None,
    }
    for metric in measured_metrics(results["cases"]):
        values = [s.value for s in compared_scores(results, metric) if s.model == name]
        defined = [value for value in values if math.isfinite(value)]
        row[metric] = fmean(defined) if defined else None
    cost = results["cost"].get(name, {})
    return row | {key: value for key, value in cost.items() if not isinstance(value, dict)}
