"""All statistics of one metric, for any scores: the analysis that every report shares."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from statistics import fmean

from umamba.comparison.controls import controls_of
from umamba.comparison.records import MetricStatistics, ModelComparison, Repeats
from umamba.comparison.rows import Cost, Training
from umamba.comparison.statistics.groups import compare_groups
from umamba.comparison.statistics.margins import against_margin, margin_verdict
from umamba.comparison.statistics.models import (
    compare_models,
    compare_with_controls,
    summarize_models,
)
from umamba.comparison.statistics.ranks import rank_stability
from umamba.comparison.statistics.scores import CaseScore, Structure
from umamba.comparison.statistics.verdicts import Unit, verdict

__all__ = [
    "Question",
    "compare_scores",
    "margin_clauses",
    "mean_over_labels",
    "metric_verdicts",
]


@dataclass(frozen=True)
class Question:
    """A question to the scores of one metric.

    Attributes:
        models: Names of the models, in their order; those without scores are left out.
        baseline: The model that the others are compared with.
        higher_is_better: `None` if neither higher nor lower is, as for a signed difference.
        groups: Subgroup of each case; empty if there are none.
        margin: The smallest difference that matters, in the metric's own unit; `None` if none is
            given.
        cost: Cost of each model, as far as known.
        unranked: Models that are left out of the ranking.
        repeats: The repetitions of a model, as `ModelComparison` names them.
    """

    models: Sequence[str]
    baseline: str
    higher_is_better: bool | None = True
    groups: Mapping[str, str] = field(default_factory=dict)
    margin: float | None = None
    cost: Mapping[str, Cost] = field(default_factory=dict)
    unranked: Collection[str] = ()
    repeats: Repeats = "trainings per fold"


def compare_scores(
    scores: Sequence[CaseScore], question: Question, structure: Structure | None = None
) -> MetricStatistics:
    """Compare models with the baseline and with their controls, as far as there are scores.

    Args:
        scores: Scores of one metric.
        question: What is asked.
        structure: Clusters of cases, and seeds shared by folds; `None` is neither.

    Raises:
        ComparisonError: If scores contradict each other.
    """
    summaries = tuple(summarize_models(scores, structure))
    higher = question.higher_is_better
    if higher is None:
        return MetricStatistics(summaries)
    scored = {score.model for score in scores}
    names = [name for name in question.models if name in scored]
    controls = {name: its for name in names if (its := controls_of(name, names))}
    comparisons: list[ModelComparison] = []
    if question.baseline in scored:
        comparisons = compare_models(scores, question.baseline, structure, higher_is_better=higher)
    against_controls = compare_with_controls(scores, controls, structure, higher_is_better=higher)
    baselines, its_controls = (
        tuple(replace(one, repeats=question.repeats) for one in family)
        for family in (comparisons, against_controls)
    )
    ranked = [score for score in scores if score.model not in question.unranked]
    found = MetricStatistics(
        summaries=summaries,
        comparisons=baselines,
        controls=its_controls,
        rank_stability=rank_stability(ranked, structure, higher_is_better=higher),
    )
    return _with_groups_and_margins(found, scores, question, structure)


def _with_groups_and_margins(
    found: MetricStatistics,
    scores: Sequence[CaseScore],
    question: Question,
    structure: Structure | None,
) -> MetricStatistics:
    if question.groups:
        families = (found.comparisons, found.controls)
        compared = (compare_groups(scores, f, question.groups, structure) for f in families)
        found = replace(found, groups=tuple(chain.from_iterable(compared)))
    if question.margin is not None:
        both = (*found.comparisons, *found.controls)
        judged = (against_margin(one, question.margin, question.cost) for one in both)
        found = replace(found, margins=tuple(m for m in judged if m is not None))
    return found


def mean_over_labels(values: Iterable[tuple[Training, str, float | None]]) -> list[CaseScore]:
    """Return the mean of each case over its labels.

    Args:
        values: Training, case and value of each label: `None` if there is nothing to measure, so
            that the label is left out; nan if the case has no value.
    """
    of_labels: dict[tuple[Training, str], list[float]] = {}
    for training, case, value in values:
        of_labels.setdefault((training, case), []).extend([] if value is None else [value])
    return [
        CaseScore(t.model, t.fold, t.seed, case, fmean(v) if v else float("nan"))
        for (t, case), v in of_labels.items()
    ]


def metric_verdicts(
    found: MetricStatistics,
    unit: Unit,
    clauses: Callable[[ModelComparison, bool], Sequence[str]] | None = None,
) -> dict[str, str]:
    """Return sentences on each model: against the baseline, then against its controls.

    Args:
        found: Statistics of the metric.
        unit: Unit of the metric.
        clauses: Returns what is said of a comparison, and takes whether it is one with a control;
            `None` says the verdict, and how the difference compares with the margin.
    """
    say = clauses or (lambda one, _: [verdict(one, unit), *margin_clauses(found, one, unit)])
    sentences: dict[str, list[str]] = {}
    for is_control, family in ((False, found.comparisons), (True, found.controls)):
        for one in family:
            sentence = f"{one.model} against {one.baseline}: {'; '.join(say(one, is_control))}."
            of_model = sentences.setdefault(one.model, [])
            if sentence not in of_model:
                of_model.append(sentence)
    return {model: " ".join(said) for model, said in sentences.items()}


def margin_clauses(found: MetricStatistics, comparison: ModelComparison, unit: Unit) -> list[str]:
    """Return how a comparison compares with the margin; nothing if there is none."""
    pair = comparison.model, comparison.baseline
    repeated = comparison.difference.includes_seed_variance
    judged = [margin for margin in found.margins if (margin.model, margin.baseline) == pair]
    return [margin_verdict(margin, unit, repeated=repeated) for margin in judged[:1]]
