"""Places where a comparison's jobs run, by the names of `--executor`."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from umamba.comparison.runs.requests import CompareRequest
from umamba.executors import local
from umamba.executors.jobs import Executor
from umamba.executors.slurm.executor import SlurmExecutor
from umamba.executors.slurm.site import Site, read_site
from umamba.nnunet.training.folds import pick_device
from umamba.system.limits import available_cores
from umamba.system.terminal import ask_on_terminal

__all__ = ["PLACES", "Place", "slurm_executor"]

_DEFAULT_CORES = 8


@dataclass(frozen=True)
class Place:
    """A place where jobs run.

    Attributes:
        executor: Returns what runs jobs, given the folder of results.
        device: Type of the device that trains there.
        n_threads: Threads of a training there on a CPU.
        n_at_a_time: How many jobs run at a time; `None` if that is not known.
        is_elsewhere: Whether it is on other machines, so that nothing here is measured.
    """

    executor: Callable[[Path], Executor]
    device: str
    n_threads: int
    n_at_a_time: int | None
    is_elsewhere: bool


def _here(request: CompareRequest) -> Place:
    device = pick_device(request.device)
    workers = local.local_workers(device, request.workers, torch.cuda.device_count())

    def executor(_: Path) -> Executor:
        return local.LocalExecutor(workers)

    return Place(executor, device, workers[0].n_threads, len(workers), is_elsewhere=False)


def _slurm(request: CompareRequest) -> Place:
    site = _site(request)
    has_gpu = "gpu" in " ".join([site.gres or "", *site.options])
    most = request.max_jobs or site.max_jobs
    return Place(
        lambda output: slurm_executor(request, output),
        request.device or ("cuda" if has_gpu else "cpu"),
        site.cpus or min(_DEFAULT_CORES, available_cores()),
        most,
        is_elsewhere=True,
    )


def slurm_executor(request: CompareRequest, output: Path) -> SlurmExecutor:
    """Return what runs, or has run, a comparison's jobs on Slurm.

    Args:
        request: The request.
        output: Folder of the results.

    Raises:
        UMambaError: If the site's file cannot be used.
    """
    asks = _ask_to_cancel if sys.stdin.isatty() and sys.stderr.isatty() else None
    return SlurmExecutor(_site(request), output / "slurm", request.max_jobs, asks)


def _site(request: CompareRequest) -> Site:
    return Site() if request.slurm is None else read_site(Path(request.slurm))


def _ask_to_cancel(n_jobs: int) -> bool:
    question = f"{n_jobs} jobs are with Slurm: leave them (default), or cancel them? [l/c] "
    return ask_on_terminal(question).lower().startswith("c")


# What `--executor` may name.
PLACES: Mapping[str, Callable[[CompareRequest], Place]] = {"local": _here, "slurm": _slurm}
