"""Results of a few trainings, as tests of the statistics need them."""

from collections.abc import Sequence
from typing import Any

from umamba.comparison.results import AnalysisSettings, Results, ResultsSettings
from umamba.comparison.rows import (
    CaseRow,
    ComparedDataset,
    ComparedModel,
    Cost,
    ObjectRow,
    Training,
    TrainingRow,
)


def finished(training: Training, seeds: str | None = "independent") -> TrainingRow:
    return TrainingRow(
        **vars(training),
        status="done",
        reason=None,
        seeds=seeds,
        folder="",
        source="compare",
        train_hours=0.5,
        epochs=20,
        compared=True,
    )


def scored(
    training: Training, case: str, label: str, empty: Any = None, **metrics: float | None
) -> CaseRow:
    return CaseRow(
        **vars(training),
        case=case,
        label=label,
        metrics=metrics,
        empty=empty,
        reference_volume=1.0,
        prediction_volume=1.0,
    )


def results_of(
    trainings: Sequence[TrainingRow],
    cases: Sequence[CaseRow],
    *,
    instances: Sequence[ObjectRow] = (),
    cost: dict[str, Cost] | None = None,
    **analysis: Any,
) -> Results:
    """The first model is the baseline."""
    models = tuple(dict.fromkeys(training.model for training in trainings))
    return Results(
        dataset=ComparedDataset("Dataset001_Any", "2d", {"background": 0}, len(cases), "px"),
        settings=ResultsSettings(
            models, models[0], (0,), (0,), {"epochs": 20}, analysis=AnalysisSettings(**analysis)
        ),
        models=tuple(ComparedModel(name, name, None, "none") for name in models),
        trainings=tuple(trainings),
        cases=tuple(cases),
        instances=tuple(instances),
        curves=(),
        cost=cost or {},
    )
