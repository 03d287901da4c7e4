"""The file that says what jobs need on a cluster (`--slurm FILE`).

It is TOML, as it is written by hand: TOML has comments, and takes `time = "1:30:00"` for what it
is, where YAML reads a number of seconds.
"""

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from umamba.errors import UMambaError, closest

__all__ = ["EXAMPLE", "Site", "read_site"]

EXAMPLE = """\
partition = "gpu"
account = "my-group"
gres = "gpu:1"
cpus = 8
memory = "32G"                          # of the machine
time = "1-00:00:00"
setup = ["module load python/3.11", "source ~/umamba/bin/activate"]
"""

_Count = Annotated[int, Meta(ge=1)]
_LISTS = ("options", "setup")
_WORDS = ("partition", "account", "qos", "gres", "memory", "time")


class Site(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Needs of jobs on a cluster; each default leaves one to Slurm, or to the job.

    Attributes:
        partition: Partition, or several with commas.
        account: Account to charge.
        qos: Quality of service.
        constraint: Features that nodes must have.
        gres: Generic resources of a job, such as `gpu:1`.
        cpus: Cores of a job.
        memory: Memory of a job, as Slurm writes it, such as `32G`.
        time: Time limit of a job, as Slurm writes it; a job that reaches it saves, and goes on in
            another turn.
        options: Further options of sbatch, such as `--exclude=node7`.
        setup: Lines of bash that come first, such as `module load` or `source .../activate`.
        container: Command that runs another one in a container, such as
            `apptainer exec --nv umamba.sif`.
        python: The Python to run (default: in a container or after `setup` lines `python`, else the
            one that submits).
        max_jobs: Most jobs that run at a time; `--max-jobs` goes before it.
        signal_seconds: Seconds before the time limit at which a job is asked to save.
        poll_seconds: Seconds between looks at the queue.
        stage: Folder on the disk of a node, such as `$TMPDIR`, where trainings copy their data;
            `--stage` goes before it.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None
    cpus: _Count | None = None
    memory: str | None = None
    time: str | None = None
    options: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    container: str | None = None
    python: str | None = None
    max_jobs: _Count | None = None
    signal_seconds: _Count = 300
    poll_seconds: Annotated[float, Meta(gt=0)] = 15.0
    stage: str | None = None

    def __post_init__(self) -> None:
        for text in self.options:
            if re.match(r"-M|--clusters?(?![\w-])", text):
                msg = (
                    f"options: {text!r} is not for us, as jobs are looked for on one cluster; set "
                    "SLURM_CLUSTERS in your shell"
                )
                raise ValueError(msg)
        for name in self.__struct_fields__:
            value = getattr(self, name)
            for text in (value,) if isinstance(value, str) else value if name in _LISTS else ():
                if name in _WORDS and len(text.split()) != 1:
                    msg = f"{name} = {text!r} is not one word"
                    raise ValueError(msg)
                if len(text.splitlines()) != 1:
                    msg = f"{name} = {text!r} is not one line"
                    raise ValueError(msg)

    @property
    def program(self) -> str:
        """Return the Python that nodes run."""
        if self.python is not None:
            return self.python
        return "python" if self.container or self.setup else sys.executable


def read_site(file: Path) -> Site:
    """Read the file of a site.

    Raises:
        UMambaError: If it cannot be read, or says something that is not known.
    """
    try:
        return msgspec.toml.decode(file.read_bytes(), type=Site)
    except OSError as error:
        msg = f"--slurm: {file} cannot be read: {error.strerror}; it could say\n{_indented()}"
        raise UMambaError(msg) from None
    except msgspec.ValidationError as error:
        msg = f"--slurm: {file}: {error}{_hint(str(error))}"
        raise UMambaError(msg) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = f"--slurm: {file} is not TOML: {error}; it could say\n{_indented()}"
        raise UMambaError(msg) from None


def _hint(error: str) -> str:
    if "unknown field" not in error:
        return ""
    known: tuple[Any, ...] = Site.__struct_fields__
    return f"; {closest(error.split('`')[1], known)}known are {', '.join(known)}"


def _indented() -> str:
    return "\n".join(f"  {line}" for line in EXAMPLE.splitlines())
