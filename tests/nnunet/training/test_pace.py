"""A training that takes days says so after its first iterations, once."""

from collections.abc import Iterator

import pytest

from umamba.nnunet.training.pace import (
    Pace,
    describe_days,
    estimate_seconds,
    seconds_per_multiply_add,
)


def run(
    pace: Pace, seconds: float, n_steps: int, monkeypatch: pytest.MonkeyPatch, first: float = 60.0
) -> None:
    """Let the first step take a minute, as compilation does, and each other one as long."""
    now = [0.0]
    monkeypatch.setattr("umamba.nnunet.training.pace.time.monotonic", lambda: now[0])
    for step in range(n_steps):
        now[0] += first if step == 0 else seconds
        pace.note_step()


def test_days_are_told_once_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(Pace(250_000, 1000, "cpu"), 3.0, 5, monkeypatch)
    assert capsys.readouterr().err == ""
    run(Pace(250_000, 1000, "cpu"), 3.0, 30, monkeypatch)
    said = capsys.readouterr().err
    # 250,000 x 3 s, and a fifteenth for validation, are 9.26 days
    assert said.startswith(
        "note: at 3.0 s per iteration, the 250000 iterations of 1000 epochs will take about 9 days "
        "on this CPU; fewer --epochs"
    )
    assert "a GPU takes a small part of that time" in said
    assert len(said.splitlines()) == 1


def test_slow_steps_are_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(Pace(1000, 4, "cuda"), 130.0, 3, monkeypatch)
    said = capsys.readouterr().err
    assert "at 130.0 s per iteration" in said
    assert "about 2 days on this GPU" in said
    assert "a GPU takes" not in said


def test_hours_are_not_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(Pace(250_000, 1000, "cpu"), 0.3, 30, monkeypatch)
    assert capsys.readouterr().err == ""
    assert describe_days(86_399.0) == ""
    assert describe_days(86_401.0) == "about 1 day"


@pytest.fixture
def untimed() -> Iterator[None]:
    seconds_per_multiply_add.cache_clear()
    yield
    seconds_per_multiply_add.cache_clear()


def test_the_time_of_multiply_adds_is_that_of_the_convolution_that_was_timed_once(
    untimed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter([0.0, 0.1, 0.4, 0.5])  # two steps, of which the second ends after the limit
    monkeypatch.setattr("umamba.nnunet.training.pace.time.monotonic", lambda: next(ticks))
    for n_patches in (1, 3):
        wanted = pytest.approx(n_patches * 0.5 / 2)
        assert estimate_seconds(n_patches * 32 * 32 * 27 * 16 * 48 * 48) == wanted
