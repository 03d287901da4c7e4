"""A job that is interrupted again and again without getting any further is ended."""

from pathlib import Path

import pytest

from umamba.errors import UMambaError
from umamba.executors.attempts import note_start


def test_twenty_starts_without_progress_are_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "starts"
    monkeypatch.setenv("UMAMBA_JOB", "a")

    def start(submission: int, restart: int, *progress: int) -> None:
        monkeypatch.setenv("UMAMBA_ATTEMPT", f"{submission}.{restart}")
        note_start(file, progress)

    for restart in range(30):
        start(7, restart, 0, restart // 15)
    for submission in range(8, 13):  # after a node has died, say
        start(submission, 0, 0, 1)
    with pytest.raises(UMambaError, match="started 20 times in a row without getting any further"):
        start(13, 1, 0, 1)
    for restart in range(20):  # of the next call, before which something may have been changed
        start(14, restart, 0, 1)
    with pytest.raises(UMambaError, match="started 20 times in a row"):
        start(14, 20, 0, 1)
    with pytest.raises(UMambaError, match=r"cannot write .*: Is a directory; make room"):
        note_start(tmp_path, (0, 0))
