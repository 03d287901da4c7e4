"""Limits of control groups, of both versions, as Linux tells them."""

import os
from pathlib import Path

import pytest

from umamba.system import limits
from umamba.system.limits import (
    available_cores,
    available_memory,
    computing_threads,
    measure_limits,
    usable_memory,
)

GIB = 2**30


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 32 cores and 100 GiB, of which 60 are free."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(32)), raising=False)
    meminfo = f"MemTotal: {100 * 2**20} kB\nMemFree: 5 kB\nMemAvailable: {60 * 2**20} kB"
    write(tmp_path / "proc", meminfo=meminfo)
    return tmp_path


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def own_groups(root: Path, text: str) -> Path:
    write(root / "proc" / "self", cgroup=text)
    return root / "sys" / "fs" / "cgroup"


def test_without_control_groups(root: Path) -> None:
    found = measure_limits(root)
    assert (found.cores, found.memory_limit, found.usable_memory) == (32, None, 100 * GIB)
    assert found.processors == os.cpu_count()
    assert (usable_memory(root), available_memory(root)) == (100 * GIB, 60 * GIB)


def test_version_2_and_the_groups_above(root: Path) -> None:
    groups = own_groups(root, "0::/slurm/job7/step0")
    step = groups / "slurm" / "job7" / "step0"
    write(step, memory__max="max", memory__current="5", cpu__max="max 100000")
    write(step.parent, memory__max=str(8 * GIB), memory__current=str(7 * GIB))
    write(step.parent, memory__stat=f"anon 3\ninactive_file {2 * GIB}\nactive_file 9")
    write(groups / "slurm", memory__max=str(9 * GIB), memory__current=str(8 * GIB))
    write(groups / "slurm", cpu__max="350000 100000")
    found = measure_limits(root)
    assert found.memory_limit == found.usable_memory == usable_memory(root) == 8 * GIB
    assert found.cores == available_cores(root) == 4  # of three and a half
    # The job's group could have 3 GiB, as the kernel gives back what it keeps of files; the one
    # above it, with other jobs in it, has 1 left.
    assert available_memory(root) == GIB
    write(groups / "slurm", memory__current=str(2 * GIB))
    assert available_memory(root) == 3 * GIB


def test_version_1_and_the_groups_above(root: Path) -> None:
    groups = own_groups(root, "4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n0::/")
    own = groups / "memory" / "docker" / "1"
    write(own, memory__limit_in_bytes=str(4 * GIB), memory__usage_in_bytes=str(GIB))
    write(own.parent, memory__limit_in_bytes=str(2 * GIB), memory__usage_in_bytes=str(GIB))
    write(own.parent, memory__stat=f"inactive_file 1\ntotal_inactive_file {GIB // 2}")
    cpu = groups / "cpu" / "docker" / "1"
    write(cpu, cpu__cfs_quota_us="200000", cpu__cfs_period_us="100000")
    found = measure_limits(root)
    assert (found.memory_limit, found.cores) == (2 * GIB, 2)
    assert (usable_memory(root), available_memory(root)) == (2 * GIB, 3 * GIB // 2)


def test_version_1_without_limits(root: Path) -> None:
    groups = own_groups(root, "4:memory:/\n3:cpu:/")
    write(groups / "memory", memory__limit_in_bytes="9223372036854771712")
    write(groups / "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    found = measure_limits(root)
    assert (found.memory_limit, found.cores) == (None, 32)
    assert (usable_memory(root), available_memory(root)) == (100 * GIB, 60 * GIB)


def test_a_container_that_sees_only_its_own_group(root: Path) -> None:
    groups = own_groups(root, "0::/")
    write(groups, memory__max=str(3 * GIB), memory__current=str(4 * GIB))  # above it for a moment
    assert (usable_memory(root), available_memory(root)) == (3 * GIB, 0)


def test_affinity_may_be_narrower_than_the_quota(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(own_groups(root, "0::/"), cpu__max="800000 100000")
    assert available_cores(root) == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    assert available_cores(root) == 2
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")  # on a cluster that leaves it to the job
    assert available_cores(root) == 1
    monkeypatch.setenv("UMAMBA_CORES", "2")  # set by the executor
    assert available_cores(root) == 2
    monkeypatch.delenv("UMAMBA_CORES")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "many")
    assert available_cores(root) == 2


def test_fewer_threads_than_cores_are_taken_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "available_cores", lambda: 4)
    expected = {"": (4, 2), "3": (3, 2), "1": (1, 1), "9": (4, 2), "many": (4, 2), "0": (4, 2)}
    for text, threads in expected.items():
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert (computing_threads(), computing_threads(2)) == threads, text
    assert computing_threads(8) == 1


def test_a_system_that_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert available_cores(tmp_path) == os.cpu_count()
    assert available_memory(tmp_path) is None
    assert usable_memory(tmp_path) > 2**60
    assert measure_limits(tmp_path).usable_memory is None


def test_this_system() -> None:
    assert limits.usable_memory() >= (available_memory() or 0) > 2**20


def test_open_files_and_shared_memory_are_those_of_the_system() -> None:
    import resource

    found = measure_limits()
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert found.open_files == (None if soft == resource.RLIM_INFINITY else soft)
    shm = Path("/dev/shm")
    if shm.is_dir():
        stat = os.statvfs(shm)
        assert found.shared_memory == stat.f_blocks * stat.f_frsize
