"""An executor that has a Ray cluster run jobs, each as a task of its own."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from umamba.errors import ResumableInterruptError, UMambaError
from umamba.executors.jobs import JOB_PROGRAM, Event, Job, Resources
from umamba.system.environment import child_environment, portable_settings
from umamba.system.fencing import ATTEMPT_VARIABLE, JOB_VARIABLE
from umamba.system.interruption import StopRequest
from umamba.system.limits import CORES_VARIABLE

__all__ = ["RayExecutor", "largest_node"]

_GIB = 2**30
_MOST_LOST = 3  # times that a job's node or worker may die
_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_TO_CONNECT = 10
_INTERRUPTED = ResumableInterruptError.EXIT_CODE


@dataclass
class _Task:
    """A job that was given to Ray."""

    job: Job
    touched: int  # when its log was changed last, before it was given
    is_running: bool = False


@dataclass
class RayExecutor:
    """An executor that has Ray run jobs, on whichever node has what they need.

    A job whose node dies starts again elsewhere. Jobs end with this process, as Ray's tasks do;
    what they had saved is kept.

    Args:
        address: Address of the cluster; `auto` is the one that this machine belongs to.
        max_jobs: Most jobs that run at a time; `None` means as many as there is room for.
        program: The arguments of Python that run a job's command.
        interval: Seconds between looks at the jobs.
    """

    address: str = "auto"
    max_jobs: int | None = None
    program: tuple[str, ...] = JOB_PROGRAM
    interval: float = 0.5
    _tasks: dict[Any, _Task] = field(default_factory=dict, init=False)  # by Ray's references
    _lost: Counter[str] = field(default_factory=Counter, init=False)
    _begun: set[str] = field(default_factory=set, init=False)
    _attempts: Counter[str] = field(default_factory=Counter, init=False)
    _submission: int = field(default_factory=time.time_ns, init=False)

    def run(self, jobs: Sequence[Job], stop: StopRequest) -> Generator[Event, None, None]:
        """Run jobs in the order given; see `Executor`."""
        waiting, asked = deque(jobs), False
        with _connected(self.address) as ray:
            most = _largest(ray)
            try:
                while waiting or self._tasks:
                    if stop.reason() is not None:
                        waiting.clear()
                        for reference in () if asked else self._tasks:
                            ray.cancel(reference)
                        asked = True
                    while waiting and len(self._tasks) < (self.max_jobs or len(jobs)):
                        self._submit(ray, waiting.popleft(), most)
                    yield from self._look(ray, waiting, asked=asked)
            finally:
                for reference in self._tasks:
                    ray.cancel(reference, force=True)
                self._tasks.clear()

    def _submit(self, ray: Any, job: Job, most: Resources) -> None:
        memory = job.resources.memory_gib or 0.0
        needs = {
            "num_cpus": min(job.resources.cores or 1, most.cores or 1),
            "num_gpus": job.resources.gpus,
            # An estimate that no node meets would be waited for.
            "memory": int(memory * _GIB) if memory <= (most.memory_gib or 0.0) else 0,
        }
        self._attempts[job.name] += 1
        attempt = f"{self._submission}.{self._attempts[job.name]}"
        given = {
            JOB_VARIABLE: f"the job of {job.log}",
            ATTEMPT_VARIABLE: attempt,
            CORES_VARIABLE: str(needs["num_cpus"]),
        }
        task = ray.remote(_run_job).options(name=job.name, max_retries=0, **needs)
        arguments, variables = (*self.program, *job.command), portable_settings() | given
        touched = _touched(job.log)
        self._tasks[task.remote(arguments, job.log, variables)] = _Task(job, touched)

    def _look(self, ray: Any, waiting: "deque[Job]", *, asked: bool) -> Iterator[Event]:
        """Wait for a moment, and yield how the jobs are."""
        references = list(self._tasks)
        ready, _ = ray.wait(references, timeout=self.interval)
        if ready:
            ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
        for reference in references:
            task = self._tasks[reference]
            job = task.job
            task.is_running = task.is_running or _touched(job.log) != task.touched
            if task.is_running and job.name not in self._begun:
                self._begun.add(job.name)
                yield Event(job, "started")
            if reference not in ready:
                yield Event(job, "running" if task.is_running else "waiting")
                continue
            del self._tasks[reference]
            end = self._end(ray, job, reference)
            if end.exit_code == _INTERRUPTED and not asked:
                waiting.append(job)  # it goes on in another turn
                continue
            if job.name not in self._begun:
                if end.exit_code == _INTERRUPTED:
                    continue  # cancelled before it began
                self._begun.add(job.name)  # it has, though its log does not show it
                yield Event(job, "started")
            yield end

    def _end(self, ray: Any, job: Job, reference: Any) -> Event:
        """Return how a job has ended; one whose node has died counts as interrupted."""
        try:
            return Event(job, "ended", ray.get(reference))
        except ray.exceptions.TaskCancelledError:
            return Event(job, "ended", _INTERRUPTED)
        except ray.exceptions.RayTaskError as error:
            why = str(error.cause if hasattr(error, "cause") else error).strip().splitlines()[-1]
            msg = f"a node of Ray cannot run jobs of umamba: {why}; install umamba there, as here"
            raise UMambaError(msg) from None
        except ray.exceptions.RayError as error:
            self._lost[job.name] += 1
            if self._lost[job.name] < _MOST_LOST:
                return Event(job, "ended", _INTERRUPTED)
            why = str(error).strip().splitlines()[0]
            return Event(job, "ended", 1, f"Ray has lost it {_MOST_LOST} times: {why}")


def largest_node(address: str) -> Resources:
    """Return what the largest node has: by its GPUs, then its cores, then its memory.

    Raises:
        UMambaError: If there is no such cluster, or Ray is not installed.
    """
    with _connected(address) as ray:
        return _largest(ray)


def _largest(ray: Any) -> Resources:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus, cores, memory = max(
        [node.get(kind, 0.0) for kind in ("GPU", "CPU", "memory")] for node in nodes
    )
    return Resources(memory / _GIB, cores=int(cores), gpus=int(gpus))


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Connect to a cluster, unless this process is connected, and yield the module `ray`."""
    try:
        import ray
    except ImportError:
        msg = "--executor ray needs Ray: pip install 'umamba[ray]', on all its nodes"
        raise UMambaError(msg) from None
    if ray.is_initialized():
        yield ray
        return
    handler = signal.getsignal(signal.SIGTERM)  # Ray sets its own, which ends this process
    try:
        host, _, port = address.rpartition(":")
        if port.isdecimal() and "://" not in address:  # else Ray would try for minutes
            socket.create_connection((host, int(port)), _SECONDS_TO_CONNECT).close()
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        why = str(error).strip().splitlines()[0]
        msg = f"there is no Ray at {address}: {why}; start it, or give --ray-address HOST:PORT"
        raise UMambaError(msg) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


def _touched(log: Path) -> int:
    """Return when a log was changed last; 0 if there is none."""
    try:
        return log.stat().st_mtime_ns
    except OSError:
        return 0


def _run_job(arguments: Sequence[str], log: Path, variables: dict[str, str]) -> int:
    """Run a job's process on a node, and return its exit code; its log shows that it has begun."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        os.utime(log)
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=child_environment(**variables),
            start_new_session=True,
        )
    try:
        while process.poll() is None:  # `wait` would not hear Ray
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    except KeyboardInterrupt:  # this is how Ray asks a task to stop
        process.terminate()
    return process.wait()
