"""Limits of control groups, of both versions, as Linux tells them."""

import os
from pathlib import Path

import pytest

from umamba.doctor import machine
from umamba.doctor.machine import measure_limits

GIB = 2**30


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "available_cores", lambda: 32)
    monkeypatch.setattr(machine, "_memory", lambda: 100 * GIB)
    return tmp_path


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def test_without_control_groups(groups: Path) -> None:
    limits = measure_limits()
    assert (limits.cores, limits.memory_limit, limits.usable_memory) == (32, None, 100 * GIB)
    assert limits.processors == os.cpu_count()


def test_version_2_and_the_groups_above(groups: Path) -> None:
    (groups / "own").write_text("0::/slurm/job7\n")
    write(groups / "cgroup" / "slurm" / "job7", memory__max="max", cpu__max="max 100000")
    write(groups / "cgroup" / "slurm", memory__max=str(8 * GIB), cpu__max="350000 100000")
    limits = measure_limits()
    assert limits.memory_limit == limits.usable_memory == 8 * GIB
    assert limits.cores == 4  # of three and a half


def test_version_1(groups: Path) -> None:
    (groups / "own").write_text("4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n0::/\n")
    write(groups / "cgroup" / "memory" / "docker" / "1", memory__limit_in_bytes=str(2 * GIB))
    cpu = groups / "cgroup" / "cpu" / "docker" / "1"
    write(cpu, cpu__cfs_quota_us="200000", cpu__cfs_period_us="100000")
    limits = measure_limits()
    assert (limits.memory_limit, limits.cores) == (2 * GIB, 2)


def test_version_1_without_limits(groups: Path) -> None:
    (groups / "own").write_text("4:memory:/\n3:cpu:/\n")
    write(groups / "cgroup" / "memory", memory__limit_in_bytes="9223372036854771712")
    write(groups / "cgroup" / "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    limits = measure_limits()
    assert (limits.memory_limit, limits.cores) == (None, 32)


def test_open_files_and_shared_memory_are_those_of_the_system() -> None:
    import resource

    limits = measure_limits()
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert limits.open_files == (None if soft == resource.RLIM_INFINITY else soft)
    shm = Path("/dev/shm")
    if shm.is_dir():
        stat = os.statvfs(shm)
        assert limits.shared_memory == stat.f_blocks * stat.f_frsize
