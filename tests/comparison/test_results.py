"""`results.json`: what is written is read, in this version and in earlier ones."""

import json
import math
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from small_results import finished, results_of, scored
from umamba.comparison.report.summary_notes import limits_texts, settings_texts
from umamba.comparison.report.writing import write_report
from umamba.comparison.results import Results, read_results, save_results, to_plain
from umamba.comparison.rows import Training
from umamba.comparison.statistics.analysis import analyse
from umamba.errors import ComparisonError
from umamba.nnunet.paths import Paths
from umamba.nnunet.training.seed_streams import SHARED

FIRST = Path("tests/golden/comparison_v1_early.json")  # without all that version 1 learnt later
LAST = Path("tests/golden/comparison_v1.json")


def same(got: Any, of_version_1: Any) -> bool:
    """Whether everything that version 1 says is still there, to the last bit."""
    if isinstance(of_version_1, dict):
        return all(key in got and same(got[key], value) for key, value in of_version_1.items())
    if isinstance(of_version_1, list):
        pairs = zip(got, of_version_1, strict=True)
        return all(same(mine, theirs) for mine, theirs in pairs)
    return bool(got == of_version_1)


@pytest.fixture(params=[FIRST, LAST], ids=["first", "last"])
def version_1(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[dict[str, Any], Path]:
    text = request.param.read_text()
    content = json.loads(text)
    (tmp_path / "results.json").write_text(text)
    return content, tmp_path


def test_version_1_is_read_and_written_with_every_number(
    version_1: tuple[dict[str, Any], Path],
) -> None:
    content, folder = version_1
    results = read_results(folder)
    save_results(folder / "again.json", results)
    again = json.loads((folder / "again.json").read_text())
    assert again["schema_version"] == 2
    assert same(again["trainings"], content.pop("cells"))
    settings = content.pop("settings")
    now = again["settings"]
    assert same(now | now["evaluation"] | now["analysis"], settings)
    del content["schema_version"]
    assert same(again, content)
    assert to_plain(read_results(folder / "again.json")) == to_plain(results) | {
        "test": None,
        "statistics_version": 0,
    }


def test_version_1_has_a_report(version_1: tuple[dict[str, Any], Path]) -> None:
    content, folder = version_1
    write_report(folder, Paths())
    text = (folder / "summary.md").read_text()
    has_later_ones = "fold_test" in content["statistics"]["dice"]["comparisons"][0]
    assert ("### Under other assumptions" in text) == has_later_ones
    assert ("analysed as such" in text) == (not has_later_ones)  # seeds were shared by folds


def test_what_early_results_did_not_say() -> None:
    results = read_results(FIRST)
    assert {training.seeds for training in results.trainings} == {SHARED}
    comparison = results.dice.comparisons[0]
    assert comparison.n_clusters == comparison.n_cases == 54
    assert comparison.pooled is None
    assert math.isnan(comparison.corrected_interval.low)
    assert results.settings.analysis.margin is None


def small() -> Results:
    trainings = [Training("net", 0, seed) for seed in (None, 3)]
    rows = [
        scored(training, case, "liver", dice=dice, hd95=None)
        for training, dice in zip(trainings, (0.5, 0.1 + 0.2), strict=True)
        for case in ("a", "b")
    ]
    return analyse(results_of([finished(training) for training in trainings], rows))


def test_what_is_written_is_read_and_no_number_is_not_finite(tmp_path: Path) -> None:
    results = small()
    assert math.isnan(results.dice.summaries[0].seed_standard_deviation)
    save_results(tmp_path / "results.json", results)
    text = (tmp_path / "results.json").read_text()

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    json.loads(text, parse_constant=refuse)
    read = read_results(tmp_path)
    assert repr(read) == repr(results)  # where nan is equal to itself
    assert read.trainings[1].training == Training("net", 0, 3)
    assert read.compared == {Training("net", 0, None), Training("net", 0, 3)}


def test_keys_of_later_versions_of_this_schema_are_passed_over(tmp_path: Path) -> None:
    save_results(tmp_path / "results.json", small())
    content = json.loads((tmp_path / "results.json").read_text())
    content["cases"][0]["surface"] = "voxels"
    content["trainings"][0]["node"] = "gpu01"
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert repr(read_results(tmp_path)) == repr(small())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 3}, r"version 3; this umamba reads .* up to version 2: update umamba"),
        ({"schema": "other"}, r"schema 'other'"),
        ({"cases": None}, r"is damaged \(Expected `array`, got `null` - at `\$\.cases`\); run"),
        ({"trainings": [{"model": "net"}]}, r"missing required field `fold` - at `\$\.trainings"),
        ({"settings": {}}, r"missing required field `models` - at `\$\.settings`"),
        ({"schema_version": 1}, r"is damaged \('cells'\); run the same `umamba compare` again"),
    ],
)
def test_results_of_another_form(tmp_path: Path, change: dict[str, object], message: str) -> None:
    save_results(tmp_path / "results.json", small())
    content = json.loads((tmp_path / "results.json").read_text())
    (tmp_path / "results.json").write_text(json.dumps(content | change))
    with pytest.raises(ComparisonError, match=message):
        read_results(tmp_path)


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_results_that_cannot_be_read(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(ComparisonError, match="umamba compare` again"):
        write_report(tmp_path, Paths())
    assert len([*tmp_path.iterdir()]) == (text is not None)


def test_a_table_of_pandas_and_what_jupyter_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    results = read_results(LAST)
    table = results.to_pandas()
    assert list(table.columns[:6]) == ["model", "fold", "seed", "case", "label", "dice"]
    assert len(table) == len(results.cases)
    row = results.cases[5]
    assert table.loc[5, ["model", "case", "dice"]].tolist() == [
        row.model,
        row.case,
        row.metrics["dice"],
    ]
    html = results._repr_html_()
    assert "<li>umamba_bot against nnunet: " in html
    assert html.count("<tr>") == 1 + len(results.models)
    assert (
        "No results yet"
        in Results(
            **{
                field.name: getattr(results, field.name)
                for field in fields(results)
                if field.name not in ("statistics", "verdicts")
            }
        )._repr_html_()
    )
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ComparisonError, match="pip install pandas"):
        results.to_pandas()


def test_recipes_are_nnunets_in_older_files_and_named_where_they_differ() -> None:
    results = read_results(LAST)
    assert {model.recipe for model in results.models} == {"nnunet"}
    assert "Recipe" not in settings_texts(results, {})
    one_recipe = "All models were trained with one recipe, nnU-Net's"
    assert any(text.startswith(one_recipe) for text in limits_texts(results))
    models = (results.models[0], *(replace(model, recipe="adamw") for model in results.models[1:]))
    mixed = replace(results, models=models)
    named = settings_texts(mixed, {})["Recipe"]
    assert not any(text.startswith(one_recipe) for text in limits_texts(mixed))
    assert named == "nnunet for nnunet; adamw for umamba_bot, umamba_bot_nomamba"
