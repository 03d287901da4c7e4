"""Jobs of a comparison on a cluster: shown, submitted, looked at, or cancelled."""

from collections.abc import Callable, Mapping
from pathlib import Path

from umamba.comparison.runs.calls import asked_by
from umamba.comparison.runs.opening import comparing, open_comparison
from umamba.comparison.runs.places import PLACES, slurm_executor
from umamba.comparison.runs.preparing import jobs_of, write_cells
from umamba.comparison.runs.progress import table
from umamba.comparison.runs.requests import CompareRequest
from umamba.comparison.runs.state import Comparison
from umamba.comparison.runs.training_states import TrainingState
from umamba.errors import UMambaError
from umamba.executors.slurm.executor import SlurmExecutor
from umamba.nnunet.paths import Paths

__all__ = ["MANAGED"]


def _print_jobs(request: CompareRequest, paths: Paths) -> str:
    """Return the scripts that would be submitted, each with its jobs."""
    comparison, slurm = _opened(request, paths, dry=True)
    shown = []
    for script, jobs in slurm.submission.scripts(list(jobs_of(comparison))):
        names = "".join(f"#   {index}: {job.name}\n" for index, job in enumerate(jobs))
        shown.append(f"{script}\n# The jobs of this array:\n{names}")
    return "\n".join(shown) or "nothing is left to do\n"


def _detach(request: CompareRequest, paths: Paths) -> str:
    """Submit what is not in the queue yet, and leave it to Slurm."""
    output = _asked_output(request, paths)
    with comparing(output):
        comparison, slurm = _opened(request, paths, dry=False)
        jobs = jobs_of(comparison)
        write_cells(comparison, jobs.values())
        slurm.submit(list(jobs))
    if not jobs:
        return "nothing is left to do; the same command without --detach writes the results\n"
    return (
        f"{len(jobs)} jobs are with Slurm; the same command shows them with --status, ends them "
        "with --cancel, and without --detach waits for them and writes the results\n"
    )


def _status(request: CompareRequest, paths: Paths) -> str:
    """Return the table of trainings, with what Slurm says of unfinished ones."""
    comparison, slurm = _opened(request, paths, dry=True)
    queued = slurm.states()
    waits: dict[str, int] = {}
    for training, state in comparison.states.items():
        job = queued.get(str(training))
        if job is not None and state.status != "done":
            status = "pending" if job.is_waiting else "running"
            comparison.states[training] = TrainingState(status)
            if job.is_waiting:
                waits[job.reason] = waits.get(job.reason, 0) + 1
    reasons = [f"{count} wait, says Slurm: {reason}" for reason, count in waits.items()]
    failed = [f"{t} failed: {s.reason}" for t, s in comparison.states.items() if s.reason]
    return "".join(f"{line}\n" for line in [*table(comparison), *reasons, *failed])


def _cancel(request: CompareRequest, paths: Paths) -> str:
    """Cancel the jobs of this comparison, and no others."""
    slurm = _slurm(request, _asked_output(request, paths))
    return f"{slurm.cancel()} jobs cancelled; what they had saved is kept\n"


def _opened(
    request: CompareRequest, paths: Paths, *, dry: bool
) -> tuple[Comparison, SlurmExecutor]:
    place = PLACES[request.executor](request)
    asked = asked_by(request, paths, place.device)
    slurm = _slurm(request, asked.output)
    return open_comparison(asked, paths, place.n_threads, dry=dry, elsewhere=True), slurm


def _asked_output(request: CompareRequest, paths: Paths) -> Path:
    # The device matters to trainings only.
    return asked_by(request, paths, "cpu").output


def _slurm(request: CompareRequest, output: Path) -> SlurmExecutor:
    if request.executor != "slurm":
        msg = "there are jobs only on a cluster; give --executor slurm as well"
        raise UMambaError(msg)
    return slurm_executor(request, output)


# What `umamba compare` can do with jobs, by the name of the option.
MANAGED: Mapping[str, Callable[[CompareRequest, Paths], str]] = {
    "print-jobs": _print_jobs,
    "detach": _detach,
    "status": _status,
    "cancel": _cancel,
}
