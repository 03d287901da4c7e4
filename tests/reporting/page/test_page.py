"""Pages in a real browser: charts and tables are linked, and what is data stays text."""

import base64
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axe_core_python.sync_playwright import Axe

from browser import Browser, wait_a_frame
from umamba.errors import UMambaError
from umamba.reporting.charts import CASES, BaselineChart, Chart, link_params, linked_dots
from umamba.reporting.page import writing
from umamba.reporting.page.content import (
    CaseBrowser,
    ChosenCases,
    ModelTable,
    Page,
    ScoreCube,
    ScoredMetric,
    Section,
)
from umamba.reporting.page.writing import write_page
from umamba.reporting.tables import BoldCell, Note, Table

pytestmark = pytest.mark.browser

MODELS = ("plain", "new", "other *x* **y** `z`")
HOSTILE = "</script><img src=x onerror=alert(1)>"
CASE_NAMES = [*(f"case_{i}" for i in range(10)), HOSTILE, 'it\'s "quoted" \u202eabc', "x" * 200]
NAMES = "#000000", "#0072b2", "#d55e00"


def value(case: int, model: int) -> float:
    """The Dice of a model in a case; the difference to the first model grows with the case."""
    return round(0.5 + (case * 7 % 13) / 40 + model * (0.004 * case - 0.02), 4)


def gained(case: int, model: int = 1) -> float:
    """The Dice points of a model above the first in a case."""
    return 100 * (value(case, model) - value(case, 0))


def dots(name: str, brush: tuple[str, ...]) -> Chart:
    """A chart with a dot for each case and model but the first."""
    rows = [
        {"case": case, "model": MODELS[m], "points": gained(i, m)}
        for i, case in enumerate(CASE_NAMES)
        for m in (1, 2)
    ]
    encoding = {
        "x": {"field": "points", "type": "quantitative"},
        "y": {"field": "model", "type": "nominal"},
    }
    layers = linked_dots(encoding, brush, size=80)
    spec = {"params": link_params(), "datasets": {CASES: rows}, "layer": layers}
    return Chart(name, f"Chart {name}", "Dots", "Each dot is a case.", spec)


def dots_for_each_baseline() -> BaselineChart:
    """The first chart, and another one against the model `new`."""
    other = replace(dots("first", ("x",)), title=f"Above {HOSTILE}", alt="Other dots", caption="O.")
    rows = [{**row, "points": -row["points"]} for row in other.spec["datasets"][CASES][:4]]
    other = replace(other, spec={**other.spec, "datasets": {CASES: rows}})
    return BaselineChart(**vars(dots("first", ("x",))), others={"new": other})


def table_of(baseline: str) -> Table:
    """The table of the models against a baseline."""
    means = [sum(value(i, m) for i in range(len(CASE_NAMES))) / len(CASE_NAMES) for m in range(3)]
    of = means[MODELS.index(baseline)]
    rows = [
        (
            BoldCell(name, "(baseline)") if name == baseline else name,
            f"{mean:.3f}",
            "\N{EN DASH}" if name == baseline else f"{100 * (mean - of):+.2f} [\N{MINUS SIGN}9, 9]",
            "< 0.001" if name == "new" else "0.020",
        )
        for name, mean in zip(MODELS, means, strict=True)
    ]
    head = ("model", "Dice", f"Dice points above {baseline} [95 % interval]", "p of mean")
    return Table(head, tuple(rows), notes=(Note(f"Of {HOSTILE}, *not* **bold**."),))


def example() -> Page:
    """A page with two charts of the same cases, and tables."""
    values = [[value(i, m) for i in range(len(CASE_NAMES))] for m in range(3)]
    values[2][0] = None
    cube = ScoreCube(
        cases=CASE_NAMES,
        models=MODELS,
        metrics=[ScoredMetric("dice", "Dice", factor=100.0, unit="Dice points")],
        labels=[""],
        values={"dice": {"": values}},
        facts={"fold": [i % 2 for i in range(len(CASE_NAMES))]},
    )
    tables = ModelTable("plain", {name: table_of(name) for name in MODELS})
    return Page(
        title=f"Models of {HOSTILE}",
        subtitle="Thirteen cases",
        sections=(
            Section("verdicts", "Verdicts", (Note(items=("new against plain: better.",)),)),
            Section("models", "Models", (tables, ChosenCases(["dice"]), dots_for_each_baseline())),
            Section("part", "A part", (dots("second", ("x", "y")),), level=3),
        ),
        scores=cube,
        credit="Pictures by somebody (CC BY-SA 4.0)",
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(example(), path)
    return path


@pytest.fixture
def page(browser: Browser, report: Path) -> Any:
    opened = browser.open(report, height=2400)
    opened.wait_for_function("umambaPage.views.size === 2")
    return opened


def dot_at(page: Any, chart: str, case: int, model: int) -> tuple[float, float]:
    """Where the middle of a dot is on the screen, by the scales of the chart."""
    x, y = page.evaluate(
        """([chart, points, model]) => {
          const figure = document.querySelector(`figure[data-chart=${chart}]`);
          const { view } = umambaPage.views.get(figure);
          const [left, top] = view.origin().map((at) => at + view.padding().left);
          const box = figure.querySelector(".plot svg").getBoundingClientRect();
          const [x, y] = [view.scale("x"), view.scale("y")];
          return [box.x + left + x(points), box.y + top + y(model) + y.bandwidth() / 2];
        }""",
        [chart, gained(case, model), MODELS[model]],
    )
    return x, y


def test_hovering_names_a_case_in_every_chart_and_a_click_opens_it(page):
    page.mouse.move(*dot_at(page, "first", 3, 2))
    wait_a_frame(page)
    assert page.locator("#hovered-case").inner_text().startswith("case_3, fold 1; Dice: plain")
    assert page.locator(".figure-case").all_inner_texts() == ["case_3"] * 2
    for chart in ("first", "second"):
        rings = page.locator(f"figure[data-chart={chart}] .ring").all()
        boxes = [ring.bounding_box() for ring in rings]
        middles = [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes]
        wanted = [dot_at(page, chart, 3, model) for model in (1, 2)]
        assert sorted(middles) == [pytest.approx(at, abs=1.5) for at in sorted(wanted)]
    page.mouse.down()
    page.mouse.up()
    wait_a_frame(page)
    assert page.evaluate("umambaPage.get('opened')") == "case_3"
    page.mouse.move(5, 5)
    wait_a_frame(page)
    assert page.evaluate("umambaPage.get('hovered')") is None


def brush(page: Any, chart: str, first: int, last: int, model: int) -> None:
    (x0, y0), (x1, y1) = dot_at(page, chart, first, model), dot_at(page, chart, last, model)
    page.mouse.move(x0 - 3, y0 - 7)
    page.mouse.down()
    page.mouse.move(x1 + 3, y1 + 7, steps=4)
    page.mouse.up()
    wait_a_frame(page)


@pytest.mark.parametrize("chart", ["first", "second"])
def test_brushing_chooses_cases_whose_means_are_shown(page, chart):
    brush(page, chart, 6, 9, 1)
    chosen = [6, 7, 8, 9]
    assert page.evaluate("umambaPage.get('chosen')") == [CASE_NAMES[i] for i in chosen]
    assert page.locator("#chosen-count").inner_text() == "4 of 13 cases chosen"
    text = page.locator(".chosen-cases").inner_text()
    mean, points = (sum(of(i) for i in chosen) / 4 for of in (lambda i: value(i, 1), gained))
    assert re.search(rf"new\s+{mean:.3f}\s+\{points:+.2f}$", text, re.MULTILINE)
    assert "descriptive only, without intervals" in text
    page.keyboard.press("Escape")
    wait_a_frame(page)
    assert page.evaluate("umambaPage.get('chosen')") is None
    assert page.locator(".chosen-cases").inner_text() == ""


def test_means_of_chosen_cases_are_over_those_with_a_score(page):
    page.select_option("#choose", label="fold 0")
    wait_a_frame(page)
    other = page.locator(".chosen-cases tbody tr").nth(2).locator("th, td").all_inner_texts()
    even = range(2, 13, 2)  # without case_0, of which the model has no score
    mean, points = (
        sum(of(i) for i in even) / 6 for of in (lambda i: value(i, 2), lambda i: gained(i, 2))
    )
    assert other == [MODELS[2], f"{mean:.3f} (n = 6)", f"{points:+.2f} (n = 6)"]
    new = page.locator(".chosen-cases tbody tr").nth(1).locator("td").first.inner_text()
    assert "n =" not in new  # it has scores of all chosen cases
    page.click("#clear")
    wait_a_frame(page)
    assert page.locator("#chosen-count").inner_text() == ""


def test_scores_of_a_case_are_of_the_chosen_label_and_name_it(browser, tmp_path):
    whole = example()
    labels = {name: [[number] * 13 for number in (x, x, x)] for name, x in (("a*", 0.25), ("b", 1))}
    cube = replace(whole.scores, labels=[*labels], values={"dice": labels})
    write_page(replace(whole, scores=cube), tmp_path / "labels.html")
    opened = browser.open(tmp_path / "labels.html")
    for label, score in (("a*", "0.250"), ("b", "1.000")):
        opened.select_option("#label", label)
        opened.evaluate("umambaPage.set('hovered', null)")
        wait_a_frame(opened)
        opened.evaluate("umambaPage.set('hovered', 'case_1')")
        wait_a_frame(opened)
        said = opened.locator("#hovered-case").inner_text()
        assert f"; Dice of {label}: plain {score}, new {score}" in said


def test_the_keyboard_alone_points_at_cases_and_opens_them(page):
    page.focus("#case-field")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    wait_a_frame(page)
    assert page.evaluate("umambaPage.get('hovered')") == "case_1"
    page.keyboard.press("Enter")
    wait_a_frame(page)
    assert page.evaluate("umambaPage.get('opened')") == "case_1"


def column(page: Any, index: int) -> list[str]:
    return page.locator(f".model-table tbody tr > :nth-child({index})").all_inner_texts()


def test_columns_sort_by_their_numbers(page):
    header = page.locator(".model-table thead th").nth(2)
    header.locator("button").press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    numbers = [cell.split()[0] for cell in column(page, 3)]
    assert numbers[-1] == "\N{EN DASH}"
    found = [float(number.replace("\N{MINUS SIGN}", "-")) for number in numbers[:-1]]
    assert found == sorted(found, reverse=True)
    header.locator("button").press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    page.locator(".model-table thead th").nth(3).locator("button").click()
    page.locator(".model-table thead th").nth(3).locator("button").click()
    assert column(page, 4)[0] == "< 0.001"


def test_another_baseline_shows_its_own_table(page):
    for name in (MODELS[2], "new", "plain"):
        page.select_option(".model-table select", name)
        wait_a_frame(page)
        wanted = [[*row] for row in table_of(name).rows]
        wanted[MODELS.index(name)][0] = f"{name} (baseline)"
        bold = page.locator(".model-table table strong").all_inner_texts()
        assert bold == [name]
        rows = page.locator(".model-table tbody tr").all()
        assert [row.locator("th, td").all_inner_texts() for row in rows] == wanted
        title = page.locator(".model-table thead th").nth(2).inner_text()
        assert title == f"Dice points above {name} [95 % interval]"


def test_a_chart_follows_the_baseline_and_comes_back(page):
    figure = page.locator("figure[data-chart=first]")
    n_rows = len(CASE_NAMES) * 2
    for name, (title, alt, caption, n_dots) in {
        "new": (f"Above {HOSTILE}", "Other dots", "O.", 4),
        MODELS[2]: (f"Above {HOSTILE}", "Other dots", "O.", 4),  # which has no chart of its own
        "plain": ("Chart first", "Dots", "Each dot is a case.", n_rows),
    }.items():
        page.select_option(".model-table select", name)
        page.wait_for_function(
            "n => document.querySelectorAll('figure[data-chart=first] .plot path').length >= n &&"
            "[...umambaPage.views.values()].some(({ figure, view }) => figure.dataset.chart =="
            " 'first' && view.data('cases').length === n)",
            arg=n_dots,
        )
        assert figure.locator(".figure-head strong").inner_text() == title
        assert figure.locator(".plot").get_attribute("aria-label") == alt
        assert figure.locator("figcaption").inner_text() == caption
        figure.locator("details").evaluate("its => { its.open = true; }")
        figure.locator("details tbody tr").first.wait_for()
        assert figure.locator("details tbody tr").count() == n_dots
    assert page.locator("img").count() == 0


def test_columns_can_be_left_out(page):
    page.click(".columns summary")
    page.get_by_label("Dice points above plain").uncheck()
    page.select_option(".model-table select", MODELS[2])
    wait_a_frame(page)
    titles = page.locator(".model-table thead th:visible").all_inner_texts()
    assert titles == ["model", "Dice", "p of mean"]


def test_names_stay_text(browser, report):
    opened = browser.open(report)
    assert HOSTILE in opened.locator("h1").inner_text()
    assert opened.title() == f"Models of {HOSTILE}"
    assert opened.locator("img").count() == 0
    opened.locator("figure details summary").first.click()
    text = opened.locator("figure details").first.inner_text()
    assert HOSTILE in text
    assert "\\u202eabc" in text
    opened.evaluate("name => umambaPage.set('hovered', name)", HOSTILE)
    wait_a_frame(opened)
    assert opened.locator("#hovered-case").inner_text().startswith(HOSTILE)
    assert opened.evaluate("document.querySelectorAll('[onerror], main script').length") == 0


def test_the_policy_stops_scripts_of_others(browser, report):
    opened = browser.open(report)
    opened.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.intruded = true";
          document.body.append(script);
        }"""
    )
    assert opened.evaluate("window.intruded") is None
    assert any("Content Security Policy" in problem for problem in browser.problems)
    browser.problems.clear()
    meta = opened.get_attribute("meta[http-equiv=Content-Security-Policy]", "content")
    assert meta.startswith("default-src 'none';")
    assert "unsafe" not in meta
    assert "http" not in meta


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_finding_of_axe(browser, report, scheme):
    opened = browser.open(report, color_scheme=scheme, bypass_csp=True)
    opened.wait_for_function("umambaPage.views.size > 0")
    assert opened.evaluate("document.documentElement.dataset.theme") == scheme
    opened.select_option("#choose", label="fold 1")
    wait_a_frame(opened)
    found = [
        (one["id"], [node["html"][:200] for node in one["nodes"]])
        for one in Axe().run(opened)["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert not found


def test_the_theme_can_be_switched(page):
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.click("#theme")
    wait_a_frame(page)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate(ground) != light
    assert page.locator("#theme").inner_text() == "Light theme"


def test_without_scripts_verdicts_tables_and_descriptions_are_there(browser, report):
    opened = browser.open(report, java_script_enabled=False)
    assert "new against plain: better." in opened.locator("main").inner_text()
    names = opened.locator(".model-table tbody th").all_inner_texts()
    assert names == ["plain (baseline)", *MODELS[1:]]
    assert opened.locator("figure .needs-script").first.inner_text() == "Dots"


def test_it_fits_small_windows_and_prints_every_chart(browser, report):
    opened = browser.open(report, width=800, height=400)
    opened.wait_for_function("umambaPage.views.size > 0")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 800
    assert opened.pdf().count(b"/Type /Page\n") >= 1
    assert opened.evaluate("umambaPage.views.size") == 2


def test_paper_is_white_and_charts_fit_it(browser, report):
    opened = browser.open(report, color_scheme="dark", width=1400)
    opened.wait_for_function("umambaPage.views.size > 0")
    texts = "[...document.querySelectorAll('.plot text')].map((t) => t.getAttribute('fill'))"
    dark = set(opened.evaluate(texts))
    opened.evaluate(f"addEventListener('beforeprint', () => {{ window.printed = {texts}; }})")
    opened.pdf()
    light = set(opened.evaluate("window.printed"))
    assert light
    assert not light & dark
    wait_a_frame(opened)
    assert set(opened.evaluate(texts)) == dark

    opened.set_viewport_size({"width": 500, "height": 700})  # of a small sheet
    opened.emulate_media(media="print", color_scheme="dark")
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    wait_a_frame(opened)
    assert (
        opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    )
    for plot in opened.locator(".plot").all():
        drawing = plot.locator("svg, canvas").bounding_box()
        assert drawing["width"] <= plot.bounding_box()["width"]
        assert drawing["height"] > 50


def test_large_cases_lie_beside_the_page_and_are_loaded_from_there(browser, tmp_path, monkeypatch):
    path, folder = tmp_path / "report.html", tmp_path / "report_files"
    cases = [(name, bytes(range(256)) * 20_000) for name in CASE_NAMES[:2]]
    large = Section("cases", "Cases", (CaseBrowser({"cases": CASE_NAMES[:2]}, iter(cases)),))
    write_page(replace(example(), sections=(large,)), path)
    assert sorted(file.name for file in folder.iterdir()) == ["case_0.js", "case_1.js"]
    opened = browser.open(path)
    got = opened.evaluate(
        """() => new Promise((done) => {
          window.umambaCase = (number, digest, text) => done([number, digest, text]);
          document.body.append(umambaPage.make("script", { src: "report_files/case_1.js" }));
        })"""
    )
    digest = opened.get_attribute("html", "data-digest")
    assert got == [1, digest, base64.b64encode(cases[1][1]).decode()]

    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UMambaError, match=r"holds notes.txt, which no report wrote"):
        write_page(example(), path)
    (folder / "notes.txt").unlink()
    monkeypatch.setattr(writing, "LARGEST_FILE", 1)
    write_page(example(), path)  # without cases there is nothing to put into files
    assert not folder.exists()
