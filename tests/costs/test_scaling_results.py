"""Exponents, the table, and the figures that the documentation shows."""

import json
from dataclasses import replace

import pytest

from scaling_results import known_result
from umamba.costs.results import LayerScaling, Point, ScalingResult, fit_exponent


def test_the_exponent_is_that_of_the_upper_half() -> None:
    lengths = [2**n for n in range(8)]
    costs = [7.0] * 4 + [3.0 * length**1.5 for length in lengths[4:]]
    assert fit_exponent(lengths, costs) == pytest.approx(1.5)
    assert fit_exponent([1, 2, 4], [5.0, 1.0, 4.0]) == pytest.approx(2)
    assert fit_exponent([2, 4], [1.0, 8.0]) == pytest.approx(3)


def test_no_exponent_without_two_costs() -> None:
    assert fit_exponent([], []) is None
    assert fit_exponent([8], [1.0]) is None
    assert fit_exponent([2, 4, 8, 16], [1, 1, None, 2]) is None
    assert fit_exponent([2, 4, 8, 16], [1, 1, 0, 2]) is None


def test_json_holds_everything() -> None:
    result = known_result()
    content = json.loads(json.dumps(result.to_dict()))
    assert ScalingResult.from_dict(content) == result
    exponents = {x["name"]: round(x["time_exponent"], 6) for x in content["layers"]}
    assert exponents == {"mamba": 1, "attention": 2, "convolution": 1}
    assert content["layers"][1]["memory_exponent"] == pytest.approx(1)


def test_the_table_says_where_a_layer_stopped_and_why() -> None:
    lines = known_result().to_markdown().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:9]]
    assert {len(row) for row in cells} == {7}
    assert cells[0][:3] == ["length", "Mamba, ms", "self-attention, ms"]
    assert set(cells[1]) <= {"-" * (len(c) - 1) + ":" for c in cells[1]}
    assert cells[2] == ["1,024", "2.0", "4.0", "0.5", "0.5", "0.5", "0.5"]
    assert cells[6] == ["16,384", "32.0", "stopped (time)", "8.0", "8.0", "-", "8.0"]
    assert cells[8] == ["exponent", *["**1.00**", "**2.00**", "**1.00**"], *["**1.00**"] * 3]
    assert "Self-attention stopped: it would take long." in lines
    assert "Some CPU (cpu), 2 threads, Linux; Python 3.11, torch 2.6" in lines[-1]


def test_what_could_not_be_measured_is_a_dash() -> None:
    lonely = LayerScaling("mamba", "Mamba", (Point(1024, 2.0, 0.1, None),))
    result = replace(known_result(), layers=(lonely,))
    table = result.to_markdown()
    assert "|    1,024 |       2.0 |          - |" in table
    assert "| exponent |         - |          - |" in table
