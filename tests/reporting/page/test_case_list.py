"""The list of cases beside the case browser, in a real Chromium."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from browser import Browser, wait_a_frame
from case_pages import HOSTILE, cube, opened, press, volume, write
from umamba.reporting.page import writing
from umamba.reporting.page.case_data import encode_case
from umamba.reporting.page.content import CaseBrowser, Page, Section

pytestmark = pytest.mark.browser


def listed(page: Any) -> list[str]:
    """Return the names of the listed cases, in order."""
    return page.locator(".list-open").all_inner_texts()


def test_the_list_is_sorted_filtered_and_flagged(tmp_path: Path, browser: Browser) -> None:
    names = ["a", "b", HOSTILE]
    data = {name: encode_case(volume()) for name in names}
    page = browser.open(write(tmp_path / "report.html", data, scores=cube(names)))
    shown = HOSTILE.replace("\u202e", "\\u202e")
    assert listed(page) == [shown, "a", "b"]
    page.click("[data-key=disagreement]")
    assert listed(page) == ["a", "b", shown]  # 0.1, 0.25, unknown
    page.click("[data-key=disagreement]")
    assert listed(page) == ["b", "a", shown]
    page.click("[data-key='fact size']")
    assert listed(page) == ["b", "a", shown]
    page.select_option("#list-field", "mean")
    page.fill("#list-low", "0.6")
    assert listed(page) == ["b", shown]
    page.select_option("#list-fold", label="1")
    page.fill("#list-name", "IMG")
    assert listed(page) == [shown]
    for field in ("#list-name", "#list-low"):
        page.fill(field, "")
    page.select_option("#list-group", label="x")
    assert listed(page) == [shown]
    page.select_option("#list-fold", label="all")
    assert listed(page) == ["a", shown]
    page.select_option("#list-group", label=shown)
    assert listed(page) == ["b"]
    page.select_option("#list-group", label="all")
    page.evaluate("() => umambaPage.set('chosen', ['a', 'b'])")
    wait_a_frame(page)
    assert listed(page) == ["b", "a"]
    page.evaluate("() => umambaPage.set('chosen', null)")
    wait_a_frame(page)
    page.check(f"[data-key='flag {names.index('a')}']")
    page.locator(".list-open", has_text="onerror").click()
    page.fill("#viewer-note", '=cmd("bad")')
    with page.expect_download() as download:
        page.click("#flags-save")
    doubled = HOSTILE.replace('"', '""')
    wanted = f'"case","note"\r\n"{doubled}","\'=cmd(""bad"")"\r\n"a",""\r\n'
    assert Path(download.value.path()).read_bytes().decode() == wanted
    page.check("#list-flagged")
    assert listed(page) == ["a", shown]
    press(page, "n", "x")
    assert listed(page) == [shown]


def test_labels_are_chosen_in_two_places_that_agree(tmp_path: Path, browser: Browser) -> None:
    scores = cube(["a", "b", "c"])
    one = {name: {"organ": of[""]} for name, of in scores.values.items()}
    scores = replace(scores, labels=["organ", "tumour"], values=one)
    page = opened(
        browser, write(tmp_path / "a.html", {"a": encode_case(volume())}, scores=scores), "a"
    )
    for place, other in (("#label", "#viewer-label"), ("#viewer-label", "#label")):
        for label in ("tumour", "organ"):
            page.select_option(place, label)
            wait_a_frame(page)
            assert page.input_value(other) == label
    page.select_option("#viewer-label", "")  # all labels have no scores of their own
    wait_a_frame(page)
    assert page.evaluate("umambaPage.viewer.labelValues()") is None
    assert page.input_value("#viewer-label") == ""
    assert page.input_value("#label") == "organ"
    first = page.locator(".list-table tbody tr").first.locator("td").all_inner_texts()
    assert first[-2:] == ["0.550", "0.100"]  # mean and disagreement, of the organ
    page.select_option("#label", "tumour")
    wait_a_frame(page)
    assert page.input_value("#viewer-label") == "tumour"


def test_without_images_the_list_works_and_says_why(tmp_path: Path, browser: Browser) -> None:
    index = {"cases": [], "problem": f"The images are missing: {HOSTILE}."}
    section = Section("cases", "Cases", (CaseBrowser(index),))
    path = tmp_path / "report.html"
    writing.write_page(Page("Cases", "", (section,), cube(["a", "b", "c"])), path)
    page = browser.open(path)
    said = index["problem"].replace("\u202e", "\\u202e")
    assert page.locator(".case-list .notes").first.inner_text() == said
    page.click("[data-key=mean]")
    assert listed(page) == ["a", "b", "c"]
    page.locator(".list-open").nth(1).click()
    page.wait_for_selector(".viewer-notes li")
    assert page.inner_text(".viewer-notes") == said
    assert page.locator(".viewer-body").is_hidden()
    page.check("#viewer-flag")
    assert page.inner_text("#flags-save") == "Save 1 flags as CSV"
