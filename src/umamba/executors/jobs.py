"""Jobs, what they need, and the interface of what runs them."""

import re
import signal
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from umamba.system.interruption import StopRequest

__all__ = ["JOB_PROGRAM", "Event", "Executor", "Job", "Resources", "why_it_failed"]

# The arguments of Python that run a job's command.
JOB_PROGRAM = ("-m", "umamba.cli.job")

_LONGEST_REASON = 500
_CORES = 8  # some of which augment or read cases
_GIB_PER_CORE = 1.0
_BASE_GIB = 8.0


@dataclass(frozen=True)
class Resources:
    """Needs of a job; `None` leaves one to the executor.

    Attributes:
        memory_gib: Memory of the machine, not of its GPU.
        hours: Time from start to end, if it is not interrupted.
        cores: Number of cores.
        gpus: Number of GPUs.
    """

    memory_gib: float | None = None
    hours: float | None = None
    cores: int | None = None
    gpus: int = 0

    @classmethod
    def of_training(
        cls, n_gpus: int = 0, more_gib: float = 0.0, hours: float | None = None
    ) -> "Resources":
        """Return what a training or prediction needs, with its data and its helpers.

        Args:
            n_gpus: Number of GPUs.
            more_gib: Memory for the network where that is not a GPU's.
            hours: Time that it takes.
        """
        return cls(_BASE_GIB + _CORES * _GIB_PER_CORE + more_gib, hours, _CORES, n_gpus)

    @classmethod
    def largest(cls, needs: Iterable["Resources"]) -> "Resources":
        """Return what is enough for each of some needs."""
        known = list(needs)

        def most(name: str) -> Any:
            values = (getattr(need, name) for need in known)
            return max((value for value in values if value is not None), default=None)

        return cls(most("memory_gib"), most("hours"), most("cores"), most("gpus") or 0)


@dataclass(frozen=True)
class Job:
    """One command of ours to run.

    Attributes:
        name: Its name, unique among the jobs of a call.
        command: The arguments of `umamba`.
        log: File that its output is appended to.
        resources: What it needs.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    resources: Resources = Resources()


@dataclass(frozen=True)
class Event:
    """The state of a job: it has `started`, is `running` or `waiting`, or has `ended`.

    Attributes:
        job: The job.
        kind: One of these words.
        exit_code: How it ended; negative is the signal that ended it.
        reason: Why it waits or ended, where the executor knows more than its output says.
    """

    job: Job
    kind: str
    exit_code: int | None = None
    reason: str | None = None


@runtime_checkable
class Executor(Protocol):
    """An interface for running jobs, here or elsewhere.

    Jobs are independent of each other, and write to places that this process can read: nnU-Net's
    folders, the results and the logs. A job that is asked to stop (SIGTERM) saves and exits with
    code 75.
    """

    def run(self, jobs: Sequence[Job], stop: StopRequest) -> Generator[Event, None, None]:
        """Run jobs in the order given.

        Args:
            jobs: The jobs.
            stop: Once it has a reason, no more jobs begin. Jobs that need this process are asked
                to stop and waited for; those of a cluster may be left to it.

        Yields:
            `started` and `ended` for each job that was begun, and `running` or `waiting` now and
            then in between. Closing the iterator ends all jobs that need this process.

        Raises:
            UMambaError: If no job can run.
        """
        ...


def why_it_failed(event: Event) -> str:
    """Return why a job failed, as its executor or the last line of its output says."""
    if event.reason is not None:
        return event.reason
    code = event.exit_code or 0
    if code < 0:
        hint = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
        return f"ended by signal {-code}{hint}"
    try:
        lines = event.job.log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return re.sub(r"^umamba \w+: ", "", said)[-_LONGEST_REASON:] or f"exit code {code}"
