"""False alarms (labels predicted where there are none) and misses: rates and their comparison.

An overlap cannot tell these apart: it is undefined if both reference and prediction are empty, and
0 if one of them is, however large the other.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from scipy import stats

from umamba.comparison.records import (
    ALPHA,
    Interval,
    MeanEstimate,
    ModelComparison,
    ModelSummary,
    Rate,
)
from umamba.comparison.rows import CaseRow, Training
from umamba.comparison.statistics.bootstrap import CONFIDENCE, interval_at
from umamba.comparison.statistics.paired_tests import holm_steps
from umamba.comparison.statistics.scores import CaseScore, Structure

__all__ = ["KINDS", "Kind", "detection_scores", "rate_interval", "rates", "with_rates"]

Kind = Literal["false_alarm", "missed"]

# By the value of `empty`: whether it happened, for predictions in which it could have.
KINDS: dict[Kind, dict[str | None, float]] = {
    "false_alarm": {"reference": 1.0, "both": 0.0},
    "missed": {"prediction": 1.0, None: 0.0},
}


def detection_scores(
    rows: Sequence[CaseRow],
    compared: Collection[Training],
    kind: Kind,
    structure: Structure,
) -> tuple[list[CaseScore], Structure]:
    """Return 1 or 0 for every prediction of a label in which the event could happen.

    Args:
        rows: `cases` of the results.
        compared: The trainings that count.
        kind: The kind of event.
        structure: Clusters of cases, and seeds shared by folds.

    Returns:
        Scores whose `case` is a pair of case and label, and their structure, in which the labels of
        a case belong together.
    """
    happened, scores, clusters = KINDS[kind], [], {}
    for row in rows:
        if row.training in compared and row.empty in happened:
            item = f"{row.case}, {row.label}"
            clusters[item] = structure.clusters.get(row.case, row.case)
            value = happened[row.empty]
            scores.append(CaseScore(row.model, row.fold, row.seed, item, value))
    return scores, Structure(clusters, structure.shared_seeds)


def rates(scores: Sequence[CaseScore], summaries: Sequence[ModelSummary]) -> list[Rate]:
    """Return the rate of each model.

    Args:
        scores: The result of `detection_scores`.
        summaries: Their summaries.
    """
    found = []
    for summary in summaries:
        values = [score.value for score in scores if score.model == summary.model]
        found.append(
            Rate(
                model=summary.model,
                n_events=int(sum(values)),
                n_predictions=len(values),
                n_cases=summary.n_cases,
                rate=summary.estimate.mean,
                interval=rate_interval(summary.estimate, CONFIDENCE),
            )
        )
    return found


def rate_interval(estimate: MeanEstimate, confidence: float) -> Interval:
    """Return an interval of a rate that is valid even if it happened never, or always.

    It is that of Clopper & Pearson (1934) for the number of independent cases that would have the
    same variance as these cases and trainings (Korn & Graubard, Confidence intervals for
    proportions with small expected number of positive counts estimated from survey data, 1998), but
    not more than there are.

    Args:
        estimate: Estimate of the rate.
        confidence: Confidence of the interval.
    """
    if not estimate.parts:
        return estimate.interval
    p = min(max(estimate.mean, 0.0), 1.0)
    upper = (1 + confidence) / 2
    n_cases = 1 + estimate.parts[0].degrees_of_freedom
    n = n_cases
    if estimate.standard_error > 0 and 0 < p < 1:
        quantiles = stats.t.ppf(upper, [n_cases - 1, estimate.degrees_of_freedom])
        ratio = float(quantiles[0] / quantiles[1])
        n = min(n_cases, p * (1 - p) / estimate.standard_error**2 * ratio**2)
    low = float(stats.beta.ppf(1 - upper, p * n, n - p * n + 1)) if p > 0 else 0.0
    high = float(stats.beta.ppf(upper, p * n + 1, n - p * n)) if p < 1 else 1.0
    return Interval(low, high)


def with_rates(
    comparisons: Sequence[ModelComparison], summaries: Sequence[ModelSummary]
) -> list[ModelComparison]:
    """Give differences of rates intervals that are valid even if it happened never, or always.

    If one of the models has a rate of 0 or 1, cases differ too little for a credible variance: the
    interval then follows from those of the two rates (Newcombe 1998, method 10), if that is wider.

    Args:
        comparisons: Comparisons of the scores from `detection_scores`.
        summaries: Summaries of the same scores.
    """
    estimates = {summary.model: summary.estimate for summary in summaries}
    steps = holm_steps([comparison.p_difference for comparison in comparisons], ALPHA)
    found = []
    for comparison, step in zip(comparisons, steps, strict=True):
        pair = estimates[comparison.model], estimates[comparison.baseline]
        interval = _interval(comparison.difference, pair, CONFIDENCE)
        corrected = _interval(comparison.difference, pair, 1 - ALPHA / step)
        difference = replace(comparison.difference, interval=interval)
        found.append(replace(comparison, difference=difference, corrected_interval=corrected))
    return found


def _interval(
    difference: MeanEstimate, rates_of: tuple[MeanEstimate, MeanEstimate], confidence: float
) -> Interval:
    own = interval_at(difference, confidence)
    if all(0 < rate.mean < 1 for rate in rates_of) or not np.isfinite(difference.mean):
        return Interval(max(own.low, -1.0), min(own.high, 1.0))
    (p, ends), (q, others) = ((r.mean, rate_interval(r, confidence)) for r in rates_of)
    down = np.hypot(p - ends.low, others.high - q)
    up = np.hypot(ends.high - p, q - others.low)
    low = min(own.low, difference.mean - float(down))
    high = max(own.high, difference.mean + float(up))
    return Interval(max(low, -1.0), min(high, 1.0))
