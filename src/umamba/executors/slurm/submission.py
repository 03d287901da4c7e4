"""Submission of jobs in arrays, each job once, however often its submitter died."""

import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from umamba.errors import ResumableInterruptError, UMambaError, unknown_name
from umamba.executors.jobs import Job, Resources
from umamba.executors.slurm.batches import SCRIPT, Batch, read_batches
from umamba.executors.slurm.commands import QueuedJob, SlurmCommands
from umamba.executors.slurm.script import job_options, job_script, output_option
from umamba.executors.slurm.site import Site
from umamba.system.atomic_files import make_folder, write_whole

__all__ = ["Place", "Submission", "Submitted"]

Place = tuple[str, int]  # name of an array, and number in it

_INTERRUPTED = ResumableInterruptError.EXIT_CODE


@dataclass
class Submitted:
    """A job that was submitted.

    Attributes:
        job: The job.
        batch: Its array.
        index: Its number in the array.
        is_started: Whether it was seen to run.
        unseen: How many times in a row it was not in the queue.
    """

    job: Job
    batch: Batch
    index: int
    is_started: bool = False
    unseen: int = 0

    @property
    def place(self) -> Place:
        """Return the name of its array, and its number there."""
        return self.batch.name, self.index


@dataclass(frozen=True)
class Submission:
    """The submission of jobs, and of no job that is in the queue already.

    Args:
        site: What the site needs.
        folder: Folder of the batches.
        commands: Slurm's commands.
        max_jobs: Most jobs that run at a time; `None` means no limit.
        program: The arguments of Python that run a job's command.
    """

    site: Site
    folder: Path
    commands: SlurmCommands
    max_jobs: int | None
    program: tuple[str, ...]

    def place(self, jobs: Sequence[Job], *, tells: bool) -> list[Submitted]:
        """Find the jobs that were submitted before, and submit the others.

        Args:
            jobs: The jobs.
            tells: Whether those that have ended since somebody looked are found as well, to be
                told of; if not, they are submitted again. Interrupted ones always are.

        Raises:
            UMambaError: If Slurm refuses them or does not answer, or the queue has one of them
                with another command.
        """
        make_folder(self.folder)
        known = read_batches(self.folder, lambda said: sys.stderr.write(f"{said}\n"))
        queued = self.commands.queue(batch.name for batch in known)
        found = self._find({job.name: job for job in jobs}, known, queued, tells=tells)
        left = [job for job in jobs if job.name not in found]
        return [*found.values(), *chain.from_iterable(self.submit(left, queued))]

    def submit(self, jobs: Sequence[Job], queued: Iterable[QueuedJob]) -> Iterator[list[Submitted]]:
        """Submit jobs.

        Args:
            jobs: The jobs.
            queued: Earlier jobs of this folder, as squeue shows them.

        Yields:
            The jobs of each array, once Slurm has taken it.

        Raises:
            UMambaError: If Slurm refuses them, or does not answer.
        """
        previous = sorted({job.array for job in queued if job.is_live})
        for options, group in self._divided(jobs):
            batch = Batch.create(self.folder, group)
            write_whole(batch.folder / SCRIPT, self._script(batch.folder, group, options))
            # A throttle is that of one array: the next array waits for those before.
            waits = previous and self.max_jobs is not None
            after = [f"--dependency=afterany:{':'.join(previous)}"] if waits else []
            array = self._submit_batch(batch, after)
            batch, previous = batch.submitted(array), [array]
            yield [Submitted(job, batch, index) for index, job in enumerate(group)]

    def scripts(self, jobs: Sequence[Job]) -> list[tuple[str, list[Job]]]:
        """Return the scripts that would be submitted, each with its jobs; nothing is written.

        Raises:
            UMambaError: If Slurm does not answer.
        """
        return [
            (self._script(self.folder / f"umamba-{number}", group, options), group)
            for number, (options, group) in enumerate(self._divided(jobs), start=1)
        ]

    def _script(self, folder: Path, group: Sequence[Job], options: Iterable[str]) -> str:
        return job_script(self.site, self.program, folder, len(group), options, self.max_jobs)

    def _submit_batch(self, batch: Batch, options: Sequence[str]) -> str:
        script = batch.folder / SCRIPT
        try:
            return self.commands.submit(script, output_option(batch.folder), *options)
        except UMambaError as error:
            batch.give_up()  # Slurm may have taken it, and only the answer was lost
            msg = f"Slurm does not take the jobs: {error} (the script is {script})"
            raise UMambaError(msg) from None

    def _find(
        self,
        jobs: Mapping[str, Job],
        known: Sequence[Batch],
        queued: Sequence[QueuedJob],
        *,
        tells: bool,
    ) -> dict[str, Submitted]:
        """Find jobs by their names, and remove batches that are of no more use."""
        batches = [batch for batch in known if not batch.is_given_up]
        live = {(job.name, job.index) for job in queued if job.is_live}
        found: dict[str, Submitted] = {}
        for batch in self._settled(batches, queued):
            found |= {one.job.name: one for one in _found_in(batch, jobs, live, tells=tells)}
        used = {name for name, _ in live} | {one.batch.name for one in found.values()}
        for batch in known:
            if batch.array is not None and batch.name not in used:
                batch.remove()
        return found

    def _settled(self, batches: Iterable[Batch], queued: Sequence[QueuedJob]) -> list[Batch]:
        """Note the numbers of arrays whose submission nobody lived to hear of.

        An array that Slurm does not know may still reach it, from an sbatch that has outlived its
        parent. Such a batch is given up: its jobs end at once, whenever they start.
        """
        arrays = {job.name: job.array for job in queued}
        settled = []
        for batch in batches:
            if batch.array is not None:
                settled.append(batch)
            elif batch.name in arrays:
                settled.append(batch.submitted(arrays[batch.name]))
            else:
                batch.give_up()
                late = {job.array for job in self.commands.queue([batch.name]) if job.is_live}
                self.commands.cancel(sorted(late))
        return settled

    def _divided(self, jobs: Sequence[Job]) -> list[tuple[tuple[str, ...], list[Job]]]:
        """Divide jobs into arrays of the same needs, none larger than Slurm takes."""
        if not jobs:
            return []
        limit, most = self._time_limit(), self.commands.array_limit()
        grouped: dict[tuple[str, ...], list[Job]] = defaultdict(list)
        for job in jobs:
            grouped[job_options(self.site, job.resources, limit)].append(job)
        if self.max_jobs is not None:  # which only holds within an array
            enough = Resources.largest(job.resources for job in jobs)
            grouped = {job_options(self.site, enough, limit): list(jobs)}
        return [
            (options, group[first : first + most])
            for options, group in grouped.items()
            for first in range(0, len(group), most)
        ]

    def _time_limit(self) -> float | None:
        """Return the time limit of the partition, in hours.

        Raises:
            UMambaError: If there is no such partition.
        """
        known = {partition.name: partition for partition in self.commands.partitions()}
        named = [part for part in (self.site.partition or "").split(",") if part]
        unknown = [name for name in named if name not in known]
        if unknown:
            msg = f"{unknown_name('partition', unknown[0], known)}, in the file of --slurm"
            raise UMambaError(msg)
        used = [p for p in known.values() if p.name in named or (not named and p.is_default)]
        return min((p.hours for p in used if p.hours is not None), default=None)


def _found_in(
    batch: Batch, jobs: Mapping[str, Job], live: Collection[Place], *, tells: bool
) -> Iterator[Submitted]:
    """Find jobs in a batch, and forget the ends of those that are to be submitted again."""
    ended = batch.ended()
    for index, name in enumerate(batch.jobs):
        if name not in jobs:
            continue
        one = Submitted(jobs[name], batch, index)
        is_same = batch.has_command(index, one.job)
        if one.place in live and not is_same:
            msg = (
                f"{name} is in the queue with another command, see {batch.folder}; end it with "
                "--cancel, or give the same options as before"
            )
            raise UMambaError(msg)
        if one.place in live or (
            tells and is_same and ended.get(index, _INTERRUPTED) != _INTERRUPTED
        ):
            yield one
        elif index in ended:
            batch.forget_end(index)
