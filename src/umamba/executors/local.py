"""Jobs in processes on this machine, one per worker."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from umamba.errors import UMambaError
from umamba.executors.jobs import JOB_PROGRAM, Event, Job
from umamba.system.environment import child_environment, setting
from umamba.system.interruption import StopRequest
from umamba.system.limits import available_cores

__all__ = ["LocalExecutor", "Worker", "local_workers"]

_NOT_STARTED = 126  # as in shells


@dataclass(frozen=True)
class Worker:
    """A part of this machine that runs one job at a time.

    Args:
        cores: The cores that it may use; `None` is all.
        gpu: The device reserved for it, as named in CUDA_VISIBLE_DEVICES.
    """

    cores: frozenset[int] | None = None
    gpu: str | None = None

    @property
    def n_threads(self) -> int:
        """Return the number of threads of a training on these cores; one if it uses a GPU."""
        if self.gpu is not None:
            return 1
        return available_cores() if self.cores is None else len(self.cores)


def local_workers(device: str, n_workers: int | None, n_gpus: int) -> list[Worker]:
    """Divide this machine: a worker per GPU, or a number of them that share the cores evenly.

    Args:
        device: Type of the device that trains.
        n_workers: Number of workers; `None` is one per GPU, or one without GPUs.
        n_gpus: Number of GPUs.

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
    """An executor that runs jobs in processes on this machine, one per worker.

    Each process has its own session, so that a Ctrl-C in the terminal reaches it only through this
    process. If this process is killed, they save and end.

    Args:
        workers: The workers.
        program: The arguments of Python that run a job's command.
        interval: Seconds between looks at the jobs.
    """

    workers: Sequence[Worker]
    program: tuple[str, ...] = JOB_PROGRAM
    interval: float = 0.5
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
                started = self._start(waiting)  # before others examine jobs that have ended
                yield from ended
                yield from started
                if not self._running and not waiting:
                    return
                yield from [Event(job, "running") for job, _ in self._running.values()]
                time.sleep(self.interval)
        finally:
            self._kill()

    def _start(self, waiting: "deque[Job]") -> list[Event]:
        events = []
        for i, worker in enumerate(self.workers):
            if i not in self._running and waiting:
                job = waiting.popleft()
                events.append(Event(job, "started"))
                try:
                    self._running[i] = (job, _start(self.program, job, worker))
                except OSError as error:  # running jobs must not end with it
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
        """End remaining jobs, with all processes that they have begun."""
        for _, process in self._running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._running.clear()


def _start(program: Sequence[str], job: Job, worker: Worker) -> "subprocess.Popen[bytes]":
    job.log.parent.mkdir(parents=True, exist_ok=True)
    gpu = {} if worker.gpu is None else {"CUDA_VISIBLE_DEVICES": worker.gpu}
    with job.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *program, *job.command],
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
