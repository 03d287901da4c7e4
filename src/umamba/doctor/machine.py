"""What this machine lets one process have: cores, memory, shared memory, open files."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from umamba.nnunet.paths import available_cores

__all__ = ["Limits", "measure_limits"]

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Limits:
    """Limits of this process; `None` where the system has none or does not say.

    Attributes:
        processors: Of the machine.
        cores: That this process may use, by affinity and control group.
        memory: Of the machine, in bytes.
        memory_limit: Of the control group (container, Slurm job), in bytes.
        shared_memory: Size of `/dev/shm` in bytes; workers hand batches over through it.
        open_files: How many this process may have.
        open_files_hard: To how many it may raise that itself.
    """

    processors: int
    cores: int
    memory: int | None
    memory_limit: int | None
    shared_memory: int | None
    open_files: int | None
    open_files_hard: int | None

    @property
    def usable_memory(self) -> int | None:
        """The smaller one of the two limits."""
        known = [n for n in (self.memory, self.memory_limit) if n is not None]
        return min(known, default=None)


def measure_limits() -> Limits:
    """Ask the system."""
    soft, hard = _open_files()
    memory, memory_limit = _memory(), _memory_limit()
    if memory and memory_limit and memory_limit >= memory:  # version 1 of control groups
        memory_limit = None
    shared = shutil.disk_usage(_SHARED_MEMORY).total if _SHARED_MEMORY.is_dir() else None
    quota = _core_quota()
    return Limits(
        processors=os.cpu_count() or 1,
        cores=min([available_cores(), *([quota] if quota else [])]),
        memory=memory,
        memory_limit=memory_limit,
        shared_memory=shared,
        open_files=soft,
        open_files_hard=hard,
    )


def _open_files() -> tuple[int | None, int | None]:
    try:
        import resource
    except ImportError:  # not on Windows
        return None, None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    return (None if soft == unlimited else soft), (None if hard == unlimited else hard)


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _memory_limit() -> int | None:
    texts = [*_cgroup_texts("", "memory.max"), *_cgroup_texts("memory", "memory.limit_in_bytes")]
    return min((int(text) for text in texts if text.isdigit()), default=None)


def _core_quota() -> int | None:
    quotas = [text.split() for text in _cgroup_texts("", "cpu.max")]
    quotas += [
        [quota, period]
        for quota, period in zip(
            _cgroup_texts("cpu", "cpu.cfs_quota_us"),
            _cgroup_texts("cpu", "cpu.cfs_period_us"),
            strict=False,
        )
    ]
    numbers = [(int(q), int(p)) for q, p in quotas if q.isdigit() and int(p)]
    return min((max(1, ceil(quota / period)) for quota, period in numbers), default=None)


def _cgroup_texts(controller: str, file: str) -> Iterator[str]:
    """Read one file of this process's control group and of all groups above it.

    Args:
        controller: Of version 1; "" for version 2, which has one tree for all.
        file: Its name.
    """
    try:
        groups = _OWN_CGROUPS.read_text(encoding="ascii").splitlines()
    except OSError:
        return
    for line in groups:
        _, controllers, group = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        root = _CGROUPS / controller
        own = root / group.strip("/")
        for folder in (own, *own.parents):
            if (folder / file).is_file():
                yield (folder / file).read_text(encoding="ascii").strip()
            if folder == root:
                break
