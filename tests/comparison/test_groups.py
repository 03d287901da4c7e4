"""Subgroups, against the same tests worked out by scipy."""

import numpy as np
import pytest
from scipy import stats

from umamba.comparison.records import GroupComparison
from umamba.comparison.statistics.groups import compare_groups
from umamba.comparison.statistics.models import compare_models
from umamba.comparison.statistics.scores import CaseScore, Structure

N_CASES = 24
NAMES = [f"case_{case:02d}" for case in range(N_CASES)]


def scores_of(values: dict[str, np.ndarray]) -> list[CaseScore]:
    """Return scores of models, given as rows of seeds and columns of cases."""
    return [
        CaseScore(model, 0, seed, case, float(rows[seed, column]))
        for model, rows in values.items()
        for seed in range(len(rows))
        for column, case in enumerate(NAMES)
    ]


def compared(
    values: dict[str, np.ndarray], groups: list[str], structure: Structure | None = None
) -> list[GroupComparison]:
    scores = scores_of(values)
    comparisons = compare_models(scores, "net", structure, n_bootstrap=200)
    named = dict(zip(NAMES, groups, strict=True))
    return compare_groups(scores, comparisons, named, structure, n_bootstrap=4000)


def test_one_training_is_a_paired_t_test_per_group_and_welchs_between_them() -> None:
    rng = np.random.default_rng(0)
    net, new = rng.normal(0.8, 0.1, (2, 1, N_CASES))
    groups = ["GE"] * 8 + ["Siemens"] * 16
    (found,) = compared({"net": net, "new": new}, groups)
    differences = (new - net)[0]
    parts = differences[:8], differences[8:]
    assert [(group.group, group.n_cases) for group in found.groups] == [("GE", 8), ("Siemens", 16)]
    for group, part in zip(found.groups, parts, strict=True):
        assert group.difference.mean == pytest.approx(part.mean())
        assert group.difference.standard_error == pytest.approx(stats.sem(part))
    contrast = found.groups[0].contrast
    assert contrast.mean == pytest.approx(parts[0].mean() - parts[1].mean())
    error = np.sqrt(stats.sem(parts[0]) ** 2 + stats.sem(parts[1]) ** 2)
    assert contrast.standard_error == pytest.approx(error, rel=0.1)  # variances weighed by sizes
    assert found.groups[1].contrast.mean == pytest.approx(-contrast.mean)
    assert found.p_interaction == pytest.approx(found.groups[0].p_contrast)


def test_luck_that_trainings_have_in_all_cases_is_in_no_contrast() -> None:
    rng = np.random.default_rng(1)
    cases = rng.normal(0.8, 0.1, N_CASES)
    luck = np.array([[-0.1], [0.1], [0.0]])
    values = {"net": cases + luck, "new": cases + luck + rng.normal(0, 0.01, N_CASES)}
    (found,) = compared(values, ["a", "b"] * 12)
    assert [group.group for group in found.groups] == ["a", "b"]
    for group in found.groups:
        assert group.difference.standard_error > 0.05
        assert group.contrast.standard_error < 0.01


def test_luck_that_trainings_have_in_one_group_is() -> None:
    rng = np.random.default_rng(2)
    cases = rng.normal(0.8, 0.1, N_CASES)
    in_a = np.array([True, False] * 12)
    luck = np.array([[-0.1], [0.1]]) * in_a
    values = {"net": np.stack([cases, cases]), "new": cases + luck}
    (found,) = compared(values, ["a", "b"] * 12)
    # deviations of the model's contrast are -0.1 and 0.1: variance 0.02, over 2 trainings
    assert found.groups[0].contrast.standard_error == pytest.approx(0.1)
    assert found.groups[1].difference.standard_error < 1e-9


def test_a_difference_in_one_group_alone_is_an_interaction() -> None:
    rng = np.random.default_rng(3)
    cases = rng.normal(0.8, 0.1, N_CASES)
    ahead = np.where(np.arange(N_CASES) % 3 == 0, 0.1, 0.0)
    values = {
        "net": cases + rng.normal(0, 0.01, (3, N_CASES)),
        "new": cases + ahead + rng.normal(0, 0.01, (3, N_CASES)),
        "old": cases + rng.normal(0, 0.01, (3, N_CASES)),
    }
    new, old = compared(values, ["a", "b", "c"] * 8)
    assert new.p_interaction_holm < 0.01
    assert old.p_interaction_holm > 0.05
    assert new.p_interaction == pytest.approx(3 * min(group.p_contrast for group in new.groups))


def test_patients_not_slices_make_an_interaction() -> None:
    rng = np.random.default_rng(4)
    net = np.repeat(rng.normal(0.8, 0.1, (2, 1, 12)), 2, axis=2)
    groups = ["a"] * 12 + ["b"] * 12
    (apart,) = compared({"net": net[0], "new": net[1]}, groups)
    patients = Structure({case: str(i // 2) for i, case in enumerate(NAMES)})
    (together,) = compared({"net": net[0], "new": net[1]}, groups, patients)
    assert together.groups[0].n_clusters == 6
    ratio = together.groups[0].contrast.standard_error / apart.groups[0].contrast.standard_error
    assert ratio == pytest.approx(np.sqrt(2 * 22 / 20))  # half the cases, two means taken off


def test_groups_too_small_to_say_anything() -> None:
    rng = np.random.default_rng(5)
    net, new = rng.normal(0.8, 0.1, (2, 2, N_CASES))
    assert compared({"net": net, "new": new}, ["a"] * N_CASES) == []
    (found,) = compared({"net": net, "new": new}, ["a", *["b"] * (N_CASES - 1)])
    assert np.isnan(found.groups[0].difference.mean)
    assert np.isnan(found.p_interaction)
    assert np.isnan(found.p_interaction_holm)
