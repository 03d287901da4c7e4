"""The page of a comparison has the tables of its summary, and those of every other baseline."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from umamba.comparison.charts.differences import for_each_baseline
from umamba.comparison.ranking.charts import ranking_charts
from umamba.comparison.ranking.page import ranking_page
from umamba.comparison.ranking.ranking import rank
from umamba.comparison.ranking.requests import RankRequest
from umamba.comparison.report.figures import comparison_charts
from umamba.comparison.report.gallery import Gallery
from umamba.comparison.report.page import comparison_page
from umamba.comparison.report.page_scores import comparison_scores
from umamba.comparison.report.summary import summarize
from umamba.comparison.report.summary_notes import verdict_sentences
from umamba.comparison.report.summary_tables import models_table
from umamba.comparison.results import Results, read_results
from umamba.comparison.statistics.analysis import analyse, compared_scores
from umamba.comparison.statistics.scores import ScoreTable
from umamba.reporting.charts import CASES, BaselineChart, Chart
from umamba.reporting.page.content import ModelTable, Page
from umamba.reporting.page.markup import section_html

RESULTS = Path("tests/golden/comparison_v1.json")


@pytest.fixture(scope="module")
def results() -> Results:
    return analyse(read_results(RESULTS))


@pytest.fixture(scope="module")
def page(results: Results) -> Page:
    return comparison_page(results, {}, list(comparison_charts(results).values()))


def markdown_cells(text: str) -> list[list[str]]:
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    rows = [line for line in rows if not re.fullmatch(r"[|\s:-]+", line)]
    return [[cell.strip().replace("**", "") for cell in row.strip("|").split("|")] for row in rows]


def page_cells(page: Page) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", "".join(map(section_html, page.sections)))
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    return [[unescape(re.sub(r"<[^>]+>", "", cell)) for cell in row] for row in cells]


def test_page_and_summary_have_the_same_numbers(results, page):
    summary = summarize(results, {}, comparison_charts(results), Gallery({}, ()))
    in_summary, in_page = markdown_cells(summary), page_cells(page)
    assert len(in_summary) > 30
    assert sorted(in_page) == sorted(in_summary)
    text = unescape(re.sub(r"<[^>]+>", "", section_html(page.sections[0])))
    for sentence in results.verdicts.values():
        assert sentence.split(". ")[0] in text


def model_table(page: Page) -> ModelTable:
    section = next(s for s in page.sections if s.name == "models")
    return next(block for block in section.blocks if isinstance(block, ModelTable))


def difference_chart(page: Page) -> Chart:
    blocks = [block for section in page.sections for block in section.blocks]
    return next(b for b in blocks if isinstance(b, Chart) and b.name == "paired_differences")


def test_every_baseline_has_table_and_chart_of_a_comparison_with_it(results, page):
    tables = model_table(page).tables
    assert list(tables) == results.model_names
    name = results.model_names[-1]
    settings = replace(results.settings, baseline=name)
    by_itself = analyse(replace(results, settings=settings))
    assert tables[name] == models_table(by_itself)
    chart = difference_chart(page)
    assert isinstance(chart, BaselineChart)
    assert list(chart.others) == [n for n in results.model_names if n != results.settings.baseline]
    own = comparison_charts(by_itself)["paired_differences"]
    assert chart.others[name] == own
    many = replace(own, spec={"datasets": {CASES: [{}] * 20_001}})
    kept = for_each_baseline(own, {"nnunet": many, "unscored": None})
    assert not isinstance(kept, BaselineChart)
    assert kept.caption.endswith(
        "Choosing another baseline in the table leaves this chart as it is."
    )


def test_scores_are_means_over_trainings(results, page):
    scores = page.scores
    assert scores is not None
    table = ScoreTable.from_scores(compared_scores(results, "dice"))
    for model, values in zip(scores.models, scores.values["dice"][""], strict=True):
        wanted = dict(zip(table.cases, table.case_means(model).tolist(), strict=True))
        assert values == pytest.approx([wanted[case] for case in scores.cases])
    assert scores.facts["fold"] == [
        next(row.fold for row in results.cases if row.case == case) for case in scores.cases
    ]


def test_the_size_of_a_case_is_that_of_its_labels_or_of_its_largest_region(results):
    volumes = {"whole": 30.0, "core": 10.0}
    cases = tuple(
        replace(row, label=label, reference_volume=volume)
        for row in results.cases
        if row.label == results.cases[0].label
        for label, volume in volumes.items()
    )
    for whole, size in ((1, 40.0), ([1, 2], 30.0)):
        labels = {"background": 0, "whole": whole, "core": 2}
        dataset = replace(results.dataset, labels=labels, n_dims=2)
        found = comparison_scores(replace(results, cases=cases, dataset=dataset))
        assert {*found.facts["reference area (px^2)"]} == {size}


def others(page: Page) -> dict[str, Chart]:
    chart = difference_chart(page)
    assert isinstance(chart, BaselineChart)
    return dict(chart.others)


def test_what_is_said_of_controls_are_sentences_of_their_own():
    said = "x against a: better (+2. x). x against x_no: no difference shown."
    assert verdict_sentences({"x": said, "a b": "a b against a: worse."}) == [
        "x against a: better (+2. x).",
        "x against x_no: no difference shown.",
        "a b against a: worse.",
    ]


def test_baselines_of_a_ranking_are_those_of_rankings_by_themselves(tmp_path):
    file = tmp_path / "scores.csv"
    lines = [
        f"c{i},{0.5 + i / 99:.3f},{0.6 + i % 4 / 88:.3f},{0.55 + i % 3 / 50:.3f}" for i in range(9)
    ]
    file.write_text("case,a,b,c\n" + "\n".join(lines))

    def page_with(**request):
        ranked = rank(RankRequest(scores=file, **request))
        charts = {task: [*its.values()] for task, its in ranking_charts(ranked).items()}
        return ranking_page(ranked, charts)

    page = page_with()
    for name in "abc":
        by_itself = page_with(baseline=name)
        assert model_table(by_itself).tables[name] == model_table(page).tables[name]
        own = difference_chart(by_itself).spec
        assert own == (difference_chart(page).spec if name == "a" else others(page)[name].spec)
