"""What a budget means in epochs and iterations."""

import pytest

from umamba.comparison.runs.budget import Budget, Length


@pytest.mark.parametrize(
    ("text", "length", "tag"),
    [
        ("epochs:100", Length(100, 250), "100epochs"),
        ("iterations:25000", Length(100, 250), "25000iterations"),
        ("iterations:640", Length(20, 32), "640iterations"),
        ("iterations:7", Length(7, 1), "7iterations"),
        ("hours:0.5", Length(20, 45), "0.5hours"),
        ("hours:100", Length(720, 250), "100hours"),
    ],
)
def test_lengths(text: str, length: Length, tag: str) -> None:
    budget = Budget.parse(text)
    # Two seconds per iteration: 900 in half an hour.
    assert budget.length(2.0) == length
    assert budget.tag == tag


@pytest.mark.parametrize("text", ["epochs", "epochs:0", "epochs:1.5", "days:3", "hours:nan", "5"])
def test_no_budgets(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a budget|could not convert string to float"):
        Budget.parse(text)


def test_hours_need_a_measured_time() -> None:
    with pytest.raises(ValueError, match="the time of an iteration"):
        Budget.parse("hours:1").length()
