"""One short job on a node, to see whether jobs would run there."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from umamba.errors import UMambaError
from umamba.executors.jobs import Event, Job, Resources
from umamba.executors.slurm.commands import SlurmCommands
from umamba.executors.slurm.executor import SlurmExecutor
from umamba.executors.slurm.site import Site
from umamba.system.interruption import StopRequest

__all__ = ["run_on_node"]

_NEEDS = Resources(memory_gib=4.0, hours=0.25, cores=1)


def run_on_node(
    site: Site, command: Sequence[str], parent: Path, commands: SlurmCommands | None = None
) -> tuple[int, str]:
    """Run one of our commands as a job, and wait for it.

    Args:
        site: What the site needs.
        command: The arguments of `umamba`.
        parent: A folder that nodes see, too.
        commands: Slurm's commands.

    Returns:
        Its exit code, and what it printed.

    Raises:
        UMambaError: If the job cannot be submitted, or does not run to its end.
    """
    with tempfile.TemporaryDirectory(prefix=".umamba-job-", dir=parent) as folder:
        executor = SlurmExecutor(site, Path(folder), commands=commands or SlurmCommands())
        job = Job("trial", tuple(command), Path(folder) / "said", _NEEDS)
        try:
            end = _follow(executor, job)
        except BaseException:
            executor.cancel()
            raise
        said = job.log.read_text(errors="replace") if job.log.is_file() else ""
    if end.reason is not None or end.exit_code not in (0, 1):
        last = next((line for line in reversed(said.splitlines()) if line.strip()), "")
        why = end.reason or last or f"exit code {end.exit_code}"
        msg = f"the job has failed: {why} (it ran in {parent}, which every node must see)"
        raise UMambaError(msg)
    return end.exit_code, said


def _follow(executor: SlurmExecutor, job: Job) -> Event:
    """Return the end of a job, and say meanwhile what it waits for."""
    told = ""
    for event in executor.run([job], StopRequest()):
        if event.kind == "ended":
            return event
        state = event.kind if event.reason is None else f"{event.kind} ({event.reason})"
        if state != told:
            sys.stderr.write(f"the job is {state}\n")
        told = state
    msg = "the job was given up"
    raise UMambaError(msg)
