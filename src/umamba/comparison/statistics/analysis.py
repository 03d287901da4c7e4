"""Statistics, learning dynamics and verdicts, computed from the results of trainings alone."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from umamba.comparison.external_records import ExternalTest, Judged
from umamba.comparison.learning_records import Dynamics
from umamba.comparison.records import MetricStatistics, ModelComparison, Repeats
from umamba.comparison.results import STATISTICS_VERSION, Results
from umamba.comparison.rows import CaseRow, EnsembleRow, ObjectRow, Training, TrainingRow
from umamba.comparison.statistics.agreement import volume_agreement
from umamba.comparison.statistics.completeness import incomplete_models
from umamba.comparison.statistics.crossed import crossed_scores, repeats_of
from umamba.comparison.statistics.detection import KINDS, detection_scores, rates, with_rates
from umamba.comparison.statistics.dynamics import learning_dynamics
from umamba.comparison.statistics.models import compare_all_pairs, compare_with_each
from umamba.comparison.statistics.one_metric import (
    Question,
    compare_scores,
    margin_clauses,
    mean_over_labels,
    metric_verdicts,
)
from umamba.comparison.statistics.scores import CaseScore, Structure
from umamba.comparison.statistics.verdicts import (
    DICE_POINTS,
    detection_differs,
    detection_verdict,
    verdict,
)
from umamba.evaluation.metrics import METRICS
from umamba.evaluation.overlap_metrics import VOLUME_BIAS

__all__ = [
    "analyse",
    "compared_scores",
    "ensembles_on_test_set",
    "models_with_shared_seeds",
    "scores_by_metric",
    "with_each_baseline",
]

_VERDICT_METRIC = "dice"
_OF_EMPTY = {"undefined": None, "one": 1.0, "zero": 0.0}


def analyse(results: Results) -> Results:
    """Compare the models of a comparison.

    Trainings of another length than the budget are left out.

    Args:
        results: Results of the trainings; `dynamics`, `statistics` and `verdicts` are ignored.

    Returns:
        The same results with `dynamics`, `statistics` and `verdicts`.
    """
    statistics = _all_statistics(results, _structure(results))
    return replace(
        results,
        dynamics=_dynamics(results),
        statistics=statistics,
        verdicts=_verdicts(statistics),
        test=_analyse_test(results),
        statistics_version=STATISTICS_VERSION,
    )


def _all_statistics(
    results: Results, structure: Structure, repeats: Repeats = "trainings per fold"
) -> dict[str, MetricStatistics]:
    """Return the statistics of all metrics, and of false alarms and misses."""
    question = replace(_question(results, higher=None), repeats=repeats)
    statistics = {
        metric: _statistics(results, metric, scores, question, structure)
        for metric, scores in scores_by_metric(results).items()
    }
    for kind in KINDS:
        scores, parts = detection_scores(results.cases, results.compared, kind, structure)
        if scores:
            statistics[kind] = _rate_statistics(scores, question, parts)
    return statistics


def _analyse_test(results: Results) -> ExternalTest | None:
    """Judge the predictions of a test set: those of trainings, and those of ensembles."""
    test, of_trainings = results.test, results.on_test_set()
    of_ensembles = ensembles_on_test_set(results)
    if test is None or of_trainings is None or of_ensembles is None:
        return None
    repeats = repeats_of(of_trainings.compared & {row.training for row in test.cases})
    structure = Structure(results.settings.analysis.clusters)
    return replace(
        test,
        trainings=_judged(_all_statistics(of_trainings, structure, repeats)),
        ensembles=_judged(_all_statistics(of_ensembles, structure, "ensembles")),
    )


def ensembles_on_test_set(results: Results) -> Results | None:
    """Return the results with the ensembles' cases of the external test as their cases.

    An ensemble is a training of fold 0 in them; `None` if there is no test.
    """
    test, of_trainings = results.test, results.on_test_set()
    if test is None or of_trainings is None:
        return None
    rows, trainings = test.ensemble_cases, {}
    for row in rows:
        training = Training(row.model, 0, row.seed)
        trainings[training] = _of_ensemble(training)
    cases = tuple(CaseRow(**{**_without_folds(row), "fold": 0}) for row in rows)
    return replace(of_trainings, cases=cases, trainings=tuple(trainings.values()))


def _judged(statistics: dict[str, MetricStatistics]) -> Judged:
    return Judged(statistics, _verdicts(statistics))


def _without_folds(row: EnsembleRow) -> dict[str, Any]:
    return {name: value for name, value in vars(row).items() if name != "folds"}


def _of_ensemble(training: Training) -> TrainingRow:
    return TrainingRow(
        **vars(training),
        status="done",
        reason=None,
        seeds=None,
        folder="",
        source="compare",
        train_hours=None,
        epochs=0,
        compared=True,
    )


def with_each_baseline(results: Results, baselines: Sequence[str]) -> dict[str, Results]:
    """Return the results with all models compared with others in Dice.

    Args:
        results: Results with statistics.
        baselines: The other baselines.

    Returns:
        For each, the same results but for the baseline and the comparisons with it in Dice.
    """
    scores = compared_scores(results, _VERDICT_METRIC)
    found = {}
    for name, compared in compare_with_each(scores, baselines, _structure(results)).items():
        dice = replace(results.dice, comparisons=tuple(compared))
        settings = replace(results.settings, baseline=name)
        statistics = {**results.statistics, _VERDICT_METRIC: dice}
        found[name] = replace(results, settings=settings, statistics=statistics)
    return found


def _structure(results: Results) -> Structure:
    shared = frozenset(models_with_shared_seeds(results))
    return Structure(results.settings.analysis.clusters, shared)


def models_with_shared_seeds(results: Results) -> list[str]:
    """Return the models whose trainings of one seed have something in common in all folds."""
    folds: dict[str, set[int]] = {}
    for training in results.trainings:
        if training.compared and training.shares_seed:
            folds.setdefault(training.model, set()).add(training.fold)
    return [model for model, found in folds.items() if len(found) > 1]


def _statistics(
    results: Results,
    metric: str,
    scores: Sequence[CaseScore],
    asked: Question,
    structure: Structure,
) -> MetricStatistics:
    settings, is_known = results.settings.analysis, metric in METRICS
    margin = settings.margin if metric == _VERDICT_METRIC else None
    question = replace(
        asked,
        higher_is_better=METRICS[metric].higher_is_better if is_known else True,
        groups=settings.groups if is_known else {},
        margin=None if margin is None else margin / DICE_POINTS.factor,
        cost=results.cost,
    )
    found = _compared(scores, question, structure)
    if metric == _VERDICT_METRIC and question.repeats == "trainings per fold":
        found = replace(found, pairs=tuple(compare_all_pairs(scores, structure)))
    if metric == VOLUME_BIAS.name:
        agreement = volume_agreement(results.cases, results.compared, settings.clusters)
        found = replace(found, agreement=agreement)
    return found


def _question(results: Results, *, higher: bool | None) -> Question:
    incomplete = frozenset(incomplete_models(results))
    names, baseline = results.model_names, results.settings.baseline
    return Question(names, baseline, higher, unranked=incomplete)


def _compared(
    scores: Sequence[CaseScore], question: Question, structure: Structure
) -> MetricStatistics:
    """Compare scores; those of a test set are first given the repetitions that they are."""
    if question.repeats in ("folds", "trainings"):
        scores = crossed_scores(scores, question.repeats)
    return compare_scores(scores, question, structure)


def _rate_statistics(
    scores: Sequence[CaseScore], asked: Question, structure: Structure
) -> MetricStatistics:
    found = _compared(scores, replace(asked, higher_is_better=False), structure)
    return replace(
        found,
        comparisons=tuple(with_rates(found.comparisons, found.summaries)),
        controls=tuple(with_rates(found.controls, found.summaries)),
        rates=tuple(rates(scores, found.summaries)),
    )


def scores_by_metric(results: Results) -> dict[str, list[CaseScore]]:
    """Return the scores of all cases in each metric, and in each metric and size of objects.

    Args:
        results: Results of the trainings.

    Returns:
        Scores by the names that `Results.statistics` has, as far as there are any.
    """
    strata = dict.fromkeys(row.stratum for row in results.instances)
    found = {metric: compared_scores(results, metric) for metric in results.metrics}
    for metric in ("f1", "dice"):
        for stratum in strata:
            rows = (row for row in results.instances if row.stratum == stratum)
            found[f"object_{metric}_{stratum}"] = _mean_over_labels(
                results, ((row, row.f1 if metric == "f1" else row.dice) for row in rows)
            )
    return {metric: scores for metric, scores in found.items() if scores}


def compared_scores(results: Results, metric: str) -> list[CaseScore]:
    """Return a metric for all cases, as its mean over the labels for which it is defined.

    If it is undefined because the prediction misses a label, as for distances, it is undefined for
    the case: the mean over the other labels would reward the model for missing one.

    Args:
        results: Results of the trainings.
        metric: A metric of `cases`; results of earlier versions may lack it.
    """
    of_empty = _OF_EMPTY[results.settings.analysis.empty] if METRICS[metric].is_overlap else None
    rows = (row for row in results.cases if metric in row.metrics)
    return _mean_over_labels(results, ((row, _of_label(row, metric, of_empty)) for row in rows))


def _of_label(row: CaseRow, metric: str, of_empty: float | None) -> float | None:
    """Return a metric; `None` if there is nothing to measure, nan if something was missed.

    Args:
        row: A label in a case.
        metric: One of its metrics.
        of_empty: Value of the metric if both masks are empty.
    """
    value = row.metrics[metric]
    if row.empty == "both" and of_empty is not None:
        return of_empty
    return math.nan if value is None and row.empty == "prediction" else value


def _mean_over_labels(
    results: Results, values: Iterable[tuple[CaseRow | ObjectRow, float | None]]
) -> list[CaseScore]:
    return mean_over_labels(
        (row.training, row.case, value) for row, value in values if row.training in results.compared
    )


def _verdicts(statistics: Mapping[str, MetricStatistics]) -> dict[str, str]:
    """Return a sentence per model on Dice, false alarms and misses."""
    return metric_verdicts(
        statistics.get(_VERDICT_METRIC, MetricStatistics()),
        DICE_POINTS,
        lambda comparison, is_control: _clauses(statistics, comparison, is_control=is_control),
    )


def _clauses(
    statistics: Mapping[str, MetricStatistics], of_dice: ModelComparison, *, is_control: bool
) -> list[str]:
    """Return clauses on false alarms and misses if they differ, then on Dice."""
    differing: list[str] = []
    others: list[str] = []
    for kind in KINDS:
        found = statistics.get(kind, MetricStatistics())
        by_model = {rate.model: rate for rate in found.rates}
        for comparison in found.controls if is_control else found.comparisons:
            if (comparison.model, comparison.baseline) == (of_dice.model, of_dice.baseline):
                pair = by_model[comparison.model], by_model[comparison.baseline]
                said = differing if detection_differs(comparison) else others
                if any(rate.n_events for rate in pair):
                    said.append(detection_verdict(kind, comparison, pair))
    by_dice = verdict(of_dice, DICE_POINTS, differ_otherwise=bool(differing))
    margins = margin_clauses(statistics[_VERDICT_METRIC], of_dice, DICE_POINTS)
    others = others if of_dice.n_informative_left_out else []
    return [*differing, by_dice, *margins, *others]


def _dynamics(results: Results) -> dict[str, Dynamics]:
    curves = [curve for curve in results.curves if curve.training in results.compared]
    records = learning_dynamics(curves, results.settings.baseline)
    return {record.model: record for record in records}
