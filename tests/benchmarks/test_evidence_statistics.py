"""Effects in a data set and over data sets, against known truths and an independent reference."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, stats

from benchmarks.evidence.effects import (
    Effect,
    dice_difference,
    early_dice,
    gain_at_end,
    gain_of_longer,
    object_f1,
    on_small_objects,
    patch_halved,
    small_object_contrast,
    unsteadiness,
)
from benchmarks.evidence.meta_analysis import combine
from benchmarks.evidence.published import REVISITED, published_tables
from benchmarks.evidence.simulation import coverage, simulation_table
from benchmarks.evidence.verdict import PAGE
from reference_cases import REPOSITORY
from small_results import finished, results_of, scored
from umamba.comparison.records import Interval
from umamba.comparison.results import Results
from umamba.comparison.rows import LearningCurve, ObjectRow, Training
from umamba.comparison.statistics.analysis import compared_scores
from umamba.comparison.statistics.models import compare_models
from umamba.errors import ComparisonError

SIZES = ("small", "medium", "large")
# What the new model is ahead in Dice, and in that of objects of each size.
AHEAD, AHEAD_BY_SIZE = 0.02, {"small": 0.05, "medium": 0.01, "large": 0.01}
TRAININGS = [Training(m, f, s) for m in ("net", "new") for f in range(3) for s in range(2)]


def compared(ahead: float = AHEAD, seed: int = 0) -> Results:
    """Results of 24 cases, in which the luck of cases and trainings is small."""
    rng = np.random.default_rng(seed)
    cases, objects, curves = [], [], []
    for training in TRAININGS:
        is_new = training.model == "new"
        luck = rng.normal(0, 0.001)
        for case in range(training.fold, 24, 3):
            name = f"case_{case:02d}"
            dice = 0.8 + 0.002 * case + is_new * ahead + luck + rng.normal(0, 0.002)
            cases.append(scored(training, name, "cell", dice=dice))
            for size in SIZES:
                found = 0.8 + is_new * AHEAD_BY_SIZE[size] + luck + rng.normal(0, 0.002)
                row = {"case": name, "label": "cell", "stratum": size, "f1": 0.5}
                # Of 4 objects 2 are missed, so the score is half the Dice of those found.
                objects.append(
                    ObjectRow(**vars(training), **row, n_reference=4, n_prediction=2, n_matched=2,
                              dice=2 * found)
                )  # fmt: skip
        epochs = np.arange(1, 21)
        course = 0.9 - 0.4 * np.exp(-epochs / (4 - 2 * is_new)) + 0.01 * (-1) ** epochs * is_new
        course = course + rng.normal(0, 0.002, 20)
        curves.append(LearningCurve(**vars(training), epoch=tuple(epochs), hours=(0.0,) * 20,
                                    dice=tuple(course)))  # fmt: skip
    found = results_of([finished(t) for t in TRAININGS], cases, instances=objects)
    return replace(found, curves=tuple(curves))


@pytest.fixture(scope="module")
def results() -> Results:
    return compared()


def test_dice_is_that_of_the_comparison(results: Results) -> None:
    effect = dice_difference(results, "new", "net")
    (summary,) = compare_models(compared_scores(results, "dice"), "net")
    assert effect is not None
    assert effect.estimate == pytest.approx(summary.difference.mean * 100)
    assert effect.standard_error == pytest.approx(summary.difference.standard_error * 100)
    assert effect.interval.low < 2.0 < effect.interval.high
    assert effect.interval_at(0.99).high > effect.interval_at(0.95).high > effect.estimate
    assert dice_difference(results, "new", "other") is None


def test_networks_that_were_trained_once_have_no_effect(results: Results) -> None:
    once = tuple(replace(t, compared=t.seed == 0) for t in results.trainings)
    assert dice_difference(replace(results, trainings=once), "new", "net") is None


def test_small_objects_are_told_from_others(results: Results) -> None:
    contrast = small_object_contrast(results, "new", "net")
    small = on_small_objects(results, "new", "net")
    assert contrast is not None
    assert small is not None
    assert contrast.interval.low < 4.0 < contrast.interval.high
    assert small.interval.low < 5.0 < small.interval.high
    assert contrast.standard_error < 0.2


def test_sizes_may_differ_between_cases_alone(results: Results) -> None:
    """As of tumours, of which each case has one."""
    one = tuple(r for r in results.instances if r.stratum == SIZES[int(r.case[-2:]) // 3 % 3])
    contrast = small_object_contrast(replace(results, instances=one), "new", "net")
    assert contrast is not None
    assert contrast.interval.low < 4.0 < contrast.interval.high


def test_a_missed_object_counts_as_nothing(results: Results) -> None:
    missed = tuple(
        replace(r, n_matched=0, dice=None) if (r.model, r.stratum) == ("new", "small") else r
        for r in results.instances
    )
    small = on_small_objects(replace(results, instances=missed), "new", "net")
    assert small is not None
    assert small.estimate == pytest.approx(-80, abs=1)


def test_f1_counts_objects_that_are_not_there(results: Results) -> None:
    rng = np.random.default_rng(3)
    rows = tuple(
        replace(r, f1=0.5 - 0.1 * (r.model == "new") * (r.stratum == "small") + rng.normal(0, 0.01))
        for r in results.instances
    )
    found = replace(results, instances=rows)
    effect = object_f1(found, "new", "net", "small")
    assert effect is not None
    assert effect.estimate == pytest.approx(-10, abs=0.5)
    assert effect.n == 24
    assert object_f1(found, "new", "net", "all") is None, "there are none"


def test_early_and_steady_are_read_from_the_curves(results: Results) -> None:
    epochs = np.arange(1, 6)
    early = early_dice(results, "new", "net")
    jumps = unsteadiness(results, "new", "net")
    gain = gain_at_end(results, "net")
    assert early is not None
    assert jumps is not None
    assert gain is not None
    wanted = 40 * (np.exp(-epochs / 4) - np.exp(-epochs / 2)).mean() - 0.2
    assert early.estimate == pytest.approx(wanted, abs=0.15)
    assert early.n == 6
    assert jumps.estimate == pytest.approx(1.4, abs=0.15)  # steps of 2 points over root 2
    late = np.arange(11, 21)
    slope = np.polyfit(late, -40 * np.exp(-late / 4), 1)[0]
    assert gain.estimate == pytest.approx(2 * slope, abs=0.1)  # a tenth is 2 epochs
    assert gain.estimate > 0.3
    assert early_dice(results, "new", "other") is None


def test_half_the_patch_is_a_difference_of_differences() -> None:
    full, half = compared(ahead=0.02, seed=1), compared(ahead=0.05, seed=2)
    effect = patch_halved(full, half, "new", "net")
    assert effect is not None
    assert effect.interval.low < 3.0 < effect.interval.high
    assert effect.standard_error < 0.5
    elsewhere = tuple(replace(case, case=f"other_{case.case}") for case in half.cases)
    with pytest.raises(ComparisonError, match="share no training and case"):
        patch_halved(full, replace(half, cases=elsewhere), "new", "net")


def test_what_longer_training_gains() -> None:
    shorter, longer = compared(ahead=0.02, seed=1), compared(ahead=0.05, seed=2)
    alone = tuple(case for case in longer.cases if case.model == "new")
    effect = gain_of_longer(shorter, replace(longer, cases=alone), "new")
    assert effect is not None
    assert effect.interval.low < 3.0 < effect.interval.high
    assert effect.estimate == pytest.approx(3.0, abs=0.3)
    assert effect.n == 24
    assert gain_of_longer(shorter, replace(longer, cases=alone), "net") is None


def effects_of(estimates: list[float], errors: list[float]) -> dict[str, Effect]:
    nan = Interval(math.nan, math.nan)
    pairs = enumerate(zip(estimates, errors, strict=True))
    return {f"set {n}": Effect(e, s, nan, 9, 9.0) for n, (e, s) in pairs}


def test_combined_as_paule_mandel_and_hartung_knapp_define_it() -> None:
    estimates, errors = np.array([3.0, 1.0, -2.0, 4.0]), np.array([1.0, 1.4, 1.7, 0.6])

    def excess(tau2: float) -> float:
        weights = 1 / (errors**2 + tau2)
        mean = weights @ estimates / weights.sum()
        return float(weights @ (estimates - mean) ** 2 - 3)

    tau2 = optimize.brentq(excess, 0, 100, xtol=1e-12)
    weights = 1 / (errors**2 + tau2)
    mean = weights @ estimates / weights.sum()
    error = math.sqrt(weights @ (estimates - mean) ** 2 / 3 / weights.sum())
    found = combine(effects_of(estimates.tolist(), errors.tolist()))
    assert found.k == 4
    assert found.tau == pytest.approx(math.sqrt(tau2), rel=1e-3)
    assert found.estimate == pytest.approx(mean, rel=1e-3)
    assert found.interval.high - mean == pytest.approx(error * stats.t.ppf(0.975, 3), rel=1e-3)
    new = math.hypot(error, math.sqrt(tau2)) * stats.t.ppf(0.975, 2)
    assert found.prediction.low == pytest.approx(mean - new, rel=1e-3)
    assert sum(found.weights.values()) == pytest.approx(1)


def test_effects_that_agree_by_chance_make_no_narrow_interval() -> None:
    found = combine(effects_of([0.9, 1.1, 0.9, 1.1], [1.0, 1.0, 1.0, 1.0]))
    assert found.tau == 0
    assert found.interval.high == pytest.approx(1 + 0.5 * stats.t.ppf(0.975, 3))


def test_one_data_set_is_itself(results: Results) -> None:
    effect = dice_difference(results, "new", "net")
    assert effect is not None
    found = combine({"only": effect})
    assert (found.k, found.estimate, found.interval) == (1, effect.estimate, effect.interval)
    assert math.isnan(found.prediction.low)
    assert math.isnan(combine(effects_of([1.0, 2.0], [1.0, 1.0])).prediction.low)


@pytest.mark.parametrize("tau", [0.5, 2.0])
def test_intervals_over_four_data_sets_hold(tau: float) -> None:
    """A normal interval would hold the truth in 85 % where effects differ by 2."""
    mean, new = coverage(4, tau, 30, 100)
    assert mean >= 0.90
    assert new >= 0.86


def test_simulations_are_told_in_a_table() -> None:
    table = simulation_table(2).splitlines()
    assert len(table) == 14
    assert table[11].rstrip().endswith("|")


@pytest.mark.slow
def test_the_simulations_in_the_page_are_those_of_the_command() -> None:
    assert simulation_table(1000) in (REPOSITORY / PAGE).read_text()


def test_published_differences_are_those_of_the_table() -> None:
    bot, without = (REVISITED[f"U-Mamba {name}"] for name in ("Bot", "without Mamba"))
    found = stats.ttest_1samp(np.subtract(bot, without), 0).confidence_interval()
    told = f"-0.02 | {found.low:+.2f} to {found.high:+.2f}".replace("-", "\N{MINUS SIGN}")
    assert told in " ".join(published_tables().split())
