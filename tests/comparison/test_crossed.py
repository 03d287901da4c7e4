"""A test set crosses cases with trainings, and trainings of a fold share their training data."""

import numpy as np
import pytest

from benchmarks.external_statistics import DESIGNS, measure_crossed, simulate
from umamba.comparison.statistics.crossed import crossed_scores, repeats_of
from umamba.comparison.statistics.models import summarize_models
from umamba.comparison.statistics.scores import CaseScore


def test_what_counts_as_a_repetition() -> None:
    assert repeats_of([0, 0, 1]) == "trainings"
    assert repeats_of([0, 1, 1, 2]) == "folds"


def test_seeds_of_a_fold_become_one_repetition() -> None:
    scores = [
        CaseScore("net", fold, seed, case, fold + 0.1 * seed if case == "a" else np.nan)
        for fold in (3, 4)
        for seed in (0, 2)
        for case in ("a", "b")
    ]
    found = {(s.fold, s.seed, s.case): s.value for s in crossed_scores(scores, "folds")}
    assert len(found) == 4
    assert found[0, 0, "a"] == pytest.approx(3.1)
    assert found[0, 1, "a"] == pytest.approx(4.1)
    assert np.isnan(found[0, 0, "b"])  # one of its seeds has no score
    single = crossed_scores([*scores, CaseScore("net", 3, None, "a", 9.0)], "trainings")
    assert {s.seed for s in single} == set(range(5))


def test_the_variance_of_a_mean_is_that_of_the_analysis_of_variance() -> None:
    design = DESIGNS["training data matter"]
    scores = simulate(design, np.random.default_rng(5))
    (model, _) = summarize_models(crossed_scores(scores, "folds"), n_bootstrap=10)
    values = np.array([s.value for s in scores if s.model == "model"])
    of_folds = values.reshape(design.folds, design.seeds, design.cases).mean(axis=1)
    rows, columns = of_folds.mean(axis=1), of_folds.mean(axis=0)
    within = of_folds - rows[:, None] - columns + of_folds.mean()
    interaction = (within**2).sum() / (design.folds - 1) / (design.cases - 1)
    between = rows.var(ddof=1) - interaction / design.cases
    expected = columns.var(ddof=1) / design.cases + between / design.folds
    assert between > 0
    assert model.estimate.standard_error**2 == pytest.approx(expected, rel=1e-9)
    assert model.estimate.mean == pytest.approx(values.mean())


def test_intervals_hold_where_training_data_matter_and_one_seed_is_enough() -> None:
    for name in ("training data matter", "training data matter, one seed"):
        coverage, verdict = measure_crossed(DESIGNS[name], 50)
        assert coverage > 0.88
        assert verdict < 0.12
    coverage, _ = measure_crossed(DESIGNS["training data matter, 200 cases"], 30, "trainings")
    assert coverage < 0.87  # of trainings that are taken as independent
