"""Run the trainings of a comparison: what a cluster has to offer, and workers on this machine."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from umamba.errors import UMambaError
from umamba.system.environment import child_environment, setting
from umamba.system.interruption import StopRequest
from umamba.system.limits import available_cores

__all__ = ["Event", "Executor", "Job", "LocalExecutor", "Worker", "local_workers"]

_POLL_SECONDS = 0.5
_NOT_STARTED = 126  # as shells have it

_CHILD = ("-m", "umamba.cli.job")


@dataclass(frozen=True)
class Job:
    """One command of ours to run.

    Args:
        name: Name of the training.
        command: The arguments of `umamba`.
        log: Where its output goes, after what is there.
    """

    name: str
    command: tuple[str, ...]
    log: Path


@dataclass(frozen=True)
class Event:
    """What has become of a job: it has `started`, is `running`, or has `ended` with a code."""

    job: Job
    kind: str
    exit_code: int | None = None


@runtime_checkable
class Executor(Protocol):
    """What runs jobs, here or elsewhere.

    Jobs are independent of each other, and write where this process can read: nnU-Net's folders
    and the logs. A job that is asked to stop (SIGTERM) saves and ends with 75.
    """

    def run(self, jobs: Sequence[Job], stop: StopRequest) -> Generator[Event, None, None]:
        """Run jobs in the order given.

        Args:
            jobs: The jobs.
            stop: Once it has a reason, no job is begun any more, and those that run are asked
                to stop and waited for.

        Yields:
            `started` and `ended` of each job that was begun, and `running` now and then between.
            Once closed, it leaves no job behind.
        """
        ...


@dataclass(frozen=True)
class Worker:
    """A part of this machine that runs one job at a time.

    Args:
        cores: The cores that it may use; `None` is all.
        gpu: The device that it alone uses, as CUDA_VISIBLE_DEVICES names it.
    """

    cores: frozenset[int] | None = None
    gpu: str | None = None

    @property
    def n_threads(self) -> int:
        """Return the threads of a training on these cores; beside a GPU it needs one."""
        if self.gpu is not None:
            return 1
        return available_cores() if self.cores is None else len(self.cores)


def local_workers(device: str, n_workers: int | None, n_gpus: int) -> list[Worker]:
    """Divide this machine: a worker per GPU, or a number of them that share the cores evenly.

    Args:
        device: Type of the device that trains.
        n_workers: How many workers; `None` is one per GPU, or one.
        n_gpus: How many GPUs there are.

    Raises:
        UMambaError: If there are fewer GPUs or cores than workers.
    """
    most = n_gpus if device == "cuda" else available_cores()
    n_workers = n_workers or (most if device == "cuda" else 1)
    if n_workers > most:
        what = "GPUs" if device == "cuda" else "cores"
        msg = f"--workers {n_workers} is more than the {what} here, {most}; give {most} or fewer"
        raise UMambaError(msg)
    if device == "cuda":
        visible = setting("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(i) for i in range(n_gpus)]
        return [Worker(gpu=name.strip()) for name in names[:n_workers]]
    if n_workers == 1 or not hasattr(os, "sched_getaffinity"):
        return [Worker() for _ in range(n_workers)]
    cores = sorted(os.sched_getaffinity(0))
    return [Worker(frozenset(cores[i::n_workers])) for i in range(n_workers)]


@dataclass
class LocalExecutor:
    """Run jobs in processes of this machine, one per worker.

    Each is a session of its own, so that a Ctrl-C in the terminal reaches it through us only. If
    this process is killed, they save and end.
    """

    workers: Sequence[Worker]
    _running: dict[int, tuple[Job, "subprocess.Popen[bytes]"]] = field(
        default_factory=dict, init=False
    )

    def run(self, jobs: Sequence[Job], stop: StopRequest) -> Generator[Event, None, None]:
        """Run jobs in the order given; see `Executor`."""
        waiting, asked = deque(jobs), False
        try:
            while True:
                ended = self._reap()
                if stop.reason() is not None:
                    waiting.clear()
                    if not asked:
                        self._signal(signal.SIGTERM)
                    asked = True
                started = self._start(waiting)  # before others look at what has ended
                yield from ended
                yield from started
                if not self._running and not waiting:
                    return
                yield from [Event(job, "running") for job, _ in self._running.values()]
                time.sleep(_POLL_SECONDS)
        finally:
            self._kill()

    def _start(self, waiting: "deque[Job]") -> list[Event]:
        events = []
        for i, worker in enumerate(self.workers):
            if i not in self._running and waiting:
                job = waiting.popleft()
                events.append(Event(job, "started"))
                try:
                    self._running[i] = (job, _start(job, worker))
                except OSError as error:  # those that run are not to end with it
                    sys.stderr.write(f"{job.name} cannot be started: {error}\n")
                    events.append(Event(job, "ended", _NOT_STARTED))
        return events

    def _reap(self) -> list[Event]:
        events = []
        for i, (job, process) in list(self._running.items()):
            code = process.poll()
            if code is not None:
                del self._running[i]
                events.append(Event(job, "ended", code))
        return events

    def _signal(self, number: signal.Signals) -> None:
        for _, process in self._running.values():
            process.send_signal(number)

    def _kill(self) -> None:
        """End what is left, with the processes that it has begun."""
        for _, process in self._running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._running.clear()


def _start(job: Job, worker: Worker) -> "subprocess.Popen[bytes]":
    job.log.parent.mkdir(parents=True, exist_ok=True)
    gpu = {} if worker.gpu is None else {"CUDA_VISIBLE_DEVICES": worker.gpu}
    with job.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *_CHILD, *job.command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=child_environment(**gpu),
            start_new_session=True,
        )
    if worker.cores is not None:
        with suppress(ProcessLookupError):
            os.sched_setaffinity(process.pid, worker.cores)
    return process
