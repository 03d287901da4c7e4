"""Jobs of a comparison: looked at, and on a cluster shown, submitted, or cancelled."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from umamba.comparison.runs.calls import asked_by
from umamba.comparison.runs.live import hours_of_all, look_at
from umamba.comparison.runs.opening import comparing, open_comparison
from umamba.comparison.runs.preparing import jobs_of, write_cells
from umamba.comparison.runs.progress import format_hours, table
from umamba.comparison.runs.requests import CompareRequest
from umamba.comparison.runs.state import Comparison
from umamba.comparison.runs.training_states import TrainingState
from umamba.errors import ResumableInterruptError
from umamba.executors.jobs import Event, Job, why_it_failed
from umamba.executors.slurm.executor import SlurmExecutor
from umamba.nnunet.managing import cancel_jobs, detach_jobs, shown_scripts, slurm_of
from umamba.nnunet.paths import Paths
from umamba.nnunet.places import PLACES
from umamba.system.run_lock import is_at_work

__all__ = ["MANAGED"]


def _print_jobs(request: CompareRequest, paths: Paths) -> str:
    """Return the scripts that would be submitted, each with its jobs."""
    comparison, slurm = _opened(request, paths, dry=True)
    return shown_scripts(slurm, list(jobs_of(comparison)))


def _detach(request: CompareRequest, paths: Paths) -> str:
    """Submit what is not in the queue yet, and leave it to Slurm."""
    output = _asked_output(request, paths)
    with comparing(output):
        comparison, slurm = _opened(request, paths, dry=False)
        jobs = jobs_of(comparison)
        write_cells(comparison, jobs.values())
        return detach_jobs(slurm, list(jobs))


def _status(request: CompareRequest, paths: Paths) -> str:
    """Return the table of trainings, with what Slurm says of unfinished ones."""
    if request.executor != "slurm":
        return _local_status(request, paths)
    comparison, slurm = _opened(request, paths, dry=True)
    _note_failures(comparison, slurm.ended())
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
    n_at_a_time = min(len(queued), slurm.throttle or len(queued))
    return _shown(comparison, reasons, n_at_a_time=n_at_a_time)


def _local_status(request: CompareRequest, paths: Paths) -> str:
    """Return the table of trainings; one whose folder is locked is running."""
    place = PLACES[request.executor](request)
    asked = asked_by(request, paths, place.device, place.stage)
    comparison = open_comparison(asked, paths, place.n_threads, dry=True, elsewhere=True)
    for training, state in comparison.states.items():
        if state.status != "done" and is_at_work(comparison.folder(training)):
            comparison.states[training] = TrainingState("running")
    return _shown(comparison, [], n_at_a_time=place.n_at_a_time or len(comparison.asked))


def _shown(comparison: Comparison, reasons: Sequence[str], *, n_at_a_time: int) -> str:
    found = look_at(comparison)
    lines = table(comparison, found)
    if any(one.status not in ("done", "failed") for one in found):
        hours = hours_of_all(found, n_at_a_time)
        lines.append(f"about {format_hours(hours)} left, {max(n_at_a_time, 1)} at a time")
    if comparison.external is not None:
        lines.append(f"{len(comparison.tested)} networks and ensembles have predicted the test set")
    failed = [f"{t} failed: {s.reason}" for t, s in comparison.states.items() if s.reason]
    return "".join(f"{line}\n" for line in [*lines, *reasons, *failed])


def _note_failures(comparison: Comparison, ended: Mapping[str, int]) -> None:
    """Note the trainings whose jobs have failed while nobody waited for them."""
    for training in comparison.states:
        name = str(training)
        if ended.get(name, 0) not in (0, ResumableInterruptError.EXIT_CODE):
            end = Event(Job(name, (), comparison.log(name)), "ended", ended[name])
            comparison.states[training] = TrainingState("failed", reason=why_it_failed(end))


def _cancel(request: CompareRequest, paths: Paths) -> str:
    """Cancel the jobs of this comparison, and no others."""
    return cancel_jobs(slurm_of(request, _asked_output(request, paths)))


def _opened(
    request: CompareRequest, paths: Paths, *, dry: bool
) -> tuple[Comparison, SlurmExecutor]:
    place = PLACES[request.executor](request)
    asked = asked_by(request, paths, place.device, place.stage)
    slurm = slurm_of(request, asked.output)
    return open_comparison(asked, paths, place.n_threads, dry=dry, elsewhere=True), slurm


def _asked_output(request: CompareRequest, paths: Paths) -> Path:
    # The device matters to trainings only.
    return asked_by(request, paths, "cpu").output


# What `umamba compare` can do with jobs, by the name of the option.
MANAGED: Mapping[str, Callable[[CompareRequest, Paths], str]] = {
    "print-jobs": _print_jobs,
    "detach": _detach,
    "status": _status,
    "cancel": _cancel,
}
