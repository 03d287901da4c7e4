"""The charts draw the numbers of the results, and all of them are valid."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vl_convert
from scipy import stats

from report_results import write_comparison
from small_results import results_with
from umamba.comparison.charts import sizes
from umamba.comparison.charts.model_styles import ModelStyles
from umamba.comparison.charts.pairs import pairs_chart
from umamba.comparison.charts.parts import drawn_cases
from umamba.comparison.charts.ranks import rank_chart
from umamba.comparison.report.figures import FIGURES, comparison_charts, save_charts
from umamba.comparison.report.summary_cells import hours
from umamba.comparison.report.summary_tables import metrics_table, models_table, strata_table
from umamba.comparison.results import Results, read_results
from umamba.comparison.rows import ObjectRow
from umamba.comparison.statistics.analysis import analyse, compared_scores
from umamba.comparison.statistics.models import compare_all_pairs
from umamba.comparison.statistics.ranks import rank_stability
from umamba.comparison.statistics.scores import CaseScore, ScoreTable
from umamba.comparison.statistics.verdicts import DICE_POINTS
from umamba.evaluation.metrics import METRICS
from umamba.reporting.charts import CASES, THEMES, VEGA_LITE, Chart

pytestmark = pytest.mark.usefixtures("unchecked")  # other files test the statistics

HOSTILE = "</script><img src=x onerror=alert(1)>]`\u202e" + "x" * 200


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    found = read_results(write_comparison(tmp_path_factory.mktemp("flat"))[0])
    cases = sorted({row.case for row in found.cases})
    groups = {case: "GE" if number % 2 else HOSTILE for number, case in enumerate(cases)}
    settings = found.settings
    asked = replace(settings.analysis, margin=1.0, groups=groups)
    return analyse(replace(found, settings=replace(settings, analysis=asked)))


@pytest.fixture(scope="module")
def charts(results: Results) -> dict[str, Chart]:
    return comparison_charts(results)


def rows_of(spec: Any) -> Iterator[dict[str, Any]]:
    """Yield all rows of data of a specification."""
    if isinstance(spec, dict):
        for key, value in spec.items():
            if key == "values" and isinstance(value, list):
                yield from value
            elif key == "datasets":
                for rows in value.values():
                    yield from rows
            else:
                yield from rows_of(value)
    elif isinstance(spec, list | tuple):
        for part in spec:
            yield from rows_of(part)


def rows_with(chart: Chart, *fields: str) -> list[dict[str, Any]]:
    return [row for row in rows_of(chart.spec) if {*fields} <= row.keys()]


def test_all_charts_are_valid_in_both_themes_and_tell_what_came_out(
    charts: dict[str, Chart], results: Results
) -> None:
    of_alarms = comparison_charts(analyse(results_with(alarm=lambda model, *_: model == "new")))
    charts = charts | {"alarms": of_alarms["false_alarms_and_misses"]}
    assert {re.sub(r"_\d+$", "", chart.name) for chart in charts.values()} == {*FIGURES}
    for chart in charts.values():
        for theme in THEMES.values():
            drawn = vl_convert.vegalite_to_vega(
                dict(chart.spec), vl_version=VEGA_LITE, config=theme["config"]
            )
            assert drawn["marks"]
        text = json.dumps(chart.spec, allow_nan=False)
        assert "url" not in text
        assert not re.search("#(000|fff)(000|fff)?", text.replace('"value": "#ffffff"', ""))
        assert len(chart.alt) > 40
        assert chart.caption.endswith(".")
        markdown = chart.to_markdown("figures")
        assert "\n" not in markdown.removesuffix(f"\n\n<sub>{chart.caption}</sub>")
        assert "<img" not in markdown
        assert "<script" not in markdown.replace("</script>", "<script")


def test_differences_are_those_of_every_case(charts: dict[str, Chart], results: Results) -> None:
    table = ScoreTable.from_scores(compared_scores(results, "dice"))
    found = {
        (row["model"], row["case"]): row["difference"]
        for row in charts["paired_differences"].spec["datasets"][CASES]
    }
    expected = 100 * (table.case_means("umamba_bot") - table.case_means("nnunet"))
    drawn = [found["umamba_bot", case] for case in table.cases]
    np.testing.assert_allclose(drawn, expected, rtol=1e-5)
    means = {row["model"]: row for row in rows_with(charts["paired_differences"], "mean")}
    for comparison in results.dice.comparisons:
        row, interval = means[comparison.model], comparison.difference.interval
        shown = [row["mean"], row["low"], row["high"]]
        expected_ends = [comparison.difference.mean, interval.low, interval.high]
        np.testing.assert_allclose(shown, np.multiply(100, expected_ends), rtol=1e-5)


def test_verdicts_are_drawn_with_what_could_have_been_shown(
    charts: dict[str, Chart], results: Results
) -> None:
    rows = {row["pair"]: row for row in rows_with(charts["verdicts"], "detectable", "told")}
    assert len(rows) == 3  # two models against the baseline, one against its control
    for comparison in results.dice.comparisons:
        row = rows[f"{comparison.model} \N{MINUS SIGN} nnunet"]
        interval = comparison.corrected_interval
        np.testing.assert_allclose(
            [row["low"], row["high"]], [100 * interval.low, 100 * interval.high], rtol=1e-5
        )
        smallest = comparison.smallest_detectable_difference
        assert row["detectable"] == pytest.approx(100 * smallest, rel=1e-5, nan_ok=True)
    lines = json.dumps(charts["verdicts"].spec)
    assert '"datum": -1.0' in lines
    assert '"datum": 1.0' in lines


def test_probabilities_of_the_margin_are_those_of_the_t_distribution(
    charts: dict[str, Chart], results: Results
) -> None:
    comparison = results.dice.comparisons[0]
    difference = comparison.difference
    below = stats.t.cdf(
        (np.array([-0.01, 0.01]) - difference.mean) / difference.standard_error,
        difference.degrees_of_freedom,
    )
    pair = f"{comparison.model} \N{MINUS SIGN} nnunet"
    rows = [row for row in rows_with(charts["margin_probabilities"], "from") if row["pair"] == pair]
    shown = [row["probability"] for row in rows]
    np.testing.assert_allclose(shown, [1 - below[1], below[1] - below[0], below[0]], atol=1e-6)
    judged = next(m for m in results.dice.margins if m.model == comparison.model)
    assert shown[0] == pytest.approx(judged.probability, rel=1e-5)


def test_falling_curves_are_within_their_axes_and_every_line_has_a_name(results: Results) -> None:
    falling = tuple(0.9 - 0.04 * n for n in range(20))
    bad = [replace(c, dice=falling) if c.model == "umamba_bot" else c for c in results.curves]
    chart = comparison_charts(replace(results, curves=tuple(bad)))["learning_curves"]
    svg = vl_convert.vegalite_to_svg(dict(chart.spec), vl_version=VEGA_LITE)
    for model in results.model_names:
        assert svg.count(f">{model}</text>") == 1
    scenes = vl_convert.vegalite_to_scenegraph(dict(chart.spec), vl_version=VEGA_LITE)
    lines = [mark for mark in marks_of(scenes["scenegraph"]) if mark["marktype"] == "line"]
    heights = [point["y"] for mark in lines for point in mark["items"]]
    assert len(lines) == 2 * 3
    assert max(heights) <= chart.spec["hconcat"][0]["height"]
    ends = {row["model"]: row for row in rows_with(chart, "time")}
    assert ends["umamba_bot"]["dice"] < 0.6


def marks_of(scene: Any) -> Iterator[dict[str, Any]]:
    if isinstance(scene, dict):
        if "marktype" in scene:
            yield scene
        for value in scene.values():
            yield from marks_of(value)
    elif isinstance(scene, list):
        for part in scene:
            yield from marks_of(part)


def test_volumes_are_those_of_the_cases(charts: dict[str, Chart], results: Results) -> None:
    rows = charts["volume_agreement_1"].spec["datasets"][CASES]
    of_case = [
        row.prediction_volume - row.reference_volume
        for row in results.cases
        if (row.model, row.case, row.label) == ("nnunet", "case_1", "big")
    ]
    shown = [r["difference"] for r in rows if (r["model"], r["case"]) == ("nnunet", "case_1")]
    assert shown == [pytest.approx(np.mean(of_case))]


def test_only_what_was_asked_of_the_statistics_is_drawn(tmp_path: Path, results: Results) -> None:
    settings = replace(results.settings, analysis=type(results.settings.analysis)())
    without = comparison_charts(analyse(replace(results, settings=settings)))
    assert not {"margin_probabilities", "subgroups"} & without.keys()
    for name in ("subgroups.svg", "volume_agreement_7.png", "mine.png"):
        (tmp_path / name).touch()
    save_charts([], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]


def test_charts_of_many_models_have_no_numbers() -> None:
    rng = np.random.default_rng(6)
    names = [f"net_{number:02d}" for number in range(16)]
    scores = [
        CaseScore(name, 0, 0, str(case), float(rng.normal(n / 20, 0.1)))
        for n, name in enumerate(names)
        for case in range(6)
    ]
    pairs = compare_all_pairs(scores, n_bootstrap=20)
    for n_models, n_layers in ((16, 1), (5, 2)):
        shown = [pair for pair in pairs if {pair.model, pair.baseline} <= {*names[:n_models]}]
        chart = pairs_chart(shown, names[:n_models], DICE_POINTS)
        assert chart is not None
        assert len(chart.spec["layer"]) == n_layers
        cells = rows_with(chart, "row")
        assert len(cells) == n_models * (n_models - 1)
        assert {cell["kind"] for cell in cells} == {"too few cases"}
    ranks = rank_chart(rank_stability(scores, n_bootstrap=20), ModelStyles(names), "$core")
    assert ranks is not None
    assert len(ranks.spec["layer"]) == 1
    assert ranks.title == "Rank by mean $core, % of bootstraps"


def test_families_keep_their_colour() -> None:
    both = ModelStyles(["umamba_bot_nomamba", "umamba_bot"], controls=["umamba_bot_nomamba"])
    alone = ModelStyles(["nnunet", "umamba_bot"])
    assert both["umamba_bot"] == alone["umamba_bot"]
    assert both["umamba_bot"].filled
    assert both["umamba_bot_nomamba"].dash != both["umamba_bot"].dash
    assert both["umamba_bot_nomamba"].shape != both["umamba_bot"].shape
    assert both["umamba_bot_nomamba"].colour != both["umamba_bot"].colour
    strangers = ModelStyles([f"net_{n}" for n in range(20)])
    assert strangers["net_0"].colour != strangers["net_1"].colour


def test_incomplete_models_are_marked_and_not_ranked(results: Results) -> None:
    lost = ("umamba_bot", 1)
    trainings = tuple(
        replace(row, compared=False, status="failed", reason="out of luck")
        if (row.model, row.fold) == lost
        else row
        for row in results.trainings
    )
    found = analyse(replace(results, trainings=trainings))
    assert found.dice.rank_stability is not None
    ranked = [model.model for model in found.dice.rank_stability.models]
    assert sorted(ranked) == ["nnunet", "umamba_bot_nomamba"]
    assert found.dice.rank_stability.n_cases == 8  # not only those that the other has, too
    row = models_table(found).rows[1]
    assert "not ranked: 2 of 4 trainings" in row
    assert row[-1] == "4"
    for chart in comparison_charts(found).values():
        assert "Incomplete: umamba_bot (2 of 4 trainings)." in chart.caption


def test_sizes_with_one_object_have_a_mean_and_those_without_any_are_left_out(
    results: Results,
) -> None:
    def changed(row: ObjectRow) -> ObjectRow | None:
        if row.stratum != "large":
            return None
        if (row.case, row.label) == ("case_0", "big"):
            return replace(row, stratum="medium")
        if row.case == "case_1":  # there are false alarms alone
            return replace(row, stratum="small", n_reference=0, f1=0.0, dice=None)
        return row

    rows = tuple(new for row in results.instances if (new := changed(row)) is not None)
    found = analyse(replace(results, instances=rows))
    chart = comparison_charts(found)["size_strata"]
    shown = rows_with(chart, "size", "mean")
    assert not [row for row in shown if row["size"].startswith("small")]
    of_one = [row for row in shown if row["size"].startswith("medium")]
    assert of_one
    assert {(row["cases"], row["low"]) for row in of_one} == {(1, None)}
    expected = [
        row.f1
        for row in rows
        if (row.model, row.stratum, row.case) == ("nnunet", "medium", "case_0")
    ]
    drawn = next(row["mean"] for row in of_one if row["model"] == "nnunet")
    assert drawn == pytest.approx(np.mean(expected))
    told = {row[:2] for row in strata_table(found).rows}
    assert told == {("large", "13"), ("medium", "1")}  # two objects in each of 6 cases, and one


def test_chosen_cases_have_the_means_by_size_of_the_statistics(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    missed = next(row for row in results.instances if row.stratum == "large")
    rows = [replace(row, f1=float(row is not missed)) for row in results.instances]
    of_missed = missed.model, missed.case, "large"
    rows = [  # another training has no object of the other label
        row
        for row in rows
        if (row.model, row.case, row.stratum) != of_missed
        or row.seed == missed.seed
        or row.label == missed.label
    ]
    found = analyse(replace(results, instances=tuple(rows)))
    chart = comparison_charts(found)["size_strata"]
    drawn = [row for row in chart.spec["datasets"]["f1"] if row["size"].startswith("large")]
    for summary in found.of("object_f1_large").summaries:
        values = [row["value"] for row in drawn if row["model"] == summary.model]
        assert len(values) == summary.n_cases
        assert np.mean(values) == pytest.approx(summary.estimate.mean, abs=6e-4)
    assert "do not follow" not in chart.caption
    monkeypatch.setattr(sizes, "MOST_ROWS", 10)
    chart = comparison_charts(found)["size_strata"]
    assert not any(chart.spec["datasets"].values())
    assert "do not follow chosen ones" in chart.caption


def test_means_tell_their_number_of_cases_and_short_hours_are_not_zero(results: Results) -> None:
    missed = tuple(
        replace(row, empty="prediction", metrics={**row.metrics, "hd95": None})
        if row.model == "nnunet" and row.case in ("case_0", "case_3")
        else row
        for row in results.cases
    )
    table = metrics_table(analyse(replace(results, cases=missed)))
    column = next(i for i, title in enumerate(table.header) if title.startswith("HD95"))
    assert table.rows[0][column].endswith(" (6 cases)")
    assert "cases" not in table.rows[1][column]
    assert [hours(value) for value in (0.0042, 0.25, 3.0, 0.0, None)] == [
        "0.0042",
        "0.25",
        "3.00",
        "0.00",
        "\N{EN DASH}",
    ]


def test_false_positives_are_drawn_where_every_case_has_its_object(results: Results) -> None:
    assert not any(rate.n_events for rate in results.of("false_alarm").rates)
    number = {"nnunet": 2.0, "umamba_bot": 0.0, "umamba_bot_nomamba": 5.0}
    changed = [
        replace(
            row,
            metrics={
                **row.metrics,
                "lesion_false_positives": number[row.model],
                "lesion_false_positive_volume": 10 * number[row.model],
            },
        )
        for row in results.cases
    ]
    flat = replace(results.dataset, n_dims=2)
    found = analyse(replace(results, cases=tuple(changed), dataset=flat))
    chart = comparison_charts(found)["false_alarms_and_misses"]
    plots = chart.spec["hconcat"]
    shown = [{row["model"]: row["mean"] for row in rows_of(plot)} for plot in plots]
    assert shown == [number, {model: 10 * n for model, n in number.items()}]
    assert "false positive volume, px^2, per case: nnunet 20 in 8 cases" in chart.alt
    title = METRICS["lesion_false_positive_volume"].heading("px")
    assert title == "false positive volume, px^3, in 2D px^2"


def test_more_dots_than_move_smoothly_are_thinned_out_evenly() -> None:
    names = [f"case_{number:05d}" for number in range(3000)]
    assert drawn_cases(names, 3) == (names, "")
    cases, said = drawn_cases(names, 10)
    assert (len(cases), cases[0], cases[-1]) == (1000, "case_00000", "case_02997")
    assert said == " Dots are those of 1,000 of the 3,000 cases, evenly chosen."
