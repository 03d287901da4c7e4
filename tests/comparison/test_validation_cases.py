"""A cap on validation: the same few cases for all models, said to be incomplete; and its time."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faked_trainings import (
    CASES,
    NAME,
    FakeExecutor,
    InlineProcess,
    option,
    validation_cases,
    write_dataset,
    write_mask,
)
from umamba.comparison.report.summary_notes import limits_texts, settings_texts
from umamba.comparison.results import read_results
from umamba.comparison.rows import Cost, Training
from umamba.comparison.runs import collecting, opening
from umamba.comparison.runs.budget import Budget
from umamba.comparison.runs.collecting import Collector
from umamba.comparison.runs.engine import run_comparison
from umamba.comparison.runs.estimates import estimate_models, estimate_trainings
from umamba.comparison.runs.opening import open_comparison
from umamba.comparison.runs.planning import ComparisonRequest
from umamba.comparison.runs.state import Comparison
from umamba.errors import UMambaError
from umamba.nnunet.paths import Paths
from umamba.nnunet.splits import chosen_cases


@pytest.fixture(autouse=True)
def known_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    def known(planned: Any, *_: object) -> dict[str, Cost]:
        return {model: Cost(10, 20, 30, None, 36.0, 40.0) for model in planned.models}

    monkeypatch.setattr(opening, "measure_costs", known)
    monkeypatch.setattr(opening, "estimate_costs", known)
    monkeypatch.setattr(collecting, "write_report", lambda *_: None)
    monkeypatch.setattr(collecting, "analyse", lambda results: results)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return write_dataset(tmp_path)


def opened(paths: Paths, *, dry: bool, **changes: Any) -> Comparison:
    output = paths.require("results").parent / "out"
    request = ComparisonRequest(
        "901", ("nnunet",), (0, 1), (0,), Budget("epochs", 3.0), output, validation_cases=1
    )
    return open_comparison(replace(request, **changes), paths, dry=dry)


def test_the_cases_depend_on_their_names_alone_and_more_add_to_them() -> None:
    wanted = min(CASES, key=lambda case: hashlib.sha256(case.encode()).digest())
    assert chosen_cases(reversed(CASES), 1) == [wanted]
    assert set(chosen_cases(CASES, 3)) < set(chosen_cases(CASES, 4))
    assert chosen_cases(CASES, 99) == chosen_cases(CASES, None) == CASES


def test_a_comparison_of_a_few_cases_says_so(paths: Paths) -> None:
    comparison, executor = opened(paths, dry=False), FakeExecutor(paths)
    run_comparison(comparison, executor, lambda *_: None, Collector(make=InlineProcess))
    assert {option(command, "--validation-cases") for command in executor.commands} == {"1"}
    results = read_results(comparison.request.output)
    assert results.dataset.n_cases == 2
    of_fold = chosen_cases(validation_cases(paths, 0), 1)
    assert {row.case for row in results.cases if row.fold == 0} == set(of_fold)
    assert "1 of each fold at most" in settings_texts(results, {})["Validation cases"]
    assert any(
        "Incomplete: of each fold, no more than 1 " in text for text in limits_texts(results)
    )
    with pytest.raises(UMambaError, match="begun with --validation-cases 1, not left out"):
        opened(paths, dry=False, validation_cases=None)
    # Another comparison wants the others, too, of trainings that have predicted one.
    folder = comparison.folder(Training("nnunet", 0, 0)) / "validation"
    (other,) = {f"{case}.nii.gz" for case in validation_cases(paths, 0)} - {f"{of_fold[0]}.nii.gz"}
    (folder / other).unlink()
    whole = opened(paths, dry=True, validation_cases=None, output=paths.require("results") / "o")
    assert whole.states[Training("nnunet", 0, 0)].option == "--val"
    assert whole.states[Training("nnunet", 1, 0)].status == "done"


def test_the_time_of_whole_cases_is_in_the_estimate(paths: Paths) -> None:
    comparison = opened(paths, dry=True, validation_cases=None)
    # 3 epochs of 250 steps of 36 s with validation on patches; a fifth of 10 cases of 40 s.
    (row, _) = estimate_trainings(comparison)
    assert row["prediction_hours"] == pytest.approx(2 * 40 / 3600)
    assert row["hours_left"] == pytest.approx((750 * 36 * (1 + 0.2 / 3) + 2 * 40) / 3600)
    (model,) = estimate_models(comparison)
    assert model["prediction_hours"] == pytest.approx(4 * 40 / 3600)
    without = opened(paths, dry=True, validation_cases=None, validation_tta="off")
    assert estimate_trainings(without)[0]["prediction_hours"] == pytest.approx(2 * 5 / 3600)
    (fewer, _) = estimate_trainings(opened(paths, dry=True))
    assert fewer["prediction_hours"] == pytest.approx(40 / 3600)


def test_the_time_of_a_test_set_is_in_the_estimate(paths: Paths, tmp_path: Path) -> None:
    for case in ("a", "b", "c"):
        write_mask(tmp_path / "masks" / f"{case}.nii.gz")
        write_mask(tmp_path / "images" / f"{case}_0000.nii.gz")
    comparison = opened(paths, dry=True, test=(tmp_path / "images", tmp_path / "masks"))
    (row, _) = estimate_trainings(comparison)
    # one case of the fold, and each test case twice: by its network, and in the ensemble
    assert row["prediction_hours"] == pytest.approx((1 + 2 * 3) * 40 / 3600)
    assert comparison.planned.source.dataset == NAME
