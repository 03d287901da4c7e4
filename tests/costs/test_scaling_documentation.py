"""The documentation shows what was measured, and what was measured is what the paper promises."""

import json

from reference_cases import REPOSITORY
from umamba.costs.results import ScalingResult


def measured() -> ScalingResult:
    path = REPOSITORY / "benchmarks" / "results" / "scaling.json"
    return ScalingResult.from_dict(json.loads(path.read_text()))


def test_mamba_is_linear_and_attention_quadratic() -> None:
    exponents = {layer.name: layer.time_exponent or 0 for layer in measured().layers}
    assert exponents["mamba"] <= 1.1
    assert 1.8 <= exponents["attention"] <= 2.2


def test_the_page_shows_this_measurement() -> None:
    page = (REPOSITORY / "docs" / "explanation" / "scaling.md").read_text()
    assert measured().to_markdown().strip() in page
    assert "](scaling.png)" in page
