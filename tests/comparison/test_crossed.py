"""A test set crosses cases with trainings, and trainings of a fold share their training data."""

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.external_statistics import DESIGNS, measure_crossed, simulate
from umamba.comparison.rows import Training
from umamba.comparison.statistics.crossed import crossed_scores, repeats_of
from umamba.comparison.statistics.models import summarize_models
from umamba.comparison.statistics.one_metric import Question, compare_scores
from umamba.comparison.statistics.scores import CaseScore
from umamba.comparison.statistics.verdicts import DICE_POINTS, verdict


def test_what_counts_as_a_repetition() -> None:
    def of(**folds: Sequence[int]) -> str:
        named = [Training(m, fold, s) for m, of in folds.items() for fold in of for s in (0, 1)]
        return repeats_of(named)

    assert of(net=[0, 1]) == of(net=[0, 1, 2], base=[0, 1]) == "trainings"
    assert of(net=[0], base=[1], other=[2]) == "trainings"  # no model has three of them
    assert of(net=[0, 1, 2], base=[2, 3, 4]) == of(net=[0, 1, 2], base=[0, 1, 2], c=[0]) == "folds"


def test_a_pair_with_few_folds_is_judged_for_those() -> None:
    rng = np.random.default_rng(1)
    sure = [
        CaseScore(model, fold, 0, f"c{case}", 0.5 + 0.3 * (model != "base") + rng.normal(0, 0.01))
        for model, folds in (("base", 4), ("all", 4), ("two", 2), ("one", 1))
        for fold in range(folds)
        for case in range(12)
    ]
    question = Question(["base", "all", "two", "one"], "base", repeats="folds")
    found = compare_scores(crossed_scores(sure, "folds"), question)
    said = {c.model: verdict(c, DICE_POINTS) for c in found.comparisons}
    assert "better by" in said["all"]
    assert "training data" not in said["all"]
    assert said["two"].endswith(", for the training data of these 2 folds")
    assert said["one"].startswith("no verdict on the models, as one was trained on only one fold")


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
