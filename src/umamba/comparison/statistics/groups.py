"""Subgroups of cases, such as scanners: the difference in each, and the interaction."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from umamba.comparison.records import GroupComparison, GroupDifference, ModelComparison
from umamba.comparison.statistics.bootstrap import N_BOOTSTRAP
from umamba.comparison.statistics.paired_tests import holm, t_test
from umamba.comparison.statistics.pairs import (
    estimate_contrast,
    estimate_difference,
    make_pair,
    most_careful,
)
from umamba.comparison.statistics.scores import CaseScore, ScoreTable, Structure

__all__ = ["compare_groups"]


def compare_groups(
    scores: Sequence[CaseScore],
    comparisons: Sequence[ModelComparison],
    groups: Mapping[str, str],
    structure: Structure | None = None,
    *,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> list[GroupComparison]:
    """Compare pairs of models in subgroups of the cases.

    Args:
        scores: Scores of one metric.
        comparisons: Comparisons of the pairs over all cases.
        groups: Subgroup of each case; cases that are not named belong to none.
        structure: Clusters of cases, and seeds shared by folds; `None` is neither.
        n_bootstrap: Number of bootstraps.
        seed: Seed of the bootstrap, which makes it reproducible.

    Returns:
        One result per comparison; none if there are fewer than two groups.
    """
    named = [score for score in scores if score.case in groups]
    table = ScoreTable.from_scores(named, structure)
    names = sorted({groups[case] for case in table.cases})
    if len(names) < 2:
        return []
    number_of = np.array([names.index(groups[case]) for case in table.cases], dtype=np.int64)
    found = [
        _compare(table, comparison, names, number_of, n_bootstrap, seed)
        for comparison in comparisons
    ]
    corrected = holm([comparison.p_interaction for comparison in found])
    return [
        replace(comparison, p_interaction_holm=p)
        for comparison, p in zip(found, corrected, strict=True)
    ]


def _compare(
    table: ScoreTable,
    comparison: ModelComparison,
    names: Sequence[str],
    number_of: Int[np.ndarray, " cases"],
    n_bootstrap: int,
    seed: int,
) -> GroupComparison:
    pair = comparison.model, comparison.baseline
    groups = []
    for number, name in enumerate(names):
        inside = number_of == number
        within = make_pair(table.only(inside), *pair)
        contrast = estimate_contrast(table, *pair, inside, n_bootstrap, seed)
        groups.append(
            GroupDifference(
                group=name,
                n_cases=len(within.differences),
                n_clusters=within.n_clusters,
                difference=most_careful(estimate_difference(within, n_bootstrap, seed).values()),
                contrast=contrast,
                p_contrast=t_test(contrast),
            )
        )
    tested = [group.p_contrast for group in groups if np.isfinite(group.p_contrast)]
    n_contrasts = 1 if len(names) == 2 else len(tested)
    p = min(min(tested) * n_contrasts, 1.0) if tested else float("nan")
    return GroupComparison(*pair, tuple(groups), p, float("nan"))
