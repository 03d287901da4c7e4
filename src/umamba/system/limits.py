"""The limits of this process: cores, memory, shared memory, open files.

A control group (a container, a Slurm job) may have less than the machine, and so may any group
above it; of all limits the smallest one counts. Linux tells them in two versions, which are read
both. Elsewhere the machine's own numbers stand.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from umamba.system.environment import setting
from umamba.system.numerals import whole_number

__all__ = [
    "CORES_VARIABLE",
    "Limits",
    "available_cores",
    "available_memory",
    "computing_threads",
    "measure_limits",
    "usable_memory",
]

CORES_VARIABLE = "UMAMBA_CORES"  # set by executors: the cores that a job has asked for

_ROOT = Path("/")


@dataclass(frozen=True)
class Limits:
    """Limits of this process; `None` where the system has none or does not say.

    Attributes:
        processors: Of the machine.
        cores: That this process may use, by affinity and control groups.
        memory: Of the machine, in bytes.
        memory_limit: Of the control groups (container, Slurm job), in bytes.
        shared_memory: Size of `/dev/shm` in bytes; workers hand batches over through it.
        open_files: How many this process may have.
        open_files_hard: The number to which it may raise that limit itself.
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


def measure_limits(root: Path = _ROOT) -> Limits:
    """Ask the system for the limits of this process.

    Args:
        root: Where `proc`, `sys` and `dev` are, as in the other functions.
    """
    soft, hard = _open_files()
    memory, memory_limit = _memory(root), _memory_limit(root)
    if memory and memory_limit and memory_limit >= memory:  # version 1 says so of no limit
        memory_limit = None
    shared = root / "dev" / "shm"
    return Limits(
        processors=os.cpu_count() or 1,
        cores=available_cores(root),
        memory=memory,
        memory_limit=memory_limit,
        shared_memory=shutil.disk_usage(shared).total if shared.is_dir() else None,
        open_files=soft,
        open_files_hard=hard,
    )


def available_cores(root: Path = _ROOT) -> int:
    """Return how many cores this process may use.

    They are limited by its affinity, by the quota of its groups, and by what its job has asked
    for: not every cluster confines jobs to their cores.
    """
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    granted = whole_number(setting(CORES_VARIABLE) or setting("SLURM_CPUS_PER_TASK") or "")
    return min(n for n in (own or 1, _core_quota(root), granted) if n)


def computing_threads(processes: int = 1) -> int:
    """Return how many threads each of several processes should have: its share of the cores.

    `OMP_NUM_THREADS` asks for fewer, as where other programs are at work, too.
    """
    share = max(1, available_cores() // processes)
    return min(share, whole_number(setting("OMP_NUM_THREADS") or "") or share)


def usable_memory(root: Path = _ROOT) -> int:
    """Return how many bytes of memory this process may use in total, used ones included.

    Where the system does not say, the number is practically unlimited.
    """
    known = [n for n in (_memory(root), _memory_limit(root)) if n is not None]
    return min(known, default=sys.maxsize)


def available_memory(root: Path = _ROOT) -> int | None:
    """Return how many bytes of memory are still available; `None` where the system does not say.

    A group's cache of files that were not used lately counts as available: the kernel
    releases it.
    """
    free = [n for n in (_machine_available(root), *_group_available(root)) if n is not None]
    return max(0, min(free)) if free else None


def _open_files() -> tuple[int | None, int | None]:
    try:
        import resource
    except ImportError:  # not on Windows
        return None, None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    return (None if soft == unlimited else soft), (None if hard == unlimited else hard)


def _memory(root: Path) -> int | None:
    kib = _table(root / "proc" / "meminfo").get("MemTotal:")
    if kib is not None:
        return kib * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _machine_available(root: Path) -> int | None:
    kib = _table(root / "proc" / "meminfo").get("MemAvailable:")
    return None if kib is None else kib * 1024


def _memory_limit(root: Path) -> int | None:
    limits = (limit for limit, _ in _memory_groups(root))
    return min(limits, default=None)


def _group_available(root: Path) -> Iterator[int]:
    for limit, used in _memory_groups(root):
        yield limit - used


def _memory_groups(root: Path) -> Iterator[tuple[int, int]]:
    """Return limit and use of every group that has a limit, in bytes."""
    for controller, limit, used, idle in (
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        for folder in _groups(root, controller):
            most = _text(folder / limit)
            if most.isdigit():
                current = _text(folder / used)
                held = int(current) if current.isdigit() else 0
                yield int(most), max(0, held - _table(folder / "memory.stat").get(idle, 0))


def _core_quota(root: Path) -> int | None:
    quotas = [_text(folder / "cpu.max").split() for folder in _groups(root, "")]
    quotas += [
        [_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")]
        for folder in _groups(root, "cpu")
    ]
    numbers = [(int(q[0]), int(q[1])) for q in quotas if len(q) == 2 and all(map(str.isdigit, q))]
    return min((max(1, ceil(quota / time)) for quota, time in numbers if time), default=None)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Return the folders of this process's control group and of all groups above it.

    Args:
        root: As in `measure_limits`.
        controller: Of version 1; "" for version 2, which has one tree for all.
    """
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        top = root / "sys" / "fs" / "cgroup" / controller
        own = top / group.strip("/")
        for folder in (own, *own.parents):
            yield folder
            if folder == top:
                break


def _text(file: Path) -> str:
    """Read one of the kernel's files; "" where there is none."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _table(file: Path) -> dict[str, int]:
    """Read one of the kernel's tables of names and numbers."""
    rows = (line.split() for line in _text(file).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) >= 2 and row[1].isdigit()}
