"""Building the results of a comparison from its trainings, and writing them to files."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from umamba import registry
from umamba.comparison.controls import control_of
from umamba.comparison.external_records import ExternalTest
from umamba.comparison.results import Results, ResultsSettings, save_results
from umamba.comparison.rows import CaseRow, ComparedDataset, ComparedModel, Training, TrainingRow
from umamba.comparison.runs.external_tasks import ensemble_rows, external_task, training_rows
from umamba.comparison.runs.finished import read_details
from umamba.comparison.runs.state import Comparison, Tester
from umamba.comparison.statistics.analysis import compared_scores
from umamba.comparison.training_options import training_options
from umamba.evaluation.summary import as_csv
from umamba.images.file_names import GEOMETRY_ENDINGS
from umamba.images.formats import READER_DIMS
from umamba.system.atomic_files import write_whole

__all__ = ["build_results", "write_results"]


def build_results(comparison: Comparison) -> Results:
    """Return the results without statistics."""
    source = comparison.planned.source
    details = [read_details(cache, training) for training, cache in _evaluated(comparison)]
    return Results(
        dataset=ComparedDataset(
            name=source.dataset,
            configuration=source.configuration,
            labels=source.dataset_json["labels"],
            n_cases=len(frozenset().union(*comparison.cases.values())),
            spacing_unit="mm" if source.file_ending in GEOMETRY_ENDINGS else "px",
            credit=comparison.request.credit or "",
            n_dims=READER_DIMS.get(
                str(source.plans.get("image_reader_writer")),
                3 if source.configuration.startswith("3d") else None,
            ),
        ),
        settings=_settings(comparison),
        models=tuple(_model(comparison, name) for name in comparison.planned.models),
        trainings=(*_trainings(comparison), *_stock_trainings(comparison)),
        cases=tuple(row for found in details for row in found.cases),
        instances=tuple(row for found in details for row in found.instances),
        curves=tuple(found.curve for found in details),
        cost=dict(comparison.costs),
        test=_external_test(comparison),
    )


def _external_test(comparison: Comparison) -> ExternalTest | None:
    external = comparison.external
    if external is None:
        return None
    named: dict[Tester, dict[str, Any]] = {one: vars(one) for one in comparison.finished}
    named |= {stock: vars(stock.training) for stock in comparison.stock}
    cases: list[CaseRow] = []
    for one, name in named.items():
        cases += training_rows(name, _tested_rows(comparison, one))
    return ExternalTest(
        images=str(external.images),
        labels=str(external.labels),
        n_cases=len(external.cases),
        in_training=external.in_training,
        untested={str(one): reason for one, reason in comparison.untested.items()},
        cases=tuple(cases),
        ensemble_cases=tuple(
            row
            for one in comparison.ensembles
            for row in ensemble_rows(one, _tested_rows(comparison, one))
        ),
    )


def _tested_rows(comparison: Comparison, one: Tester) -> list[dict[str, Any]]:
    task = external_task(comparison, one) if one in comparison.tested else None
    return (task.recall() or []) if task else []


def _settings(comparison: Comparison) -> ResultsSettings:
    request = comparison.request
    return ResultsSettings(
        models=tuple(comparison.planned.models),
        baseline=comparison.baseline,
        folds=tuple(request.folds),
        seeds=tuple(request.seeds),
        budget=request.budget.to_dict(),
        **training_options(request),
        evaluation=request.evaluation,
        analysis=request.analysis,
    )


def _model(comparison: Comparison, name: str) -> ComparedModel:
    architecture = registry.find_architecture(name)
    length = comparison.lengths[name]
    return ComparedModel(
        name=name,
        plans_name=architecture.plans_name,
        control_of=control_of(name),
        paper=architecture.paper,
        epochs=length.epochs,
        iterations=length.iterations,
        recipe=comparison.planned.recipe_of(name).name,
    )


def _trainings(comparison: Comparison) -> Iterable[TrainingRow]:
    for training, state in comparison.states.items():
        finished = comparison.finished.get(training)
        yield TrainingRow(
            **vars(training),
            status=state.status,
            reason=state.reason,
            seeds=None if finished is None else finished.seeds,
            folder=str(comparison.folder(training)),
            source="compare",
            train_hours=None if finished is None else finished.train_hours,
            epochs=comparison.lengths[training.model].epochs,
            compared=finished is not None,
        )


def _stock_trainings(comparison: Comparison) -> Iterable[TrainingRow]:
    for stock, finished in comparison.stock.items():
        reason = comparison.why_not_compared(stock)
        yield TrainingRow(
            **vars(stock.training),
            status="done",
            reason=reason,
            seeds=None,
            folder=str(stock.folder),
            source="stock",
            train_hours=finished.train_hours,
            epochs=finished.length.epochs,
            compared=reason is None,
        )


def _evaluated(comparison: Comparison) -> Iterator[tuple[Training, Path]]:
    """Yield evaluated trainings, and the files with their details."""
    for training in comparison.trainings:  # in a fixed order, regardless of which ended first
        if training in comparison.finished:
            yield training, comparison.cache(str(training))
    for stock in comparison.stock:
        yield stock.training, comparison.cache(str(stock))


def write_results(output: Path, results: Results, manifest: Mapping[str, Any]) -> None:
    """Write `results.json`, `manifest.json` and the tables, each atomically.

    Args:
        output: The folder of results.
        results: The results, with statistics or without.
        manifest: Description of the run.

    Raises:
        UMambaError: If a file cannot be written.
    """
    save_results(output / "results.json", results)
    write_whole(output / "manifest.json", json.dumps(manifest, indent=2, allow_nan=False) + "\n")
    write_whole(output / "cases.csv", as_csv(results.case_columns(), results.case_rows()))
    if results.test is not None:
        rows = results.test_rows()
        write_whole(output / "test_cases.csv", as_csv(results.test_columns(), rows))
    models = [_model_row(results, model) for model in results.models]
    write_whole(output / "models.csv", as_csv(list(models[0]), models))


def _model_row(results: Results, model: ComparedModel) -> dict[str, Any]:
    trained = [t.train_hours for t in results.trainings if t.model == model.name and t.compared]
    hours = [h for h in trained if h is not None]
    row = {
        "model": model.name,
        "control_of": model.control_of,
        "trainings": len(trained),
        "epochs": model.epochs,
        "iterations": model.iterations,
        "train_hours": fmean(hours) if hours else None,
    }
    for metric in results.metrics:
        values = [s.value for s in compared_scores(results, metric) if s.model == model.name]
        defined = [value for value in values if math.isfinite(value)]
        row[metric] = fmean(defined) if defined else None
    cost = results.cost.get(model.name)
    return row | ({} if cost is None else asdict(cost))
