"""Pages in a real browser: tables and themes, and what is data stays text."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from browser import serious_findings, wait_a_frame
from example_page import CASE_NAMES, HOSTILE, MODELS, example, table_of
from umamba.errors import UMambaError
from umamba.reporting.page import writing
from umamba.reporting.page.content import CaseBrowser, Section
from umamba.reporting.page.writing import write_page

pytestmark = pytest.mark.browser


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
    assert serious_findings(opened) == []


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
