"""The pages of a comparison and of a ranking, as they are written, used in a real Chromium."""

import csv
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from browser import Browser, serious_findings, wait_a_frame
from report_results import write_comparison
from umamba.comparison.ranking.charts import ranking_charts
from umamba.comparison.ranking.page import ranking_page
from umamba.comparison.ranking.ranking import rank
from umamba.comparison.ranking.requests import RankRequest
from umamba.comparison.report.browsed_cases import browsed_cases
from umamba.comparison.report.figures import comparison_charts
from umamba.comparison.report.page import comparison_page
from umamba.comparison.results import read_results
from umamba.reporting.page.writing import write_page

pytestmark = pytest.mark.browser

HOSTILE_MODEL = '</script><img src=x onerror=alert(1)>*"'
HOSTILE_CASE = "</title><script>alert(2)</script> 'quoted'\u202eabc"

# The names of charts without marks, or with marks that are nowhere.
UNDRAWN = """() => [...document.querySelectorAll("figure.chart")].filter((figure) => {
  const marks = [...figure.querySelectorAll(
    "g.role-mark:not(.brush_brush, .brush_brush_bg) > :is(path, line, text)")];
  return !marks.length || marks.some((mark) => /NaN|undefined/.test(mark.outerHTML));
}).map((figure) => figure.dataset.chart)"""
# The names of charts with dots of cases.
DOTTED = """() => [...umambaPage.views.values()].filter(({ places }) => places.size)
  .map(({ figure }) => figure.dataset.chart)"""
# The dots of each case of a chart, in the window.
DOTS = """(name) => {
  const figure = document.querySelector(`figure[data-chart=${name}]`);
  const { left, top } = figure.querySelector(".plot").getBoundingClientRect();
  const { places } = umambaPage.views.get(figure);
  return [...places].map(([name, at]) => [name, at.map(([x, y]) => [left + x, top + y])]);
}"""
PAPER = 680  # pixels between the margins of A4 and letter paper
TOO_WIDE = """(paper) => {
  document.body.style.width = `${paper}px`;
  return [...document.querySelectorAll("table")].filter((table) => table.offsetWidth > paper)
    .map((table) => table.closest("section").id);
}"""
BOX = "document.querySelector('[data-chart=paired_differences] .brush_brush path').getBBox().width"


def compared(folder: Path) -> Path:
    """Write the page of a comparison, one model and one case of which have hostile names."""
    output, paths = write_comparison(folder, n_cases=6)
    text = (output / "results.json").read_text()
    for name, other in (("umamba_bot_nomamba", HOSTILE_MODEL), ("case_5", HOSTILE_CASE)):
        text = text.replace(json.dumps(name), json.dumps(other))
    (output / "results.json").write_text(text)
    results, path = read_results(output), output / "report.html"
    browser = browsed_cases(results, paths, path)
    charts = [*comparison_charts(results).values()]
    write_page(comparison_page(results, {}, charts, browser), path)
    return path


def ranked(folder: Path) -> Path:
    """Write the page of a ranking of such models and cases."""
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["case", "plain", HOSTILE_MODEL, "other"])
        for i, case in enumerate([*(f"c{i}" for i in range(7)), HOSTILE_CASE]):
            rows.writerow([case, 0.5 + i / 99, 0.6 + i % 4 / 22, 0.55 + i % 3 / 30])
    ranking = rank(RankRequest(scores=folder / "scores.csv"))
    charts = {task: [*its.values()] for task, its in ranking_charts(ranking).items()}
    write_page(ranking_page(ranking, charts), folder / "report.html")
    return folder / "report.html"


def point_at(page: Any, case: str, chart: str = "paired_differences") -> None:
    """Move the pointer onto the dot of a case that is farthest to the right."""
    page.mouse.move(*max(dict(page.evaluate(DOTS, chart))[case]))
    wait_a_frame(page)


def brush_the_right(page: Any) -> set[str]:
    """Draw a box from the middle of the differences to their end; return the cases in it."""
    dots = dict(page.evaluate(DOTS, "paired_differences"))
    ends = {case: max(at)[0] for case, at in dots.items()}
    xs, top = sorted(ends.values()), min(y for at in dots.values() for _, y in at)
    middle = max(pairwise(xs), key=lambda pair: pair[1] - pair[0])
    page.mouse.move(sum(middle) / 2, top - 9)
    page.mouse.down()
    page.mouse.move(xs[-1] + 4, top - 9, steps=4)
    page.mouse.up()
    wait_a_frame(page)
    return {case for case, x in ends.items() if x >= middle[1]}


def click_the_dots(page: Any, case: str) -> None:
    """Open a case by its dot in each chart; what is chosen stays chosen."""
    chosen = page.evaluate("umambaPage.get('chosen')")
    for chart in page.evaluate(DOTTED):
        page.evaluate("umambaPage.set('opened', null)")
        point_at(page, case, chart)
        assert page.evaluate("umambaPage.get('hovered')") == case, chart
        page.mouse.down()
        page.mouse.up()
        wait_a_frame(page)
        assert page.evaluate("umambaPage.get('opened')") == case, chart
        assert page.evaluate("umambaPage.get('chosen')") == chosen, chart


@pytest.mark.parametrize("write", [compared, ranked])
def test_written_pages_work(browser: Browser, tmp_path: Path, write: Any) -> None:
    page = browser.open(write(tmp_path), height=12_000)
    n_charts = page.locator("figure.chart").count()
    assert n_charts >= 4
    page.wait_for_function("n => umambaPage.views.size === n", arg=n_charts)
    wait_a_frame(page)
    assert page.evaluate(UNDRAWN) == []

    chosen = brush_the_right(page)
    assert {*page.evaluate("umambaPage.get('chosen')")} == chosen
    assert page.evaluate(BOX) > 0
    click_the_dots(page, min(chosen))
    page.keyboard.press("Escape")
    wait_a_frame(page)
    assert page.evaluate("umambaPage.get('chosen')") is None
    assert page.evaluate(BOX) == 0

    page.evaluate("(name) => umambaPage.set('hovered', name)", HOSTILE_CASE)
    wait_a_frame(page)
    said = page.locator("#hovered-case").inner_text()
    assert said.startswith(HOSTILE_CASE.replace("\u202e", "\\u202e"))
    assert HOSTILE_MODEL in said
    assert page.locator("img, main script, [onerror]").count() == 0
    assert serious_findings(page) == []
    page.emulate_media(media="print")
    assert page.evaluate(TOO_WIDE, PAPER) == []
