"""Jobs of a cluster, looked after from outside: shown, submitted, told of, or cancelled."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from umamba.errors import UMambaError
from umamba.executors.following import submitting
from umamba.executors.jobs import Job
from umamba.executors.requests import ExecutorRequest
from umamba.executors.slurm.executor import SlurmExecutor
from umamba.nnunet.places import slurm_executor

__all__ = ["MANAGED", "cancel_jobs", "detach_jobs", "shown_scripts", "slurm_of"]

Jobs = Callable[[], Sequence[Job]]


def slurm_of(request: ExecutorRequest, folder: Path) -> SlurmExecutor:
    """Return what runs, or has run, jobs that go on without this process.

    Args:
        request: The request.
        folder: Folder for scripts and notes.

    Raises:
        UMambaError: If the request asks for other ones.
    """
    if request.executor != "slurm":
        msg = "only jobs of Slurm go on without this process; give --executor slurm as well"
        raise UMambaError(msg)
    return slurm_executor(request, folder)


def shown_scripts(slurm: SlurmExecutor, jobs: Sequence[Job]) -> str:
    """Return the scripts that would be submitted, each with its jobs.

    Raises:
        UMambaError: If Slurm does not answer.
    """
    shown = []
    for script, its_jobs in slurm.submission.scripts(jobs):
        names = "".join(f"#   {index}: {job.name}\n" for index, job in enumerate(its_jobs))
        shown.append(f"{script}\n# The jobs of this array:\n{names}")
    return "\n".join(shown) or "nothing is left to do\n"


def detach_jobs(slurm: SlurmExecutor, jobs: Sequence[Job]) -> str:
    """Submit what is not in the queue yet, and leave it to Slurm.

    Raises:
        UMambaError: If Slurm refuses them, or does not answer.
    """
    slurm.submit(jobs)
    if not jobs:
        return "nothing is left to do; the same command without --detach gives the results\n"
    return (
        f"{len(jobs)} jobs are with Slurm; the same command shows them with --status, ends them "
        "with --cancel, and without --detach waits for them and gives the results\n"
    )


def cancel_jobs(slurm: SlurmExecutor) -> str:
    """Cancel the jobs of the same command, and no others.

    Raises:
        UMambaError: If Slurm does not answer.
    """
    return f"{slurm.cancel()} jobs cancelled; what they had saved is kept\n"


def _print_jobs(request: ExecutorRequest, folder: Path, jobs: Jobs) -> str:
    return shown_scripts(slurm_of(request, folder), jobs())


def _detach(request: ExecutorRequest, folder: Path, jobs: Jobs) -> str:
    slurm, left = slurm_of(request, folder), jobs()
    with submitting(folder):
        return detach_jobs(slurm, left)


def _status(request: ExecutorRequest, folder: Path, jobs: Jobs) -> str:
    queued = slurm_of(request, folder).states()
    lines = []
    for job in jobs():
        found = queued.get(job.name)
        state = "not in the queue" if found is None else f"{found.state.lower()} ({found.reason})"
        lines.append(f"{job.name}: {state}, log in {job.log}\n")
    return "".join(lines) or "nothing is left to do\n"


def _cancel(request: ExecutorRequest, folder: Path, _: Jobs) -> str:
    return cancel_jobs(slurm_of(request, folder))


# What commands can do with the jobs that are left to do, by the name of the option.
MANAGED: Mapping[str, Callable[[ExecutorRequest, Path, Jobs], str]] = {
    "print-jobs": _print_jobs,
    "detach": _detach,
    "status": _status,
    "cancel": _cancel,
}
