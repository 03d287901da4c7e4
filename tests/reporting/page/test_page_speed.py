"""Pages of large comparisons in a real browser: they open and hover without a stall."""

import pytest

from umamba.reporting.charts import CASES, Chart, link_params, linked_dots
from umamba.reporting.page.content import ChosenCases, Page, ScoreCube, ScoredMetric, Section
from umamba.reporting.page.writing import write_page

pytestmark = pytest.mark.browser


@pytest.mark.slow
def test_many_cases_open_and_hover_without_a_stall(browser, tmp_path):
    models, names = [f"model_{m}" for m in range(15)], [f"case_{i:03d}" for i in range(500)]
    rows = [
        {"case": case, "model": model, "points": (i * 37 % 101) / 10 + m, "other": (i * 53 % 97)}
        for m, model in enumerate(models)
        for i, case in enumerate(names)
    ]
    encoding = {
        "x": {"field": "points", "type": "quantitative"},
        "y": {"field": "other", "type": "quantitative"},
        "color": {"field": "model", "type": "nominal"},
    }
    charts = [
        Chart(
            f"chart_{k}",
            "Many",
            "Dots",
            "Dots.",
            {
                "params": link_params(),
                "datasets": {CASES: rows},
                "layer": linked_dots(encoding, ("x",)),
            },
        )
        for k in range(3)
    ]
    values = [[(i * 7 % 13) / 13 for i in range(500)] for _ in models]
    metrics = [ScoredMetric(f"metric_{k}", f"Metric {k}") for k in range(13)]
    cube = ScoreCube(names, models, metrics, [""], {m.name: {"": values} for m in metrics})
    section = Section("models", "Models", (ChosenCases(["metric_0"]), *charts))
    write_page(Page("Many", "", (section,), cube), tmp_path / "many.html")
    opened = browser.open(tmp_path / "many.html")
    opened.wait_for_function("[...umambaPage.views.values()].some(({ places }) => places.size)")
    readable = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
    assert opened.evaluate(readable) < 2000
    opened.wait_for_function("umambaPage.views.size === 3")
    longest = opened.evaluate(
        """async (names) => {
          const frame = () => new Promise(requestAnimationFrame);
          await frame();
          let [last, longest] = [await frame(), 0];
          for (let i = 0; i < 60; i += 1) {
            umambaPage.set("hovered", names[i * 7 % names.length]);
            const now = await frame();
            longest = Math.max(longest, now - last);
            last = now;
          }
          return longest;
        }""",
        names,
    )
    assert longest < 50
