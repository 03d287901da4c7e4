"""An executor that has Slurm run jobs, and finds them again when it is run again."""

import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from umamba.errors import ResumableInterruptError, UMambaError
from umamba.executors.jobs import JOB_PROGRAM, Event, Job
from umamba.executors.slurm.batches import read_batches
from umamba.executors.slurm.commands import QueuedJob, SlurmCommands
from umamba.executors.slurm.script import NO_PACKAGE
from umamba.executors.slurm.site import Site
from umamba.executors.slurm.submission import Place, Submission, Submitted
from umamba.system.interruption import StopRequest

__all__ = ["SlurmExecutor"]

_MOST_LOST = 3  # times that a job may vanish without a word
_LOOKS_UNTIL_LOST = 3  # as a shared disk may show files late
_INTERRUPTED = ResumableInterruptError.EXIT_CODE
# These ends are not the job's fault; what gets no further is ended by its own count of starts.
_INTERRUPTS = {"NODE_FAIL", "PREEMPTED", "TIMEOUT"}
_SECONDS_BETWEEN_STOPS = 0.2
_NO_MEMORY = 137  # as of a process that the system kills, for want of memory
# Reasons to wait that nothing but the user or an administrator removes.
_TOO_LARGE = r"^(QOS|Assoc).*PerJob"
_FOR_EVER = {
    *("AccountNotAllowed", "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount"),
    *("InvalidQOS", "JobHeldAdmin", "JobHeldUser", "PartitionDown", "PartitionInactive"),
    *("PartitionNodeLimit", "PartitionTimeLimit", "QOSNotAllowed", "launch failed requeued held"),
}


@dataclass
class SlurmExecutor:
    """An executor that has Slurm run jobs, in arrays of those with the same needs.

    Jobs do not need this process. It may end at any time: another one with the same folder finds
    them in the queue, and submits none of them again.

    Args:
        site: What the site needs.
        folder: Folder for scripts and notes, on a disk that all nodes share.
        max_jobs: Most jobs that run at a time; `None` is as the site's file says.
        asks: Asks, after Ctrl-C, whether so many jobs are to be cancelled; `None` leaves them.
        commands: Slurm's commands.
        program: The arguments of Python that run a job's command.
    """

    site: Site
    folder: Path
    max_jobs: int | None = None
    asks: Callable[[int], bool] | None = None
    commands: SlurmCommands = field(default_factory=SlurmCommands)
    program: tuple[str, ...] = JOB_PROGRAM
    _lost: Counter[str] = field(default_factory=Counter, init=False)
    _to_submit: list[Job] = field(default_factory=list, init=False)
    _has_run_one: bool = field(default=False, init=False)
    _said: set[str] = field(default_factory=set, init=False)

    @property
    def submission(self) -> Submission:
        """Return what submits jobs."""
        return Submission(self.site, self.folder, self.commands, self.throttle, self.program)

    @property
    def throttle(self) -> int | None:
        """Return how many jobs run at a time at most; `None` means no limit."""
        return self.max_jobs or self.site.max_jobs

    def run(self, jobs: Sequence[Job], stop: StopRequest) -> Generator[Event, None, None]:
        """Run jobs; see `Executor`. After a stop they are left to Slurm, or cancelled."""
        followed = {one.place: one for one in self.submission.place(jobs, tells=True)}
        self._to_submit.clear()
        while followed or self._to_submit:
            try:
                queued = self.commands.queue({one.batch.name for one in followed.values()})
            except UMambaError as error:  # as when its daemon restarts
                self._say(f"Slurm does not answer ({error}); asking again")
            else:
                yield from self._tell(followed, queued)
            until = time.monotonic() + self.site.poll_seconds
            while (followed or self._to_submit) and time.monotonic() < until:
                reason = stop.reason()
                if reason is not None:
                    self._leave(followed.values(), reason)
                    return
                time.sleep(_SECONDS_BETWEEN_STOPS)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Submit the jobs that are not in the queue, and wait for none.

        Raises:
            UMambaError: If Slurm refuses them, or does not answer.
        """
        self.submission.place(jobs, tells=False)

    def states(self) -> dict[str, QueuedJob]:
        """Return the jobs in the queue by their names.

        Raises:
            UMambaError: If Slurm does not answer.
        """
        batches = {batch.name: batch for batch in read_batches(self.folder)}
        return {
            batches[queued.name].jobs[queued.index]: queued
            for queued in self.commands.queue(batches)
            if queued.is_live
        }

    def ended(self) -> dict[str, int]:
        """Return the exit codes of jobs that have ended since somebody looked, by their names."""
        return {
            batch.jobs[index]: code
            for batch in read_batches(self.folder)
            if not batch.is_given_up
            for index, code in batch.ended().items()
        }

    def cancel(self) -> int:
        """Cancel all jobs of this folder, and no others; return how many there were.

        Raises:
            UMambaError: If Slurm does not answer.
        """
        batches = read_batches(self.folder, self._say)
        for batch in batches:
            batch.give_up()  # what they leave word of now is no news: the next call starts anew
        queued = self.commands.queue(batch.name for batch in batches)
        live = [job for job in queued if job.is_live]
        self.commands.cancel(sorted({job.array for job in live}))
        return len(live)

    def _tell(
        self, followed: dict[Place, Submitted], queued: Sequence[QueuedJob]
    ) -> Generator[Event, None, None]:
        """Yield how the jobs are; those that have ended are followed no longer."""
        seen = {(job.name, job.index): job for job in queued}
        gone = {one.batch.name: one.batch for one in self._gone(followed.values(), seen)}
        words = {name: batch.ended() for name, batch in gone.items()}
        for place, one in list(followed.items()):
            job = seen.get(place)
            if job is not None and job.is_live:
                one.unseen = 0
                yield from self._tell_live(one, job)
                continue
            code = words[one.batch.name].get(one.index)
            if code == NO_PACKAGE:
                self._refuse_node(one, followed.values())
            end = self._end(one, job, code)
            if end is not None:
                del followed[place]
                one.batch.forget_end(one.index)
                if not one.is_started:
                    yield Event(one.job, "started")
                yield end
            elif one.unseen >= _LOOKS_UNTIL_LOST:
                del followed[place]
                one.batch.forget_end(one.index)
                self._to_submit.append(one.job)
        self._submit_again(followed, queued)

    def _submit_again(self, followed: dict[Place, Submitted], queued: Sequence[QueuedJob]) -> None:
        """Submit the jobs that were lost; if Slurm refuses them now, the next look tries again."""
        try:
            for array in self.submission.submit(self._to_submit, queued):
                for one in array:
                    followed[one.place] = replace(one, is_started=True)  # and told before
                    self._to_submit.remove(one.job)
        except UMambaError as error:
            self._say(f"lost jobs cannot be submitted again yet: {error}")

    def _gone(
        self, followed: Iterable[Submitted], seen: dict[Place, QueuedJob]
    ) -> Iterable[Submitted]:
        return (one for one in followed if not (one.place in seen and seen[one.place].is_live))

    def _tell_live(self, one: Submitted, job: QueuedJob) -> Generator[Event, None, None]:
        if job.is_waiting:
            if job.reason in _FOR_EVER or re.search(_TOO_LARGE, job.reason):
                self._say(f"jobs wait until somebody changes this: Slurm says {job.reason}")
            yield Event(one.job, "waiting", reason=job.reason)
        else:
            if not one.is_started:
                yield Event(one.job, "started")
            one.is_started = True
            yield Event(one.job, "running")

    def _end(self, one: Submitted, job: QueuedJob | None, code: int | None) -> Event | None:
        """Return how a job has ended; `None` if that is not known yet, or it runs again.

        Args:
            one: The job.
            job: The job as squeue shows it.
            code: The exit code that it has left word of.
        """
        state = "" if job is None else job.state
        said = one.batch.folder / f"{one.index}.out"
        if state == "CANCELLED" or (one.batch.is_given_up and code in (None, _INTERRUPTED)):
            return Event(one.job, "ended", _INTERRUPTED, "it was cancelled")
        if code is not None and code not in (_INTERRUPTED, NO_PACKAGE):
            self._has_run_one = True
            return Event(one.job, "ended", code)
        if state == "OUT_OF_MEMORY":
            return Event(one.job, "ended", _NO_MEMORY, "it needs more memory than it asked for")
        failed = state == "FAILED" and code != NO_PACKAGE
        if failed and job is not None and job.exit_code != _INTERRUPTED:
            reason = f"its script ended with {job.exit_code}; what it said is in {said}"
            return Event(one.job, "ended", job.exit_code, reason)
        one.unseen += 1
        if one.unseen < _LOOKS_UNTIL_LOST:
            return None
        if code == _INTERRUPTED or state in _INTERRUPTS:
            return None
        self._lost[one.job.name] += 1
        if self._lost[one.job.name] < _MOST_LOST:
            return None
        reason = f"it vanished {_MOST_LOST} times without a word; Slurm said {state or 'nothing'}"
        return Event(one.job, "ended", 1, reason)

    def _refuse_node(self, one: Submitted, followed: Collection[Submitted]) -> None:
        """Tell of a node without our package; the job is then run again, as one that was lost.

        Raises:
            UMambaError: If no job has started anywhere; all are cancelled then.
        """
        said = one.batch.folder / f"{one.index}.out"
        text = said.read_text(errors="replace") if said.is_file() else ""
        lines = [line for line in text.splitlines() if line.strip()]
        where, why = (lines[-1], lines[-2]) if len(lines) > 1 else ("on a node", "no word")
        msg = f"{self.site.program} cannot import umamba {where}: {why}; the file of --slurm can "
        if self._has_run_one or any(_has_begun(other) for other in followed):
            self._say(f"{msg}leave a node out, with options = ['--exclude=NODE']")
            return
        self.cancel()
        msg += "set its environment, with setup = [...] or python = ...; all jobs are cancelled"
        raise UMambaError(msg)

    def _leave(self, followed: Collection[Submitted], reason: str) -> None:
        if reason == "SIGINT" and self.asks is not None and self.asks(len(followed)):
            sys.stderr.write(f"{self.cancel()} jobs are cancelled\n")
        else:
            sys.stderr.write(
                f"{len(followed)} jobs are left to Slurm: the same command follows them, and with "
                "--cancel it ends them\n"
            )

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            sys.stderr.write(f"{text}\n")


def _has_begun(one: Submitted) -> bool:
    """Return whether a job has run its command, which writes the log."""
    try:
        return one.job.log.stat().st_mtime >= one.batch.created
    except OSError:
        return False
