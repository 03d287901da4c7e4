"""Speed of learning: epochs and hours until shares of the best validation Dice are reached."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import integrate

from umamba.comparison.learning_records import Dynamics, Reached, Spread
from umamba.comparison.rows import LearningCurve
from umamba.errors import ComparisonError

__all__ = ["SHARES", "learning_dynamics", "smooth"]

SHARES = (0.9, 0.95, 0.99)
_MEMORY = 0.9  # weight in nnU-Net's `ema_fg_dice`


def smooth(values: Sequence[float]) -> Float[np.ndarray, " points"]:
    """Smooth values as nnU-Net does for `ema_fg_dice`, by which it chooses the best checkpoint.

    Args:
        values: One per epoch; nan is ignored.

    Returns:
        Nine tenths of the previous smoothed value plus one tenth of the new value, starting with
        the first; nan before the first defined value.
    """
    smoothed = np.full(len(values), np.nan)
    last = np.nan
    for index, value in enumerate(values):
        if np.isfinite(value):
            last = _MEMORY * last + (1 - _MEMORY) * value if np.isfinite(last) else value
        smoothed[index] = last
    return smoothed


def learning_dynamics(curves: Sequence[LearningCurve], baseline: str) -> list[Dynamics]:
    """Measure how fast the trainings of each model learn.

    Args:
        curves: One curve per training.
        baseline: Name of the model whose best Dice is the yardstick for the others; if it has no
            curves, the numbers in `baseline_best` are undefined.

    Returns:
        One record per model, in order of first occurrence.

    Raises:
        ComparisonError: A curve's lists differ in length, or its epochs or hours go backwards.
    """
    for curve in curves:
        _check(curve)
    trainings = [_Training(curve) for curve in curves if np.isfinite(curve.dice).any()]
    epochs = min((training.epochs[-1] for training in trainings), default=float("nan"))
    ends = [training.hours[-1] for training in trainings if np.isfinite(training.hours).all()]
    hours = min(ends, default=float("nan"))
    bars = _best_per_fold([t for t in trainings if t.curve.model == baseline])
    return [
        _describe([t for t in trainings if t.curve.model == model], model, bars, epochs, hours)
        for model in dict.fromkeys(curve.model for curve in curves)
    ]


class _Training:
    """A curve as arrays, starting at the first defined point."""

    def __init__(self, curve: LearningCurve) -> None:
        smoothed = smooth(curve.dice)
        defined = np.isfinite(smoothed)
        self.curve = curve
        self.dice = smoothed[defined]
        self.epochs = np.asarray(curve.epoch, dtype=float)[defined]
        self.hours = np.asarray(curve.hours, dtype=float)[defined]
        self.best = float(self.dice.max())

    def first_at(self, bar: float) -> int | None:
        """Return the index of the first point at or above a bar."""
        reached = np.flatnonzero(self.dice >= bar)
        return int(reached[0]) if reached.size else None

    def mean_up_to(self, time: Float[np.ndarray, " points"], end: float) -> float:
        """Return the area under a curve by the trapezoidal rule, divided by its length."""
        if not (np.isfinite(time).all() and np.isfinite(end)):
            return float("nan")
        inside = time < end
        points = np.append(time[inside], end)
        dice = np.append(self.dice[inside], np.interp(end, time, self.dice))
        length = end - points[0]
        return float(integrate.trapezoid(dice, points) / length) if length > 0 else float(dice[-1])


def _check(curve: LearningCurve) -> None:
    training = f"the curve of model {curve.model}, fold {curve.fold}, seed {curve.seed}"
    lengths = len(curve.epoch), len(curve.hours), len(curve.dice)
    if len(set(lengths)) > 1:
        msg = f"{training} has {lengths[0]} epochs, {lengths[1]} hours and {lengths[2]} values"
        raise ComparisonError(msg)
    if (np.diff(curve.epoch) <= 0).any() or (np.diff(curve.hours) < 0).any():
        msg = f"{training} goes back in time: epochs and hours must ascend"
        raise ComparisonError(msg)


def _best_per_fold(trainings: Sequence[_Training]) -> dict[int, float]:
    folds = {training.curve.fold for training in trainings}
    return {
        fold: float(np.mean([t.best for t in trainings if t.curve.fold == fold])) for fold in folds
    }


def _describe(
    trainings: Sequence[_Training],
    model: str,
    baseline_bests: dict[int, float],
    epochs: float,
    hours: float,
) -> Dynamics:
    own = [training.best for training in trainings]
    others = [baseline_bests.get(training.curve.fold, np.nan) for training in trainings]
    return Dynamics(
        model=model,
        best=_spread(trainings, own),
        own_best=_reached(trainings, own),
        baseline_best=_reached(trainings, others),
        area_over_epochs=_spread(trainings, [t.mean_up_to(t.epochs, epochs) for t in trainings]),
        area_over_hours=_spread(trainings, [t.mean_up_to(t.hours, hours) for t in trainings]),
        epochs_compared=epochs,
        hours_compared=hours,
    )


def _reached(trainings: Sequence[_Training], bests: Sequence[float]) -> tuple[Reached, ...]:
    """Return when each share of the best was reached, over the same trainings for all shares.

    A training that reaches a share has reached all lower ones. Those that go on are the faster
    ones, so that the mean over all that reached a lower share could be later than that of a higher.
    """
    firsts = [
        [t.first_at(share * best) for t, best in zip(trainings, bests, strict=True)]
        for share in SHARES
    ]
    ends = [points for points in firsts if any(point is not None for point in points)]
    counted = [point is not None for point in ends[-1]] if ends else []
    n_known = int(np.isfinite(bests).sum())
    found = []
    for share, points in zip(SHARES, firsts, strict=True):
        n_reached = sum(point is not None for point in points)
        there = [
            i if n_reached and is_in else None for i, is_in in zip(points, counted, strict=False)
        ]
        epochs, hours = (
            _spread(
                [t for t, i in zip(trainings, there, strict=False) if i is not None],
                [float(s[i]) for s, i in zip(series, there, strict=False) if i is not None],
            )
            for series in ([t.epochs for t in trainings], [t.hours for t in trainings])
        )
        found.append(Reached(share, n_known, epochs, hours, n_reached))
    return tuple(found)


def _spread(trainings: Sequence[_Training], numbers: Sequence[float]) -> Spread:
    defined = [float(number) for number in numbers if np.isfinite(number)]
    if not defined:
        nan = float("nan")
        return Spread(0, nan, nan, nan, nan)
    by_fold: dict[int, list[float]] = {}
    for training, number in zip(trainings, numbers, strict=True):
        if training.curve.seed is not None and np.isfinite(number):
            by_fold.setdefault(training.curve.fold, []).append(float(number))
    degrees = sum(len(group) - 1 for group in by_fold.values())
    squares = sum(float(np.var(group)) * len(group) for group in by_fold.values())
    return Spread(
        n=len(defined),
        mean=float(np.mean(defined)),
        minimum=min(defined),
        maximum=max(defined),
        seed_standard_deviation=float(np.sqrt(squares / degrees)) if degrees else float("nan"),
    )
