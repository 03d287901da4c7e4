"""Slurm's own commands, and what they answer."""

import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from umamba.errors import UMambaError
from umamba.system.environment import environment_without

__all__ = ["Partition", "QueuedJob", "SlurmCommands"]

_SECONDS = 120  # Slurm's own commands give up before
_FIELDS = "Name:64,JobArrayID:40,State:24,RestartCnt:12,exit_code:12,Reason:64"
_WAITING = {"CONFIGURING", "PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"}
_ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"}
_ENDED |= {"OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"}  # shown for some minutes

# Other variables of Slurm are options of its commands, or those of a job that this process runs in.
_KEPT = ("SLURM_CLUSTERS", "SLURM_CONF", "SLURM_JWT")

Runner = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class QueuedJob:
    """A job as squeue shows it.

    Attributes:
        name: Name of its array.
        array: Number of its array.
        index: Its number in the array.
        state: Its state, such as `RUNNING`.
        exit_code: Its exit code once it has ended; negative is the signal that ended it.
        reason: Why it waits, such as `Resources`.
    """

    name: str
    array: str
    index: int
    state: str
    exit_code: int
    reason: str

    @property
    def is_live(self) -> bool:
        """Return whether it has not ended."""
        return self.state not in _ENDED

    @property
    def is_waiting(self) -> bool:
        """Return whether it has not started, or waits to start again."""
        return self.state in _WAITING


@dataclass(frozen=True)
class Partition:
    """A partition: its name, whether jobs that name none go there, and its time limit in hours."""

    name: str
    is_default: bool
    hours: float | None


def _run(words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=_SECONDS,
        env=environment_without("SBATCH_", "SCANCEL_", "SLURM_", "SQUEUE_", but=_KEPT),
        start_new_session=True,  # a Ctrl-C is for us to handle
    )


@dataclass(frozen=True)
class SlurmCommands:
    """The commands sbatch, squeue, scontrol and scancel.

    Args:
        run: Runs one of them.
    """

    run: Runner = _run

    def submit(self, script: Path, *options: str) -> str:
        """Submit a script, and return the number of its job.

        Raises:
            UMambaError: If Slurm refuses it.
        """
        answer = self._ask("sbatch", "--parsable", *options, str(script))
        return answer.strip().partition(";")[0]  # then comes the cluster's name, if it has several

    def queue(self, names: Iterable[str]) -> list[QueuedJob]:
        """Return the jobs of some arrays, waiting, running or ended not long ago.

        Raises:
            UMambaError: If Slurm does not answer.
        """
        given = ",".join(names)
        if not given:
            return []
        options = [
            "--all",
            "--noheader",
            "--array",
            "--states=all",
            f"--name={given}",
            f"-O{_FIELDS}",
        ]
        return [_queued(line) for line in self._ask("squeue", *options).splitlines()]

    def cancel(self, jobs: Sequence[str]) -> None:
        """Cancel arrays or jobs by their numbers.

        Raises:
            UMambaError: If Slurm does not.
        """
        if jobs:
            self._ask("scancel", *jobs)

    def array_limit(self) -> int:
        """Return how many jobs an array may have.

        Raises:
            UMambaError: If Slurm does not answer.
        """
        answer = self._ask("scontrol", "show", "config")
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", answer, re.MULTILINE)
        return int(found[1]) if found else 1

    def partitions(self) -> list[Partition]:
        """Return the partitions of the cluster.

        Raises:
            UMambaError: If Slurm does not answer.
        """
        answer = self._ask("scontrol", "--all", "-o", "show", "partition")
        fields = [dict(re.findall(r"(\w+)=(\S+)", line)) for line in answer.splitlines()]
        return [
            Partition(line["PartitionName"], line.get("Default") == "YES", _hours(line["MaxTime"]))
            for line in fields
            if "PartitionName" in line
        ]

    def _ask(self, *words: str) -> str:
        try:
            done = self.run(words)
        except FileNotFoundError:
            msg = (
                f"there is no command {words[0]} here: run this on a machine of the cluster that "
                "may submit jobs, with Slurm's commands on the PATH"
            )
            raise UMambaError(msg) from None
        except subprocess.TimeoutExpired:
            msg = f"{words[0]} has not answered within {_SECONDS} s; try again later"
            raise UMambaError(msg) from None
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            why = said[-1] if said else f"exit code {done.returncode}"
            raise UMambaError(why)
        return done.stdout


def _queued(line: str) -> QueuedJob:
    name, job, state, _, status, *reason = line.split()
    array, _, index = job.partition("_")
    code = int(status)  # as wait() has it
    return QueuedJob(
        name,
        array,
        int(index or 0),
        state,
        -(code & 127) if code & 127 else code >> 8,
        " ".join(reason),
    )


def _hours(limit: str) -> float | None:
    """Return a time limit such as 1-02:03:04 in hours; `None` if there is none."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", limit)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return days * 24 + hours + minutes / 60 + seconds / 3600
