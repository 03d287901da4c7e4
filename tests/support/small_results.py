"""Results of a few trainings, as tests of the statistics need them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

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
from umamba.evaluation.metrics import METRICS

Happens = Callable[[str, int, int], bool]
N_CASES, N_EMPTY = 50, 20


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


def never(model: str, seed: int, case: int) -> bool:
    return False


def results_with(
    alarm: Happens = never,
    miss: Happens = never,
    *,
    seeds: int = 3,
    cost: dict[str, Cost] | None = None,
    **analysis: Any,
) -> Results:
    """Return results of two models alike in 30 cases with the label; 20 are without it."""
    rng = np.random.default_rng(0)
    trainings, rows = [], []
    for model in ("net", "new"):
        for fold, seed in np.ndindex(5, seeds):
            training = Training(model, fold, seed)
            trainings.append(finished(training))
            for case in range(fold, N_CASES, 5):
                if case < N_EMPTY:
                    empty = "reference" if alarm(model, seed, case) else "both"
                    value = 0.0 if empty == "reference" else None
                else:
                    empty = "prediction" if miss(model, seed, case) else None
                    value = 0.0 if empty else 0.8 + 0.002 * case + rng.normal(0, 0.02)
                metrics = dict.fromkeys(METRICS, value)
                rows.append(scored(training, f"case_{case:02d}", "tumour", empty, **metrics))
    return results_of(trainings, rows, cost=cost, **analysis)
