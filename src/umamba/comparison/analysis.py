"""Statistics, learning dynamics and verdicts, from the contents of `results.json` alone."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from statistics import fmean
from typing import Any

from umamba.comparison.analysis_settings import AnalysisSettings
from umamba.comparison.controls import controls_of
from umamba.comparison.detection import KINDS, Kind, detection_scores, rates, with_rates
from umamba.comparison.dynamics import Curve, learning_dynamics
from umamba.comparison.groups import compare_groups
from umamba.comparison.margins import against_margin, margin_verdict
from umamba.comparison.ranks import rank_stability
from umamba.comparison.records import to_plain
from umamba.comparison.scores import CaseScore, Structure
from umamba.comparison.statistics import (
    ModelComparison,
    compare_models,
    compare_with_controls,
    summarize_models,
)
from umamba.comparison.verdicts import Unit, detection_differs, detection_verdict, verdict
from umamba.evaluation.metrics import METRICS, measured_metrics
from umamba.nnunet.seed_streams import SHARED

__all__ = ["analyse", "compared_scores", "models_with_shared_seeds"]

_OBJECT_METRICS = ("f1", "dice")
_VERDICT_METRIC, _VERDICT_UNIT = "dice", Unit("Dice points", 100.0)


def analyse(results: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the models of a comparison.

    Trainings of another length than the budget are left out.

    Args:
        results: The contents of `results.json`; `dynamics`, `statistics`, `verdicts` are ignored.

    Returns:
        `dynamics` by model, `statistics` by metric, `verdicts` by model, as plain data. Statistics
        of objects are called by metric and size, such as `object_f1_small`; those of labels seen
        where there are none, or not seen, `false_alarm` and `missed`.
    """
    structure = _structure(results)
    statistics: dict[str, dict[str, Any]] = {}
    settings = AnalysisSettings.from_results(results.get("settings", {}))
    for metric, scores in _scores_by_metric(results).items():
        statistics[metric] = found = _statistics(results, metric, scores, structure)
        families = (found["comparisons"], found["controls"])
        if settings.groups and metric in METRICS:
            found["groups"] = [
                comparison
                for family in families
                for comparison in compare_groups(scores, family, settings.groups, structure)
            ]
        if settings.margin is not None and metric == _VERDICT_METRIC:
            margin, cost = settings.margin / _VERDICT_UNIT.factor, results.get("cost", {})
            judged = [against_margin(c, margin, cost) for c in chain(*families)]
            found["margins"] = [margin for margin in judged if margin is not None]
    for kind in KINDS:
        rows, compared = results["cases"], _compared_trainings(results)
        scores, parts = detection_scores(rows, compared, kind, structure)
        if scores:
            statistics[kind] = _rate_statistics(results, kind, scores, parts)
    plain: dict[str, Any] = to_plain(
        {
            "dynamics": _dynamics(results),
            "statistics": statistics,
            "verdicts": _verdicts(statistics),
        }
    )
    return plain


def models_with_shared_seeds(results: Mapping[str, Any]) -> list[str]:
    """Return the models of which trainings of one seed have something in common in all folds."""
    folds: dict[str, set[int]] = {}
    for cell in results["cells"]:
        if cell["compared"] and cell["seed"] is not None and cell.get("seeds", SHARED) == SHARED:
            folds.setdefault(cell["model"], set()).add(cell["fold"])
    return [model for model, found in folds.items() if len(found) > 1]


def _structure(results: Mapping[str, Any]) -> Structure:
    """Find out which cases, and which trainings, belong together."""
    clusters = AnalysisSettings.from_results(results.get("settings", {})).clusters
    return Structure(clusters, frozenset(models_with_shared_seeds(results)))


def _statistics(
    results: Mapping[str, Any], metric: str, scores: Sequence[CaseScore], structure: Structure
) -> dict[str, Any]:
    found: dict[str, Any] = {"summaries": summarize_models(scores, structure)}
    higher = _higher_is_better(metric)
    if higher is None:  # of a signed difference: no model is better for more of it, or for less
        return found | {"comparisons": [], "controls": [], "rank_stability": None}
    comparisons, controls = _compare(results, scores, structure, higher_is_better=higher)
    ranks = rank_stability(scores, structure, higher_is_better=higher)
    return found | {"comparisons": comparisons, "controls": controls, "rank_stability": ranks}


def _higher_is_better(metric: str) -> bool | None:
    """Tell so of a metric, of one of objects, or of a kind of error."""
    return METRICS[metric].higher_is_better if metric in METRICS else metric not in KINDS


def _rate_statistics(
    results: Mapping[str, Any], kind: Kind, scores: Sequence[CaseScore], structure: Structure
) -> dict[str, Any]:
    found = _statistics(results, kind, scores, structure)
    summaries = found["summaries"]
    families = {name: with_rates(found[name], summaries) for name in ("comparisons", "controls")}
    return found | families | {"rates": rates(scores, summaries)}


def _scores_by_metric(results: Mapping[str, Any]) -> dict[str, list[CaseScore]]:
    strata = dict.fromkeys(row["stratum"] for row in results["instances"])
    found = {
        metric: compared_scores(results, metric) for metric in measured_metrics(results["cases"])
    }
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
    empty = AnalysisSettings.from_results(results.get("settings", {})).empty
    values = {"undefined": None, "one": 1.0, "zero": 0.0}
    of_empty = values[empty] if METRICS[metric].is_overlap else None
    rows = ((row, _of_label(row, metric, of_empty)) for row in results["cases"])
    return _mean_over_labels(results, rows)


def _of_label(row: Mapping[str, Any], metric: str, of_empty: float | None) -> float | None:
    """Return `None` where there is nothing to measure, nan where what there is was missed.

    Args:
        row: One of `cases`.
        metric: One of its metrics.
        of_empty: What the metric is where both masks are empty.
    """
    value: float | None = row["metrics"].get(metric)  # which older results may lack
    if row.get("empty") == "both" and of_empty is not None:
        return of_empty
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
    results: Mapping[str, Any],
    scores: Sequence[CaseScore],
    structure: Structure,
    *,
    higher_is_better: bool,
) -> tuple[list[ModelComparison], list[ModelComparison]]:
    """Compare with the baseline, and models with their controls, as far as there are scores."""
    scored = {score.model for score in scores}
    baseline = results["settings"]["baseline"]
    names = [model["name"] for model in results["models"] if model["name"] in scored]
    controls = {name: found for name in names if (found := controls_of(name, names))}
    comparisons = []
    if baseline in scored:
        comparisons = compare_models(scores, baseline, structure, higher_is_better=higher_is_better)
    return comparisons, compare_with_controls(
        scores, controls, structure, higher_is_better=higher_is_better
    )


def _verdicts(statistics: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Say of each model what Dice shows, and whether it sees more that is not there, or misses."""
    sentences: dict[str, list[str]] = {}
    for family in ("comparisons", "controls"):
        for comparison in statistics.get(_VERDICT_METRIC, {}).get(family, ()):
            parts = _clauses(statistics, family, comparison)
            sentence = f"{comparison.model} against {comparison.baseline}: {'; '.join(parts)}."
            of_model = sentences.setdefault(comparison.model, [])
            if sentence not in of_model:
                of_model.append(sentence)
    return {model: " ".join(said) for model, said in sentences.items()}


def _clauses(
    statistics: Mapping[str, Mapping[str, Any]], family: str, of_dice: ModelComparison
) -> list[str]:
    """Say what false alarms and misses show, where they show a difference, then what Dice does."""
    differing: list[str] = []
    others: list[str] = []
    for kind in KINDS:
        found = statistics.get(kind, {})
        by_model = {rate.model: rate for rate in found.get("rates", ())}
        for comparison in found.get(family, ()):
            if (comparison.model, comparison.baseline) == (of_dice.model, of_dice.baseline):
                pair = by_model[comparison.model], by_model[comparison.baseline]
                said = differing if detection_differs(comparison) else others
                if any(rate.n_events for rate in pair):
                    said.append(detection_verdict(kind, comparison, pair))
    by_dice = verdict(of_dice, _VERDICT_UNIT, differ_otherwise=bool(differing))
    margins = [
        margin_verdict(m, m.margin * _VERDICT_UNIT.factor, repeated=_repeated(of_dice))
        for m in statistics[_VERDICT_METRIC].get("margins", ())
        if (m.model, m.baseline) == (of_dice.model, of_dice.baseline)
    ]
    others = others if of_dice.n_informative_left_out else []
    return [*differing, by_dice, *margins, *others]


def _repeated(comparison: ModelComparison) -> bool:
    return comparison.difference.includes_seed_variance


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
