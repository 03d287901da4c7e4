"""Places where jobs run, by the names of `--executor`."""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from umamba.executors import local
from umamba.executors.jobs import Executor
from umamba.executors.ray import RayExecutor, largest_node
from umamba.executors.requests import ExecutorRequest
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
        executor: Returns what runs jobs, given a folder for scripts and notes, on a disk that all
            machines share.
        device: Type of the device that trains there.
        n_threads: Threads of a training there on a CPU.
        n_at_a_time: How many jobs run at a time; `None` if that is not known.
        is_elsewhere: Whether it is on other machines, so that nothing here is measured.
        stage: Folder for copies of data there, unless the request names one.
    """

    executor: Callable[[Path], Executor]
    device: str
    n_threads: int
    n_at_a_time: int | None
    is_elsewhere: bool
    stage: str | None = None


def _here(request: ExecutorRequest) -> Place:
    device = pick_device(request.device)
    workers = local.local_workers(device, request.workers, torch.cuda.device_count())

    def executor(_: Path) -> Executor:
        return local.LocalExecutor(workers)

    return Place(executor, device, workers[0].n_threads, len(workers), is_elsewhere=False)


def _slurm(request: ExecutorRequest) -> Place:
    site = _site(request)
    device = request.device or ("cuda" if _asks_for_gpus(site) else "cpu")
    if request.device is None and device == "cpu":
        why = (
            f"{request.slurm} asks for no GPU" if request.slurm else "no --slurm FILE asks for GPUs"
        )
        _say_once(f"jobs compute on the CPU: {why}; give gres in that file, or -device cuda")
    most = request.max_jobs or site.max_jobs
    return Place(
        lambda folder: slurm_executor(request, folder),
        device,
        site.cpus or min(_DEFAULT_CORES, available_cores()),
        most,
        is_elsewhere=True,
        stage=site.stage,
    )


def _asks_for_gpus(site: Site) -> bool:
    """Return whether the jobs of a site get GPUs; names of partitions and nodes say nothing."""
    if any(option.startswith(("--gpus", "-G")) for option in site.options):
        return True
    given = [re.sub(r"--gres[=\s]+", "", o) for o in site.options if o.startswith("--gres")]
    resources = ",".join([site.gres or "", *given]).split(",")
    return any(re.match(r"(gres/)?(gpu|mps|shard)\b", resource) for resource in resources)


@cache
def _say_once(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _ray(request: ExecutorRequest) -> Place:
    address = request.ray_address or "auto"
    node = largest_node(address)
    return Place(
        lambda _: RayExecutor(address, request.max_jobs),
        request.device or ("cuda" if node.gpus else "cpu"),
        min(_DEFAULT_CORES, node.cores or 1),
        request.max_jobs,
        is_elsewhere=True,
    )


def slurm_executor(request: ExecutorRequest, folder: Path) -> SlurmExecutor:
    """Return what runs, or has run, jobs on Slurm.

    Args:
        request: The request.
        folder: Folder for scripts and notes.

    Raises:
        UMambaError: If the site's file cannot be used.
    """
    asks = _ask_to_cancel if sys.stdin.isatty() and sys.stderr.isatty() else None
    return SlurmExecutor(_site(request), folder / "slurm", request.max_jobs, asks)


def _site(request: ExecutorRequest) -> Site:
    return Site() if request.slurm is None else read_site(Path(request.slurm))


def _ask_to_cancel(n_jobs: int) -> bool:
    question = f"{n_jobs} jobs are with Slurm: leave them (default), or cancel them? [l/c] "
    return ask_on_terminal(question).lower().startswith("c")


# What `--executor` may name.
PLACES: Mapping[str, Callable[[ExecutorRequest], Place]] = {
    "local": _here,
    "slurm": _slurm,
    "ray": _ray,
}
