"""Charts are linked by their cases: pointed at, opened and chosen in a real browser."""

import re
from dataclasses import replace
from typing import Any

import pytest

from browser import wait_a_frame
from example_page import CASE_NAMES, MODELS, example, gained, value
from umamba.reporting.page.writing import write_page

pytestmark = pytest.mark.browser


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


def test_a_box_gives_way_to_what_is_chosen_elsewhere(page):
    boxes = """() => [...document.querySelectorAll(".brush_brush path")].map((box) =>
      box.getBBox().width > 0)"""
    brush(page, "first", 6, 9, 1)
    assert page.evaluate(boxes) == [True, False]
    x, y = dot_at(page, "second", 9, 1)
    page.mouse.click(x + 9, y - 15)  # beside the dots of a chart without a box
    wait_a_frame(page)
    assert len(page.evaluate("umambaPage.get('chosen')")) == 4
    brush(page, "second", 8, 9, 1)
    assert page.evaluate(boxes) == [False, True]
    assert page.evaluate("umambaPage.get('chosen')") == CASE_NAMES[8:10]
    page.select_option("#choose", label="fold 1")
    wait_a_frame(page)
    wait_a_frame(page)
    assert page.evaluate(boxes) == [False, False]
    assert page.evaluate("umambaPage.get('chosen')") == CASE_NAMES[1::2]
