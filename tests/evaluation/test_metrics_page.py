"""The list of metrics, and the page made of it."""

from pathlib import Path

from umamba.evaluation.metrics import METRICS
from umamba.evaluation.metrics_page import metrics_page

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"


def test_the_page_is_that_of_the_list():
    assert PAGE.read_text(encoding="utf-8") == metrics_page()


def test_every_metric_says_what_it_is():
    assert [metric.name for metric in METRICS.values()] == list(METRICS)
    for metric in METRICS.values():
        assert all((metric.title, metric.definition, metric.source, metric.empty)), metric.name
        assert metric.is_distance == (metric.unit == "length")
