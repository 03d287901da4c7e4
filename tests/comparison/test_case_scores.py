"""Scores sorted into a table; records as plain data."""

import numpy as np
import pytest

from umamba.comparison.statistics.scores import CaseScore, ScoreTable
from umamba.errors import ComparisonError


def test_a_table_sorts_cases_by_fold_and_seeds_with_none_first() -> None:
    table = ScoreTable.from_scores(
        [
            CaseScore("b", 1, 2, "case_1", 0.5),
            CaseScore("a", 0, 7, "case_9", 0.25),
            CaseScore("b", 1, None, "case_1", 0.75),
            CaseScore("b", 0, 2, "case_9", float("inf")),
        ]
    )
    assert table.models == ("b", "a")
    assert table.cases == ("case_9", "case_1")
    assert table.folds.tolist() == [0, 1]
    assert table.seeds == {"b": (None, 2), "a": (7,)}
    np.testing.assert_array_equal(table.values["b"], [[np.nan, 0.75], [np.nan, 0.5]])
    np.testing.assert_array_equal(table.case_means("b"), [np.nan, 0.625])
    assert table.n_undefined("b") == 1  # that of infinity; nothing was predicted of the other
    assert table.n_undefined("a") == 0


def test_two_scores_of_one_prediction_are_refused() -> None:
    score = CaseScore("a", 0, 1, "case_1", 0.5)
    with pytest.raises(ComparisonError, match="case_1 has two scores of model a, seed 1"):
        ScoreTable.from_scores([score, score])


def test_folds_that_share_a_case_are_refused() -> None:
    scores = [CaseScore("a", 0, 1, "case_1", 0.5), CaseScore("b", 3, 1, "case_1", 0.5)]
    with pytest.raises(ComparisonError, match="folds 0 and 3"):
        ScoreTable.from_scores(scores)
