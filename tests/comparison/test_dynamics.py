"""Epochs and hours to good segmentation, against curves worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from umamba.comparison.rows import LearningCurve
from umamba.comparison.statistics.dynamics import learning_dynamics, smooth
from umamba.errors import ComparisonError

NAN = float("nan")


def curve(model: str, seed: int | None, values: list[float], hour: float = 0.5) -> LearningCurve:
    epochs = tuple(range(1, len(values) + 1))
    hours = tuple(hour * epoch for epoch in epochs)
    return LearningCurve(model, 0, seed, epochs, hours, tuple(values))


def test_smoothing_is_that_of_nnunet(tmp_path: Path) -> None:
    from nnunetv2.training.logging.nnunet_logger import MetaLogger

    values = [0.2, 0.7, 0.4, 0.9]
    logger = MetaLogger(tmp_path, resume=False)
    for epoch, value in enumerate(values):
        logger.log("mean_fg_dice", value, epoch)
    np.testing.assert_allclose(smooth(values), logger.get_value("ema_fg_dice", step=None))


def test_smoothing_passes_over_what_is_undefined() -> None:
    np.testing.assert_allclose(smooth([NAN, 0.5, NAN, 1.0]), [NAN, 0.5, 0.5, 0.55])


def test_shares_of_the_own_best_and_of_the_baselines() -> None:
    # smoothed: baseline 0, 0.1, 0.19, 0.271; model 0, 0.05, 0.095, 0.1355
    curves = [
        curve("net", 1, [0.0, 1.0, 1.0, 1.0]),
        curve("new", 1, [0.0, 0.5, 0.5, 0.5], hour=2.0),
    ]
    baseline, new = learning_dynamics(curves, "net")
    assert baseline.best.mean == pytest.approx(0.271)
    assert [reached.epochs.mean for reached in baseline.own_best] == [4, 4, 4]
    assert [reached.hours.mean for reached in new.own_best] == [8, 8, 8]
    assert [reached.epochs.n for reached in new.baseline_best] == [0, 0, 0]
    assert new.baseline_best[0].n_trainings == 1
    assert np.isnan(new.baseline_best[0].epochs.mean)


def test_the_first_epoch_at_the_bar_counts() -> None:
    (dynamics,) = learning_dynamics([curve("net", 1, [0.9, 1.0, 0.0, 0.0])], "net")
    # smoothed: 0.9, 0.91, 0.819, 0.7371; 99 % of the best is 0.9009
    assert [reached.epochs.mean for reached in dynamics.own_best] == [1, 1, 2]


def test_areas_end_where_the_shortest_training_does() -> None:
    curves = [curve("net", 1, [0.5, 0.5, 0.5]), curve("new", 1, [0.0, 1.0, 1.0, 1.0], hour=1.0)]
    net, new = learning_dynamics(curves, "net")
    assert net.area_over_epochs.mean == pytest.approx(0.5)
    assert new.epochs_compared == 3
    assert new.area_over_epochs.mean == pytest.approx((0 / 2 + 0.1 + 0.19 / 2) / 2)
    assert new.hours_compared == 1.5  # half way from 0 to 0.1
    assert new.area_over_hours.mean == pytest.approx(0.025)


def test_spread_between_seeds_is_within_folds_and_without_stock_trainings() -> None:
    trainings = [(0, 1, 0.5), (0, 2, 0.7), (0, None, 0.1), (1, 1, 0.9), (1, 2, 0.9)]
    curves = [
        LearningCurve("net", fold, seed, (1,), (NAN,), (dice,)) for fold, seed, dice in trainings
    ]
    (dynamics,) = learning_dynamics(curves, "net")
    assert dynamics.best.n == 5
    assert (dynamics.best.minimum, dynamics.best.maximum) == (0.1, 0.9)
    assert dynamics.best.seed_standard_deviation == pytest.approx(np.sqrt((0.02 + 0) / 2))
    assert dynamics.own_best[0].hours.n == 0  # unknown
    assert dynamics.own_best[0].epochs.n == 5


def test_a_training_without_a_defined_value_has_no_numbers() -> None:
    (dynamics,) = learning_dynamics([curve("net", 1, [NAN, NAN])], "net")
    assert dynamics.best.n == 0
    assert learning_dynamics([], "net") == []


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (LearningCurve("net", 0, 1, (1, 2), (1.0,), (0.5, 0.5)), "2 epochs, 1 hours and 2 values"),
        (LearningCurve("net", 0, 1, (2, 1), (1.0, 2.0), (0.5, 0.5)), "goes back in time"),
        (LearningCurve("net", 0, 1, (1, 2), (2.0, 1.0), (0.5, 0.5)), "goes back in time"),
    ],
)
def test_broken_curves_are_refused(broken: LearningCurve, message: str) -> None:
    with pytest.raises(ComparisonError, match=message):
        learning_dynamics([broken], "net")


def test_times_to_shares_of_one_best_are_means_of_the_same_trainings() -> None:
    # The slow training reaches 95 % of the baseline's best, but not 99 %; the fast one does soon.
    slow, fast = [0.0] * 5 + [0.95] * 80, [0.97] * 85
    curves = [curve("net", 1, fast), curve("new", 1, slow), curve("new", 2, fast)]
    _, new = learning_dynamics(curves, "net")
    assert [reached.n_reached for reached in new.baseline_best] == [2, 2, 1]
    assert [reached.epochs.n for reached in new.baseline_best] == [1, 1, 1]
    assert [reached.epochs.mean for reached in new.baseline_best] == [1, 1, 1]
    other, nothing = learning_dynamics([curves[0], curve("new", 1, [0.1])], "net")
    assert [reached.n_reached for reached in nothing.baseline_best] == [0, 0, 0]
    assert [reached.n_reached for reached in other.own_best] == [1, 1, 1]
