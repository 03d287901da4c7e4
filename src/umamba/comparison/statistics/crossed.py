"""Scores of a test set, which every training predicts: cases crossed with trainings."""

from collections.abc import Iterable, Sequence
from statistics import fmean

from umamba.comparison.records import Repeats
from umamba.comparison.rows import Training
from umamba.comparison.statistics.scores import CaseScore
from umamba.comparison.statistics.variance import FEWEST_FOLDS

__all__ = ["crossed_scores", "repeats_of"]


def repeats_of(trainings: Iterable[Training]) -> Repeats:
    """Return the repetitions that are independent of each other on a test set.

    Trainings of one fold share their training data, so from three folds on the mean over a fold's
    seeds is a single repetition: the spread between folds then holds the luck of the seed and that
    of the training data. If no two models have so many folds, each training is one, for these
    training data.

    Args:
        trainings: The compared trainings.
    """
    folds: dict[str, set[int]] = {}
    for training in trainings:
        folds.setdefault(training.model, set()).add(training.fold)
    most = sorted(map(len, folds.values()), reverse=True)[:2]
    return "folds" if min(most, default=0) >= FEWEST_FOLDS else "trainings"


def crossed_scores(scores: Sequence[CaseScore], repeats: Repeats) -> list[CaseScore]:
    """Return one score per model, repetition and case, in a single stratum.

    The analysis of variance of trainings x cases within a fold then applies to all of them.

    Args:
        scores: Scores of one metric; each training may score every case.
        repeats: A result of `repeats_of`; the mean over a fold's seeds is undefined if one is.

    Returns:
        Scores whose `fold` is 0 and whose `seed` numbers the repetition.
    """
    by_fold = repeats == "folds"
    names = sorted({(s.fold, None if by_fold else s.seed) for s in scores}, key=_in_order)
    numbers = {name: number for number, name in enumerate(names)}
    values: dict[tuple[str, int, str], list[float]] = {}
    for score in scores:
        number = numbers[score.fold, None if by_fold else score.seed]
        values.setdefault((score.model, number, score.case), []).append(score.value)
    return [
        CaseScore(model, 0, number, case, fmean(found))
        for (model, number, case), found in values.items()
    ]


def _in_order(name: tuple[int, int | None]) -> tuple[int, int]:
    fold, seed = name
    return fold, -1 if seed is None else seed
