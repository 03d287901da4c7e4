"""Effects in one data set, with the variance that `umamba compare` finds: cases and trainings."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from umamba.comparison.records import Interval, MeanEstimate
from umamba.comparison.results import Results
from umamba.comparison.rows import LearningCurve
from umamba.comparison.statistics.analysis import compared_scores, models_with_shared_seeds
from umamba.comparison.statistics.bootstrap import N_BOOTSTRAP, interval_at
from umamba.comparison.statistics.models import compare_with_controls
from umamba.comparison.statistics.one_metric import mean_over_labels
from umamba.comparison.statistics.pairs import estimate_contrast
from umamba.comparison.statistics.scores import CaseScore, ScoreTable, Structure
from umamba.errors import ComparisonError

__all__ = [
    "EARLY",
    "Effect",
    "dice_difference",
    "early_dice",
    "gain_at_end",
    "gain_of_longer",
    "mean_dice",
    "object_f1",
    "on_small_objects",
    "patch_halved",
    "small_object_contrast",
    "unsteadiness",
]

EARLY = 0.25  # share of the budget that counts as early
_POINTS = 100.0
_Key = tuple[int, int | None]


@dataclass(frozen=True)
class Effect:
    """A difference between two models in one data set, in points of 100.

    Attributes:
        estimate: The difference.
        standard_error: Its standard error.
        interval: Its interval at 95 %.
        n: Number of cases, objects or trainings that it is a mean of.
        degrees_of_freedom: Degrees of freedom of the standard error.
    """

    estimate: float
    standard_error: float
    interval: Interval
    n: int
    degrees_of_freedom: float

    def interval_at(self, confidence: float) -> Interval:
        """Return the interval at another confidence, by Student's distribution."""
        arm = self.standard_error * stats.t.ppf((1 + confidence) / 2, self.degrees_of_freedom)
        return Interval(self.estimate - float(arm), self.estimate + float(arm))


def mean_dice(results: Results) -> dict[str, float]:
    """Return the mean Dice over the cases by model, in points."""
    return {s.model: s.estimate.mean * _POINTS for s in results.dice.summaries}


def dice_difference(results: Results, model: str, baseline: str) -> Effect | None:
    """Return the mean difference in Dice over the cases; `None` if a model is not there."""
    return _difference(compared_scores(results, "dice"), results, model, baseline)


def _difference(
    scores: Sequence[CaseScore], results: Results, model: str, baseline: str
) -> Effect | None:
    """Compare two models as a verdict of `umamba compare` does, before its correction."""
    return _compare(scores, _structure(results), model, baseline)


def _compare(
    scores: Sequence[CaseScore], structure: Structure, model: str, baseline: str
) -> Effect | None:
    if not {model, baseline} <= {score.model for score in scores}:
        return None
    (found,) = compare_with_controls(scores, {model: [baseline]}, structure)
    return _in_points(found.difference, found.n_cases)


def _structure(results: Results) -> Structure:
    shared = frozenset(models_with_shared_seeds(results))
    return Structure(results.settings.analysis.clusters, shared)


def _in_points(found: MeanEstimate, n: int) -> Effect | None:
    """Return an estimate that includes the luck of training, in points; `None` otherwise."""
    if not found.standard_error > 0 or not found.includes_seed_variance:
        return None
    interval = interval_at(found, 0.95)
    return Effect(
        found.mean * _POINTS,
        found.standard_error * _POINTS,
        Interval(interval.low * _POINTS, interval.high * _POINTS),
        n,
        found.degrees_of_freedom,
    )


def object_f1(results: Results, model: str, baseline: str, size: str) -> Effect | None:
    """Return the mean difference in the F1 of objects, which false ones lower, over the cases.

    Args:
        results: Comparison of the models.
        model: Name of the model.
        baseline: Name of what it is compared with.
        size: Size of the objects: `small`, or `all` of them. A false object has its own size.
    """
    rows = (row for row in results.instances if row.stratum == size)
    compared = ((r.training, r.case, r.f1) for r in rows if r.training in results.compared)
    return _difference(mean_over_labels(compared), results, model, baseline)


def on_small_objects(results: Results, model: str, baseline: str) -> Effect | None:
    """Return the mean difference in `_object_scores` over the cases that have small objects.

    Objects that are not there and were found nevertheless do not count; see `object_f1`.
    """
    small = [(row, value) for row, stratum, value in _object_scores(results) if stratum == "small"]
    scores = mean_over_labels(((row.training, row.case, value)) for row, value in small)
    return _difference(scores, results, model, baseline)


def small_object_contrast(results: Results, model: str, baseline: str) -> Effect | None:
    """Return the mean difference on small objects less that on medium and large ones.

    A case counts once for every label and size that it has objects of, and these belong together:
    cases, or their clusters, are what varies. So it is defined where sizes differ within a case, as
    of nuclei, and where they differ between cases, as of tumours.
    """
    scores, clusters, small = [], {}, {}
    for row, stratum, value in _object_scores(results):
        name = f"{row.case}/{row.label}/{stratum}"
        scores.append(CaseScore(row.model, row.fold, row.seed, name, value))
        clusters[name] = results.settings.analysis.clusters.get(row.case, row.case)
        small[name] = stratum == "small"
    if not {model, baseline} <= {score.model for score in scores}:
        return None
    table = ScoreTable.from_scores(scores, Structure(clusters, _structure(results).shared_seeds))
    inside = np.array([small[name] for name in table.cases])
    return _in_points(
        estimate_contrast(table, model, baseline, inside, N_BOOTSTRAP, 0), len(inside)
    )


def _object_scores(results: Results) -> Iterable[tuple]:
    """Yield rows with their size and the mean Dice of the reference's objects, 0 where missed."""
    for row in results.instances:
        if row.stratum != "all" and row.n_reference and row.training in results.compared:
            yield row, row.stratum, row.n_matched * (row.dice or 0.0) / row.n_reference


def early_dice(results: Results, model: str, baseline: str) -> Effect | None:
    """Return the difference in mean pseudo Dice over the first quarter of the epochs."""
    return _over_trainings(results, model, baseline, _early)


def unsteadiness(results: Results, model: str, baseline: str) -> Effect | None:
    """Return the difference in how much pseudo Dice jumps from epoch to epoch, in the second half.

    It is the standard deviation of the steps, divided by the square root of 2: that of one epoch,
    if epochs vary independently around a slow trend. Less is better.
    """
    return _over_trainings(results, model, baseline, _jumps)


def gain_at_end(results: Results, model: str) -> Effect | None:
    """Return what a model's pseudo Dice gains in a tenth of the epochs, by the trend at the end.

    The trend is the straight line through the second half of the epochs. Validation patches differ
    from epoch to epoch, so that two tenths by themselves say little. Where a curve flattens, the
    last tenth gains less than that.
    """
    gains = [_gain(curve) for curve in _curves(results, model).values()]
    return _of_trainings(gains)


def gain_of_longer(results: Results, longer: Results, model: str) -> Effect | None:
    """Return how much more Dice a model has when it trains longer.

    Args:
        results: Comparison that has the model.
        longer: Comparison of the same cases and folds, with more iterations.
        model: Name of the model.

    Returns:
        The mean difference over the cases. Trainings are taken as independent: the same seed
        brings other weights once the learning rates differ.
    """
    times = {"longer": longer, "shorter": results}
    scores = [
        replace(score, model=time)
        for time, found in times.items()
        for score in compared_scores(found, "dice")
        if score.model == model
    ]
    independent = replace(_structure(results), shared_seeds=frozenset())
    return _compare(scores, independent, "longer", "shorter")


def _early(curve: LearningCurve) -> float:
    return float(np.mean(curve.dice[: max(round(len(curve.dice) * EARLY), 1)]))


def _jumps(curve: LearningCurve) -> float:
    steps = np.diff(curve.dice[len(curve.dice) // 2 :])
    return float(steps.std(ddof=1) / math.sqrt(2)) if len(steps) > 1 else math.nan


def _gain(curve: LearningCurve) -> float:
    late = np.array(curve.dice[len(curve.dice) // 2 :])
    slope = stats.linregress(np.arange(len(late)), late).slope if len(late) > 1 else math.nan
    return float(slope) * len(curve.dice) / 10


def _curves(results: Results, model: str) -> dict[_Key, LearningCurve]:
    return {
        (curve.fold, curve.seed): curve
        for curve in results.curves
        if curve.model == model and curve.training in results.compared
    }


def _over_trainings(results: Results, model: str, baseline: str, measure) -> Effect | None:
    """Compare the trainings of two models in pairs of the same fold and seed.

    Trainings of one fold and seed see the same batches, and validate on the same patches. The
    pairs are taken as independent, so this holds for the training data of these folds.
    """
    ours, theirs = _curves(results, model), _curves(results, baseline)
    return _of_trainings([measure(ours[k]) - measure(theirs[k]) for k in ours if k in theirs])


def _of_trainings(values: Sequence[float]) -> Effect | None:
    known = np.array([value for value in values if math.isfinite(value)]) * _POINTS
    if len(known) < 2 or np.ptp(known) == 0:
        return None
    mean, error = float(known.mean()), float(known.std(ddof=1) / math.sqrt(len(known)))
    arm = error * float(stats.t.ppf(0.975, len(known) - 1))
    return Effect(mean, error, Interval(mean - arm, mean + arm), len(known), len(known) - 1.0)


def patch_halved(full: Results, half: Results, model: str, baseline: str) -> Effect | None:
    """Return how much less Dice a model loses than the baseline when the patch's edge is halved.

    Args:
        full: Comparison with the full patch.
        half: The same cases, folds and seeds with half its edge.
        model: Name of the model.
        baseline: Name of what it is compared with.

    Returns:
        The difference of the differences; above 0 if the model loses less. A case counts as its
        mean over seeds, each the score with half the patch less that with the full one.

    Raises:
        ComparisonError: If the two have no case and training in common.
    """
    whole = {(s.model, s.fold, s.seed, s.case): s.value for s in compared_scores(full, "dice")}
    scores = [
        CaseScore(s.model, s.fold, s.seed, s.case, s.value - whole[s.model, s.fold, s.seed, s.case])
        for s in compared_scores(half, "dice")
        if (s.model, s.fold, s.seed, s.case) in whole
    ]
    if not scores:
        msg = "the comparisons of the full and the half patch share no training and case"
        raise ComparisonError(msg)
    return _difference(scores, half, model, baseline)
