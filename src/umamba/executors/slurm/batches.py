"""Arrays of jobs that were submitted, as files tell: whoever runs the same call again finds them.

A batch is a folder named like its jobs. It is written before the array is submitted, so that an
array whose submission nobody lived to hear of is found by its name.
"""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from secrets import token_hex

from umamba.errors import UMambaError
from umamba.executors.jobs import Job
from umamba.executors.slurm.script import GIVEN_UP, JOBS, command_line, job_lines
from umamba.system.atomic_files import make_folder, write_whole
from umamba.system.json_files import load_json

__all__ = ["SCRIPT", "Batch", "read_batches"]

SCRIPT = "job.sh"
_FILE = "batch.json"


@dataclass(frozen=True)
class Batch:
    """An array of jobs.

    Attributes:
        folder: Its folder.
        jobs: Names of its jobs, in the order of the array.
        created: When it was written, in seconds since 1970.
        array: The number that Slurm has given it; `None` if that is not known.
    """

    folder: Path
    jobs: tuple[str, ...]
    created: float
    array: str | None = None

    @classmethod
    def create(cls, parent: Path, jobs: Sequence[Job]) -> "Batch":
        """Write a new batch, all but its script.

        Raises:
            UMambaError: If it cannot be written.
        """
        folder = parent / f"umamba-{token_hex(4)}"
        make_folder(folder)
        for log in {job.log.parent for job in jobs}:
            make_folder(log)
        write_whole(folder / JOBS, job_lines(parent, jobs))
        batch = cls(folder, tuple(job.name for job in jobs), time.time())
        batch._write()
        return batch

    @property
    def name(self) -> str:
        """Return the name of its jobs."""
        return self.folder.name

    def submitted(self, array: str) -> "Batch":
        """Note the number that Slurm has given it."""
        batch = replace(self, array=array)
        batch._write()
        return batch

    def give_up(self) -> None:
        """Keep its jobs from starting, whenever Slurm should hear of them."""
        write_whole(self.folder / GIVEN_UP, "")

    def has_command(self, index: int, job: Job) -> bool:
        """Return whether one of its jobs has the command of this one."""
        return self._lines[index].endswith(command_line(job))

    @property
    def is_given_up(self) -> bool:
        """Return whether its jobs are kept from starting."""
        return (self.folder / GIVEN_UP).is_file()

    def ended(self) -> dict[int, int]:
        """Return the exit code of the newest attempt of each job that has left word of its end."""
        newest: dict[int, tuple[int, Path]] = {}
        for file in self.folder.glob("*.ended"):
            index, attempt = map(int, file.name.split(".")[:2])
            newest[index] = max(newest.get(index, (-1, file)), (attempt, file))
        ends = {}
        for index, (_, file) in newest.items():
            with suppress(FileNotFoundError):  # as whoever follows the job has seen it
                ends[index] = int(file.read_text())
        return ends

    def forget_end(self, index: int) -> None:
        """Remove the word of a job's end, once it is known."""
        for file in self.folder.glob(f"{index}.*.ended"):
            file.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove its folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @cached_property
    def _lines(self) -> list[str]:
        return (self.folder / JOBS).read_text(encoding="utf-8").split("\n")

    def _write(self) -> None:
        content = {
            "jobs": self.jobs,
            "created": self.created,
            "array": self.array,
            "place": str(self.folder.parent.resolve()),
        }
        write_whole(self.folder / _FILE, json.dumps(content) + "\n")


def read_batches(parent: Path, say: Callable[[str], object] | None = None) -> list[Batch]:
    """Return the batches that were submitted from a folder, the oldest first.

    Args:
        parent: The folder.
        say: Is told of batches that were copied or moved here, whose jobs belong to another folder.

    Raises:
        UMambaError: If one cannot be read.
    """
    found = []
    for file in parent.glob(f"*/{_FILE}"):
        content = load_json(file)
        try:
            place = Path(content.get("place", parent))
            if not _is_same(place, parent):
                if say is not None:
                    say(f"{file.parent} came from {place}, whose jobs are left alone")
                continue
            jobs = tuple(map(str, content["jobs"]))
            found.append(Batch(file.parent, jobs, float(content["created"]), content["array"]))
        except (AttributeError, LookupError, TypeError, ValueError):
            msg = f"{file} is damaged; cancel its jobs by their name, and remove {file.parent}"
            raise UMambaError(msg) from None
    return sorted(found, key=lambda batch: batch.created)


def _is_same(place: Path, other: Path) -> bool:
    return place.exists() and place.samefile(other)
