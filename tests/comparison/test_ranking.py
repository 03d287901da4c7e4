"""Rankings of any table of scores: the same numbers as a comparison, and known answers."""

import csv
import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import umamba
from small_results import results_with
from umamba.comparison.statistics.analysis import analyse
from umamba.comparison.statistics.consensus import consensus_ranking
from umamba.comparison.statistics.models import compare_all_pairs
from umamba.comparison.statistics.ranks import rank_stability
from umamba.comparison.statistics.scores import CaseScore
from umamba.comparison.statistics.verdicts import outcome_of_networks
from umamba.evaluation.summary import as_csv

# Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 2006, table 6: the
# area under the ROC curve of C4.5, and of it with either or both of its parameters tuned.
CLASSIFIERS = ["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"]
METRICS = {"dice": 1.0, "hd95": None}  # and their margins
AREAS = {
    "adult (sample)": [0.763, 0.768, 0.771, 0.798],
    "breast cancer": [0.599, 0.591, 0.590, 0.569],
    "breast cancer wisconsin": [0.954, 0.971, 0.968, 0.967],
    "cmc": [0.628, 0.661, 0.654, 0.657],
    "ionosphere": [0.882, 0.888, 0.886, 0.898],
    "iris": [0.936, 0.931, 0.916, 0.931],
    "liver disorders": [0.661, 0.668, 0.609, 0.685],
    "lung cancer": [0.583, 0.583, 0.563, 0.625],
    "lymphography": [0.775, 0.838, 0.866, 0.875],
    "mushroom": [1.000, 1.000, 1.000, 1.000],
    "primary tumor": [0.940, 0.962, 0.965, 0.962],
    "rheum": [0.619, 0.666, 0.614, 0.669],
    "voting": [0.972, 0.981, 0.975, 0.975],
    "wine": [0.957, 0.978, 0.946, 0.970],
}


def write_csv(file: Path, header: list[str], rows: Any) -> Path:
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return file


def close(one: Any, other: Any) -> None:
    """Compare records of any depth; sums in another order may differ by a rounding error."""
    if isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-12, nan_ok=True)
    elif hasattr(one, "__dict__"):
        close(vars(one), vars(other))
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            close(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            close(*pair)
    else:
        assert one == other


def test_the_table_of_a_comparison_gives_its_numbers(tmp_path: Path) -> None:
    cases = {f"case_{n:02d}": f"patient_{n // 2}" for n in range(50)}
    groups = {case: "ab"[n % 2] for n, case in enumerate(cases)}
    compared = results_with(
        alarm=lambda *of: of[2] == 3,
        miss=lambda *of: (of[0], of[2]) == ("new", 30),
        margin=1.0,
        clusters=cases,
        groups=groups,
    )
    rows = [replace(r, metrics={m: r.metrics[m] for m in METRICS}) for r in compared.cases]
    compared = analyse(replace(compared, cases=tuple(rows)))
    table = tmp_path / "cases.csv"
    table.write_text(as_csv(compared.case_columns(), compared.case_rows()))
    clusters = write_csv(tmp_path / "c.csv", ["case", "cluster"], cases.items())
    grouped = write_csv(tmp_path / "g.csv", ["case", "group"], groups.items())
    for metric, margin in METRICS.items():
        asked = {"margin": margin, "clusters": clusters, "groups": grouped}
        result = umamba.rank(scores=table, metric=metric, missing="omit", **asked)
        found = replace(compared.of(metric), pairs=())  # of a ranking they lie elsewhere
        close(result.ranking.tasks[0].statistics, found)
        (pair,) = result.ranking.tasks[0].pairs
        (comparison,) = compared.of(metric).comparisons
        assert pair.difference.mean == -comparison.difference.mean
        close((pair,) * (metric == "dice"), compared.of(metric).pairs)
        assert pair.p_difference_holm == pytest.approx(comparison.p_difference_holm)
        said = result.verdicts[""]["new"].rstrip(".").partition(": ")[2]
        assert (said in compared.verdicts["new"]) == (metric == "dice")


def test_a_published_table_of_classifiers(tmp_path: Path) -> None:
    """Its mean ranks, and its example of Wilcoxon's test: sums of ranks of 93 and 12 of 105.

    The paper's mean ranks are 3.143, 2, 2.893 and 1.964: its two areas of 0.975 do not tie.
    """
    told_apart = np.array([*AREAS.values()]) - 1e-6 * np.array([0, 0, 0, 1])
    told_apart[[5, 9, 10], 3] += 1e-6  # iris, mushroom and primary tumor, which do
    ranks = stats.rankdata(-told_apart, axis=1).mean(axis=0)
    assert ranks.round(3).tolist() == [3.143, 2.000, 2.893, 1.964]
    table = write_csv(
        tmp_path / "auc.csv", ["case", *CLASSIFIERS], ([k, *v] for k, v in AREAS.items())
    )
    ranking = umamba.rank(scores=table, metric="AUC").ranking
    (task,) = ranking.tasks
    assert (task.n_cases, len(task.pairs), ranking.settings.baseline) == (14, 6, "C4.5")
    tuned = next(c for c in task.statistics.comparisons if c.model == "C4.5+m")
    assert tuned.rank_biserial == pytest.approx((93 - 12) / 105)
    assert tuned.p_wilcoxon < 0.05
    differences = [of[1] - of[0] for of in AREAS.values()]
    assert tuned.p_difference == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert task.statistics.rank_stability is not None
    means = {rank.model: rank.mean for rank in task.statistics.rank_stability.models}
    assert means["C4.5+m+cf"] == pytest.approx(np.mean([of[3] for of in AREAS.values()]))
    assert "units of AUC" in task.verdicts["C4.5+m"]


def scores_of(values: dict[str, np.ndarray]) -> list[CaseScore]:
    return [
        CaseScore(model, 0, None, f"case_{case:03d}", float(value))
        for model, of_cases in values.items()
        for case, value in enumerate(of_cases)
    ]


def test_equal_models_are_rarely_told_apart_and_unequal_ones_are() -> None:
    rng = np.random.default_rng(5)
    n_false = n_found = 0
    for _ in range(16):
        base = rng.normal(0.8, 0.1, 40)
        values = {name: base + rng.normal(0, 0.03, 40) for name in ("a", "b", "c", "d")}
        values["worst"] = base + rng.normal(-0.05, 0.03, 40)
        pairs = compare_all_pairs(scores_of(values), n_bootstrap=20)
        assert {pair.n_comparisons for pair in pairs} == {10}
        shown = {(p.model, p.baseline): outcome_of_networks(p) for p in pairs}
        n_found += sum(shown[name, "worst"] == "better" for name in "abcd")
        n_false += any(shown[p] != "no difference shown" for p in product("ab", "cd"))
    assert n_found > 0.9 * 16 * 4
    assert n_false <= 3  # of 16 at 5 %: more in less than 1 of 100 such tests


def test_a_consensus_of_tasks() -> None:
    rng = np.random.default_rng(2)
    means = {"one": (0.9, 0.7, 0.5), "two": (0.9, 0.5, 0.7), "three": (0.5, 0.9, 0.7)}
    tasks = {
        task: scores_of({m: rng.normal(mean, 0.01, 12) for m, mean in zip("abc", of, strict=True)})
        for task, of in means.items()
    }
    found = consensus_ranking(tasks)
    assert found is not None
    assert [(r.model, r.rank, round(r.mean_rank, 3)) for r in found.models] == [
        ("a", 1, 1.667),
        ("b", 2, 2.0),
        ("c", 3, 2.333),
    ]
    assert found.models[0].task_ranks == {"one": 1, "two": 1, "three": 3}
    assert [r.shares[r.rank - 1] for r in found.models] == [1, 1, 1]
    # no ranking is nearer to those of the tasks, in squared distance
    orders = np.array([[1, 2, 3], [1, 3, 2], [3, 1, 2]])
    distances = {order: ((orders - order) ** 2).sum() for order in product([1, 2, 3], repeat=3)}
    assert distances[1, 2, 3] == min(distances[order] for order in distances if len({*order}) == 3)


def test_tasks_with_the_same_cases_are_drawn_together_and_models_of_all_tasks_count() -> None:
    rng = np.random.default_rng(3)
    values = {model: rng.normal(0.8, 0.1, 20) for model in ("a", "b", "c")}
    scores = scores_of(values)
    alone = rank_stability(scores)
    found = consensus_ranking({"one": scores, "two": [*scores, *scores_of({"d": values["a"]})]})
    assert found is not None
    assert alone is not None
    assert found.left_out == ("d",)
    assert {r.model: r.shares for r in found.models} == {r.model: r.shares for r in alone.models}
    assert consensus_ranking({"one": scores}) is None


def test_every_form_of_a_table_gives_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    wide = [[f"case_{n}", *rng.uniform(0.5, 0.9, 2).round(3).tolist()] for n in range(9)]
    long = [[row[0], model, row[i]] for i, model in ((1, "a"), (2, "b")) for row in wide]
    files: list[Any] = [write_csv(tmp_path / "wide.csv", ["case_id", "a", "b"], wide)]
    files.append(write_csv(tmp_path / "long.csv", ["case", "algorithm", "value"], long))
    (tmp_path / "semicolons.csv").write_text(files[0].read_text().replace(",", ";"))
    files.append(tmp_path / "semicolons.csv")
    rows = [dict(zip(("case", "a", "b"), row, strict=True)) for row in wide]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    files.append(tmp_path / "rows.json")
    for i, model in ((1, "a"), (2, "b")):
        folder = tmp_path / "runs" / model / "fold_0" / "validation"
        folder.mkdir(parents=True)
        cases = [
            {
                "metrics": {"1": {"Dice": row[i], "n_ref": 5, "n_pred": 4}},
                "prediction_file": f"/x/{row[0]}.nii.gz",
            }
            for row in wide
        ]
        (folder / "summary.json").write_text(json.dumps({"metric_per_case": cases}))
        alone = ([row[0], row[i], 1] for row in wide)
        write_csv(tmp_path / f"{model}.csv", ["case", "dice", "hd95"], alone)
    files.append([tmp_path / "runs" / "a", folder / "summary.json"])
    files.append({"a": tmp_path / "a.csv", "b": tmp_path / "b.csv"})
    results = [umamba.rank(scores=file) for file in files]
    for result in results[1:]:
        close(result.ranking.tasks[0].statistics, results[0].ranking.tasks[0].statistics)
        close(result.ranking.tasks[0].pairs, results[0].ranking.tasks[0].pairs)
    assert results[0].ranking.recognised == "wide: a row per case, with 2 models"
    assert "long" in results[1].ranking.recognised
    assert results[4].ranking.recognised == "nnU-Net's summary.json (2 files)"
    assert "Dice points" in str(results[4])
