"""Starts of a job, counted to tell progress from a job that is interrupted for ever."""

import json
from pathlib import Path

from umamba.errors import UMambaError
from umamba.system.fencing import own_token

__all__ = ["note_start"]

_MOST_STARTS = 20


def note_start(file: Path, progress: tuple[int, ...]) -> None:
    """Note a start of this job, unless the last ones changed nothing; then the next may begin anew.

    Starts count whether a job was requeued or submitted again.

    Args:
        file: File with a line per start.
        progress: How far the job is, such as finished epochs and iterations.

    Raises:
        UMambaError: If it was started too often in a row without any progress, or the file cannot
            be read or written.
    """
    now = json.dumps({"job": own_token().job, "progress": progress})
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        is_stuck = lines[-_MOST_STARTS:] == [now] * _MOST_STARTS
        with file.open("a", encoding="utf-8") as starts:
            starts.write("refused\n" if is_stuck else f"{now}\n")
    except OSError as error:
        msg = f"cannot write {file}: {error.strerror}; make room, or make its folder writable"
        raise UMambaError(msg) from None
    if is_stuck:
        msg = (
            f"it was started {_MOST_STARTS} times in a row without getting any further ({file}); "
            "give its jobs more time, then run the same command again"
        )
        raise UMambaError(msg)
