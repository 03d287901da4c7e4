"""The list of metrics, and the page made of it."""

from pathlib import Path

from umamba.evaluation.metrics import METRICS
from umamba.evaluation.metrics_page import with_tables

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"


def test_the_page_has_the_tables_of_the_list():
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_tables(page)
    assert all(page.count(f"| `{name}` |") == 1 for name in METRICS)


def test_every_metric_says_what_it_is():
    assert [metric.name for metric in METRICS.values()] == list(METRICS)
    for metric in METRICS.values():
        assert all((metric.title, metric.definition, metric.source, metric.empty)), metric.name
