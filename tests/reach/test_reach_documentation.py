"""The page shows what was measured, and what was measured is what the text says."""

import json

import pytest

from reference_cases import REPOSITORY
from umamba.reach.field_results import ReceptiveFieldResult
from umamba.reach.long_range_results import LongRangeResult

RESULTS = REPOSITORY / "benchmarks" / "results"
PAGES = REPOSITORY / "docs" / "explanation"


def page() -> str:
    return (PAGES / "receptive-field.md").read_text(encoding="utf-8")


def long_range() -> LongRangeResult:
    return LongRangeResult.from_dict(json.loads((RESULTS / "long-range.json").read_text()))


def test_the_page_shows_the_table_and_figures() -> None:
    assert long_range().to_markdown().strip() in page()
    for name in ("long-range", "long-range-maps", "receptive-field", "receptive-field-maps"):
        assert f"]({name}.png)" in page()
        assert (PAGES / f"{name}.png").stat().st_size < 300_000


def test_networks_fail_where_the_text_says() -> None:
    reached = {group.title: group.reach for group in long_range().groups(2)}
    plain = [reached[f"nnunet, {stages} stages"] for stages in (2, 3, 4, 5)]
    assert plain == [0, 16, 32, 48]
    names = ("bot", "bot_bidirectional", "bot_lti", "enc", "enc_lti")
    assert {reached[f"umamba_{name}, 3 stages"] for name in names} == {48}
    assert reached["umamba_bot_nomamba, 3 stages"] < 48
    controls = [min(trial.control.values()) for trial in long_range().trials]
    assert min(controls) > 0.85


@pytest.mark.parametrize("name", ["receptive-field", "receptive-field-3d"])
def test_radii_in_the_text_are_those_measured(name: str) -> None:
    content = json.loads((RESULTS / f"{name}.json").read_text())
    result = ReceptiveFieldResult.from_dict(content)
    named = {"umamba_bot", "umamba_bot_nomamba", "umamba_enc"}
    found = {field.name: field.sizes[50].radius for field in result.fields if field.name in named}
    assert found.keys() == named
    for radius in found.values():
        assert f"{radius:.1f}" in page()
