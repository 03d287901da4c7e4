"""The scores that the scripts of a comparison's page use: one per case and model."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from umamba.comparison.results import Results
from umamba.comparison.statistics.analysis import scores_by_metric
from umamba.comparison.statistics.crossed import crossed_scores
from umamba.comparison.statistics.scores import CaseScore, ScoreTable
from umamba.comparison.statistics.verdicts import DICE_POINTS
from umamba.evaluation.labels import sizes_of_cases
from umamba.evaluation.metric import size_title
from umamba.evaluation.metrics import METRICS
from umamba.reporting.page.content import ScoreCube, ScoredMetric

__all__ = ["ALL_LABELS", "OBJECTS", "comparison_scores", "finite", "mean_scores", "on_test_set"]

ALL_LABELS = ""
OBJECTS = "object_"  # what names of metrics of objects begin with
_OF_OBJECTS = {"f1": "F1 of objects", "dice": "Dice of matched objects"}


def comparison_scores(results: Results) -> ScoreCube:
    """Return the scores of a comparison, as means over trainings.

    Args:
        results: Results of the comparison, with statistics.
    """
    tested = results.on_test_set()
    own, others = _cases(results), _cases(tested) if tested else []
    metrics = _metrics(results)
    models = [name for name in results.model_names if name in {t.model for t in results.compared}]
    labels = list(dict.fromkeys(row.label for row in results.cases))
    parts = {ALL_LABELS: results}
    if len(labels) > 1:
        parts |= {label: _only(results, label) for label in labels}
    values: dict[str, dict[str, list[list[float | None]]]] = {m.name: {} for m in metrics}
    for label, part in parts.items():
        tested_part = part.on_test_set()
        on_test = scores_by_metric(tested_part) if tested_part else {}
        for name, scores in scores_by_metric(part).items():
            if name in values:
                values[name][label] = [
                    [*first, *then]
                    for first, then in zip(
                        mean_scores(scores, models, own),
                        mean_scores(_crossed(on_test.get(name, ())), models, others),
                        strict=True,
                    )
                ]
    return ScoreCube(
        cases=[*own, *map(on_test_set, others)],
        models=models,
        metrics=metrics,
        labels=list(parts),
        values=values,
        facts=_all_facts(results, own, tested, others),
    )


def _crossed(scores: Sequence[CaseScore]) -> Sequence[CaseScore]:
    """Return scores of a test set, which every training predicts, as one stratum of trainings."""
    return crossed_scores(scores, "trainings")


def on_test_set(case: str) -> str:
    """Return the name in pages of a case of the test set; a training case may have its own."""
    return f"{case} (test set)"


def _all_facts(
    results: Results, own: Sequence[str], tested: Results | None, others: Sequence[str]
) -> dict[str, list[str | int | float | None]]:
    """Return what is known of the cases of cross-validation, and of those of the test set."""
    known = _facts(results, own)
    if tested is None:
        return known
    more = {name: of for name, of in _facts(tested, others).items() if name != "fold"}
    facts: dict[str, list[str | int | float | None]] = {
        "cases of": [*["cross-validation"] * len(own), *["the test set"] * len(others)]
    }
    for name in dict.fromkeys([*known, *more]):
        facts[name] = [
            *known.get(name, [None] * len(own)),
            *more.get(name, [None] * len(others)),
        ]
    return facts


def mean_scores(
    scores: Sequence[CaseScore], models: Sequence[str], cases: Sequence[str]
) -> list[list[float | None]]:
    """Return the mean over trainings for each model and case, as the statistics have it.

    Args:
        scores: Scores of one metric.
        models: Names of the models.
        cases: Names of the cases.

    Returns:
        A list for each model, with a value for each case; `None` where there is none.
    """
    table = ScoreTable.from_scores(scores)
    found = []
    for model in models:
        means = table.case_means(model).tolist() if model in table.models else []
        of = dict(zip(table.cases, means, strict=False))
        found.append([finite(of.get(case)) for case in cases])
    return found


def finite(value: float | None) -> float | None:
    """Return a score, or `None` if it is undefined."""
    return value if value is not None and math.isfinite(value) else None


def _cases(results: Results) -> list[str]:
    compared = {row.case for row in results.cases if row.training in results.compared}
    return sorted(compared)


def _only(results: Results, label: str) -> Results:
    test = results.test
    return replace(
        results,
        cases=tuple(row for row in results.cases if row.label == label),
        instances=tuple(row for row in results.instances if row.label == label),
        test=test and replace(test, cases=tuple(row for row in test.cases if row.label == label)),
    )


def _metrics(results: Results) -> list[ScoredMetric]:
    units = results.dataset.spacing_unit, results.dataset.n_dims
    found = [
        ScoredMetric(
            name=metric.name,
            title=metric.heading(*units),
            higher_is_better=metric.higher_is_better,
            decimals=metric.decimals,
            factor=DICE_POINTS.factor if metric.name == "dice" else 1.0,
            unit=DICE_POINTS.name if metric.name == "dice" else "",
        )
        for metric in (METRICS[name] for name in results.metrics)
    ]
    strata = dict.fromkeys(row.stratum for row in results.instances)
    return found + [
        ScoredMetric(f"{OBJECTS}{name}_{stratum}", f"{title}, {stratum}")
        for stratum in strata
        for name, title in _OF_OBJECTS.items()
    ]


def _facts(results: Results, cases: Sequence[str]) -> dict[str, list[str | int | float | None]]:
    """Return the fold, the subgroup, the cluster and the size of the objects of each case."""
    settings = results.settings.analysis
    folds = {row.case: row.fold for row in results.cases}
    volumes = {(row.case, row.label): row.reference_volume for row in results.cases}
    sizes = sizes_of_cases(volumes, results.dataset.labels)
    size = size_title(results.dataset.spacing_unit, results.dataset.n_dims)
    facts: dict[str, Callable[[str], str | int | float | None]] = {
        "fold": folds.get,
        "group": settings.groups.get,
        "cluster": settings.clusters.get,
        size: sizes.get,
    }
    told = {name: [of(case) for case in cases] for name, of in facts.items()}
    return {name: values for name, values in told.items() if _any_known(values)}


def _any_known(values: Iterable[object]) -> bool:
    return any(value is not None for value in values)
