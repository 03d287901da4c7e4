"""Workers against the limits of the machine."""

from dataclasses import replace

import pytest

from umamba.doctor import workers
from umamba.doctor.section import Section
from umamba.doctor.workers import examine_workers
from umamba.system.limits import Limits

MIB, GIB = 2**20, 2**30
AMPLE = Limits(
    processors=16,
    cores=16,
    memory=64 * GIB,
    memory_limit=None,
    shared_memory=32 * GIB,
    open_files=65536,
    open_files_hard=65536,
)


@pytest.fixture
def examine(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("nnUNet_n_proc_DA", "8")
    monkeypatch.setattr("os.cpu_count", lambda: 16)

    def examine(**limits: "int | None") -> Section:
        monkeypatch.setattr(workers, "measure_limits", lambda: replace(AMPLE, **limits))
        return examine_workers("cuda")

    return examine


def test_ample_limits(examine) -> None:  # type: ignore[no-untyped-def]
    section = examine()
    assert section.problems == section.warnings == ()
    assert section.lines == {
        "workers": "8 (nnUNet_n_proc_DA)",
        "cores": "16 of 16 may be used",
        "memory": "64 GiB",
        "shared memory": "32 GiB in /dev/shm",
        "open files": "65536 (ulimit -n)",
    }


def test_limits_that_the_system_does_not_tell(examine) -> None:  # type: ignore[no-untyped-def]
    section = examine(memory=None, shared_memory=None, open_files=None, open_files_hard=None)
    assert section.problems == section.warnings == ()
    assert section.lines["memory"] == "unknown"
    assert section.lines["open files"] == "unlimited (ulimit -n)"


@pytest.mark.parametrize(
    ("limits", "kind", "text"),
    [
        (
            {"shared_memory": 64 * MIB},
            "problems",
            "/dev/shm has 64 MiB, but 8 workers need 1024: `",
        ),
        ({"shared_memory": 64 * MIB}, "problems", "`export nnUNet_n_proc_DA=0`"),
        ({"shared_memory": 600 * MIB}, "warnings", "or `export nnUNet_n_proc_DA=4`"),
        ({"open_files": 128}, "problems", "128 open files are allowed, but 8 workers may need 768"),
        ({"open_files": 512}, "warnings", "8 workers may need 768: `ulimit -n 768`"),
        (
            {"open_files": 512, "open_files_hard": 512},
            "warnings",
            "`export nnUNet_n_proc_DA=4`; the administrator can raise the limit of 512",
        ),
        ({"memory": GIB}, "problems", "1 GiB of memory is too little for training: give the job"),
        ({"memory_limit": 8 * GIB}, "warnings", "8 GiB of memory is little for 8 workers, which "),
        ({"memory_limit": 8 * GIB}, "warnings", "may take 16 GiB: `export nnUNet_n_proc_DA=2`"),
        ({"cores": 4}, "warnings", "8 workers share 4 cores: `export nnUNet_n_proc_DA=4`"),
    ],
)
def test_limits_that_are_too_low(examine, limits, kind, text) -> None:  # type: ignore[no-untyped-def]
    section = examine(**limits)
    (found,) = [*section.problems, *section.warnings]
    assert getattr(section, kind) == (found,)
    assert text in found


def test_without_workers_only_memory_counts(examine, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    section = examine(shared_memory=MIB, open_files=512, memory=3 * GIB)
    assert section.problems == section.warnings == ()


def test_the_defaults(examine, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.delenv("nnUNet_n_proc_DA")
    assert examine().lines["workers"] == "12 (by default on cuda)"
    monkeypatch.setattr("umamba.nnunet.workers.available_cores", lambda: 6)
    assert examine_workers("cpu").lines["workers"] == "3 (by default on cpu)"


def test_what_is_no_number(examine, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("nnUNet_n_proc_DA", "many")
    (problem,) = examine().problems
    assert (
        problem == "nnUNet_n_proc_DA is 'many', which is not a number; `export nnUNet_n_proc_DA=4`"
    )
