"""The options of every command that has its work done in jobs, here or on a cluster."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from umamba.errors import UMambaError
from umamba.option_checks import folder_or_file, positive
from umamba.options import Option, Request, Section, flags_of, option

__all__ = ["DEVICE", "JOBS", "ExecutorRequest", "executor_option"]

JOBS = Section(
    "jobs", "those of a Slurm cluster go on without this process, and are found again by it"
)
DEVICE = option(
    "where to compute (default: cuda if available, else cpu)",
    "-device",
    "--device",
    choices=("cpu", "cuda", "mps"),
)

_OWN_OPTIONS = {"local": ("workers",), "slurm": ("slurm", "max_jobs")}
_OWN_OPTIONS["ray"] = ("ray_address", "max_jobs")
_OF_EXECUTORS = ("workers", "slurm", "ray_address", "max_jobs")

Asked = TypeVar("Asked", bound="ExecutorRequest")


def executor_option(default: str) -> Mapping[str, Option]:
    """Return the option that names what runs the jobs.

    Args:
        default: What runs the work if it is not given, in the words of the help.
    """
    return option(
        f"what runs the jobs: processes of this machine, or a Slurm or Ray cluster "
        f"(default: {default})",
        choices=tuple(_OWN_OPTIONS),
        section=JOBS,
    )


@dataclass(frozen=True, kw_only=True)
class ExecutorRequest(Request):
    """Options that say what runs the jobs of a command, where, and how many at a time."""

    device: str | None = field(default=None, metadata=DEVICE)
    executor: str | None = field(default=None, metadata=executor_option("none, but this process"))
    workers: int | None = field(
        default=None,
        metadata=option(
            "jobs at a time on this machine (default: one per GPU, or one on a CPU)",
            check=positive,
            metavar="N",
            section=JOBS,
        ),
    )
    slurm: str | Path | None = field(
        default=None,
        metadata=option(
            "what jobs need on this cluster: partition, account, modules to load and the like; "
            "docs/tutorials/cluster.md shows one (default: as Slurm and the models need)",
            check=folder_or_file,
            metavar="FILE.toml",
            section=JOBS,
        ),
    )
    ray_address: str | None = field(
        default=None,
        metadata=option(
            "HOST:PORT of a Ray cluster, or auto for the one that this machine belongs to "
            "(default: auto)",
            metavar="ADDRESS",
            section=JOBS,
        ),
    )
    max_jobs: int | None = field(
        default=None,
        metadata=option(
            "most jobs that run at a time on a cluster (default: as many as it starts)",
            check=positive,
            metavar="N",
            section=JOBS,
        ),
    )

    def alone(self: Asked, **changes: Any) -> Asked:
        """Return the request of a job, which has no executor."""
        none = dict.fromkeys(("executor", *_OF_EXECUTORS))
        return replace(self, **(none | changes))

    def __post_init__(self) -> None:
        """Check every value, and that each goes with the executor.

        Raises:
            UMambaError: If a value is not allowed, or does not go with the executor.
        """
        super().__post_init__()
        own = _OWN_OPTIONS.get(self.executor or "", ())
        for name in _OF_EXECUTORS:
            fitting = " or ".join(where for where, names in _OWN_OPTIONS.items() if name in names)
            if getattr(self, name) is not None and name not in own:
                flag = flags_of(type(self))[name]
                msg = f"{flag} is for --executor {fitting}; give that as well, or leave {flag} out"
                raise UMambaError(msg)
