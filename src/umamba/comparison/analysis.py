"""Statistics, learning dynamics and verdicts, from the contents of `results.json` alone."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from umamba.comparison.controls import controls_of
from umamba.comparison.dynamics import Curve, learning_dynamics
from umamba.comparison.ranks import rank_stability
from umamba.comparison.records import to_plain
from umamba.comparison.scores import CaseScore
from umamba.comparison.statistics import (
    ModelComparison,
    compare_models,
    compare_with_controls,
    summarize_models,
)
from umamba.comparison.verdicts import Unit, verdict
from umamba.evaluation.metrics import METRICS

__all__ = ["analyse", "compared_scores"]

_LOWER_IS_BETTER = ("hd95", "assd", "volume_error")
_OBJECT_METRICS = ("f1", "dice")
_VERDICT_METRIC, _VERDICT_UNIT = "dice", Unit("Dice points", 100.0)


def analyse(results: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the models of a comparison.

    Trainings of another length than the budget are left out.

    Args:
        results: The contents of `results.json`; `dynamics`, `statistics`, `verdicts` are ignored.

    Returns:
        `dynamics` by model, `statistics` by metric, `verdicts` by model, as plain data. Statistics
        of objects are called by metric and size, such as `object_f1_small`.
    """
    statistics: dict[str, Any] = {}
    verdicts: dict[str, str] = {}
    for metric, scores in _scores_by_metric(results).items():
        comparisons, controls = _compare(results, metric, scores)
        higher = metric not in _LOWER_IS_BETTER
        statistics[metric] = {
            "summaries": summarize_models(scores),
            "comparisons": comparisons,
            "controls": controls,
            "rank_stability": rank_stability(scores, higher_is_better=higher),
        }
        if metric == _VERDICT_METRIC:
            verdicts = _verdicts([*comparisons, *controls])
    plain: dict[str, Any] = to_plain(
        {"dynamics": _dynamics(results), "statistics": statistics, "verdicts": verdicts}
    )
    return plain


def _scores_by_metric(results: Mapping[str, Any]) -> dict[str, list[CaseScore]]:
    strata = dict.fromkeys(row["stratum"] for row in results["instances"])
    found = {metric: compared_scores(results, metric) for metric in METRICS}
    for metric in _OBJECT_METRICS:
        for stratum in strata:
            rows = (row for row in results["instances"] if row["stratum"] == stratum)
            found[f"object_{metric}_{stratum}"] = _mean_over_labels(
                results, ((row, row[metric]) for row in rows)
            )
    return {metric: scores for metric, scores in found.items() if scores}


def compared_scores(results: Mapping[str, Any], metric: str) -> list[CaseScore]:
    """Return a metric of all cases, its mean over the labels for which it is defined.

    Where it is undefined because the prediction misses a label, as distances are, it is undefined
    for the case: the mean over the other labels would reward a model for what it missed.

    Args:
        results: The contents of `results.json`.
        metric: One of those of `cases`.
    """
    return _mean_over_labels(results, ((row, _of_label(row, metric)) for row in results["cases"]))


def _of_label(row: Mapping[str, Any], metric: str) -> float | None:
    """Return `None` where there is nothing to measure, nan where what there is was missed."""
    value: float | None = row["metrics"][metric]
    return math.nan if value is None and row.get("empty") == "prediction" else value


def _mean_over_labels(
    results: Mapping[str, Any], values: Iterable[tuple[Mapping[str, Any], float | None]]
) -> list[CaseScore]:
    compared = _compared_trainings(results)
    of_labels: dict[tuple[str, int, int | None, str], list[float]] = {}
    for row, value in values:
        if (row["model"], row["fold"], row["seed"]) in compared:
            key = (row["model"], row["fold"], row["seed"], row["case"])
            of_labels.setdefault(key, []).extend([] if value is None else [value])
    return [CaseScore(*key, fmean(v) if v else math.nan) for key, v in of_labels.items()]


def _compared_trainings(results: Mapping[str, Any]) -> set[tuple[str, int, int | None]]:
    cells = (cell for cell in results["cells"] if cell["compared"])
    return {(cell["model"], cell["fold"], cell["seed"]) for cell in cells}


def _compare(
    results: Mapping[str, Any], metric: str, scores: Sequence[CaseScore]
) -> tuple[list[ModelComparison], list[ModelComparison]]:
    """Compare with the baseline, and models with their controls, as far as there are scores."""
    higher = metric not in _LOWER_IS_BETTER
    scored = {score.model for score in scores}
    baseline = results["settings"]["baseline"]
    names = [model["name"] for model in results["models"] if model["name"] in scored]
    controls = {name: found for name in names if (found := controls_of(name, names))}
    comparisons = []
    if baseline in scored:
        comparisons = compare_models(scores, baseline, higher_is_better=higher)
    return comparisons, compare_with_controls(scores, controls, higher_is_better=higher)


def _verdicts(comparisons: Iterable[ModelComparison]) -> dict[str, str]:
    sentences: dict[str, list[str]] = {}
    for comparison in comparisons:
        said = verdict(comparison, _VERDICT_UNIT)
        sentence = f"{comparison.model} against {comparison.baseline}: {said}."
        of_model = sentences.setdefault(comparison.model, [])
        if sentence not in of_model:
            of_model.append(sentence)
    return {model: " ".join(said) for model, said in sentences.items()}


def _dynamics(results: Mapping[str, Any]) -> dict[str, Any]:
    compared = _compared_trainings(results)
    curves = [
        Curve(
            curve["model"],
            curve["fold"],
            curve["seed"],
            epochs=curve["epoch"],
            hours=curve["hours"],
            values=[math.nan if value is None else value for value in curve["dice"]],
        )
        for curve in results["curves"]
        if (curve["model"], curve["fold"], curve["seed"]) in compared
    ]
    records = learning_dynamics(curves, results["settings"]["baseline"])
    return {record.model: record for record in records}
