"""Cases are counted, and the time of the rest is reckoned from those done."""

import time

import pytest

from umamba.system.progress import CaseProgress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.01, "case 3 of 10, about 1 s left"),
        (4, "case 3 of 10, about 14 s left"),
        (60, "case 3 of 10, about 4 min left"),
        (3600, "case 3 of 10, about 3.5 h left"),
    ],
)
def test_the_rest_takes_as_long_per_case(
    monkeypatch: pytest.MonkeyPatch, seconds: float, text: str
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = CaseProgress(10)
    assert progress.at(1, done=0, left=7) == "case 1 of 10"
    now[0] += seconds
    assert progress.at(3, done=2, left=7) == text
    assert progress.at(10, done=9, left=0) == "case 10 of 10"
