"""Jobs that are followed to their end by a process that has nothing else to do."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from umamba.executors.jobs import Event, Executor, Job, why_it_failed
from umamba.system.interruption import INTERRUPTED, StopRequest, resumable, run_again
from umamba.system.run_lock import only_process

__all__ = ["follow", "submitting"]


@contextmanager
def submitting(folder: Path) -> Iterator[StopRequest]:
    """Keep other processes from submitting the same jobs, and listen to signals.

    Args:
        folder: Folder for logs, scripts and notes.

    Yields:
        The object that receives requests to stop.

    Raises:
        UMambaError: If another process has submitted them, or the folder cannot be written.
        ResumableInterruptError: If it was interrupted; the same call continues.
    """
    stop = StopRequest()
    with (
        only_process(folder, "ask for other work", inside=True),
        resumable(lambda: run_again("continue"), as_a_whole=True),
        stop.listening(),
    ):
        yield stop


def follow(executor: Executor, jobs: Sequence[Job], stop: StopRequest) -> dict[str, Event]:
    """Have jobs done, with a line on stderr for each that begins or ends.

    Args:
        executor: Runs them.
        jobs: The jobs.
        stop: A request to stop, which may come at any time.

    Returns:
        How they have ended, by their names.

    Raises:
        KeyboardInterrupt: If jobs are left to do because a stop was requested.
        UMambaError: If no job can run.
    """
    ended: dict[str, Event] = {}
    with stop.deferred(), closing(executor.run(jobs, stop)) as events:
        for event in events:
            if event.kind == "ended":
                ended[event.job.name] = event
            if event.kind in ("started", "ended"):
                sys.stderr.write(f"[{len(ended)}/{len(jobs)}] {_line(event)}\n")
    if len(ended) < len(jobs) or any(e.exit_code in INTERRUPTED for e in ended.values()):
        raise KeyboardInterrupt(stop.reason() or "")
    return ended


def _line(event: Event) -> str:
    job = event.job
    if event.kind == "started":
        return f"{job.name} started, log in {job.log}"
    if event.exit_code == 0:
        return f"{job.name} done"
    if event.exit_code in INTERRUPTED:
        return f"{job.name} interrupted"
    return f"{job.name} failed: {why_it_failed(event)} (log in {job.log})"
