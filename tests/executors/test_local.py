"""Jobs run in processes of their own, which are asked to stop, and killed if asked twice."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from umamba.errors import UMambaError
from umamba.executors.jobs import Executor, Job
from umamba.executors.local import LocalExecutor, Worker, local_workers
from umamba.system.interruption import StopRequest

# A job of one of these words; the second argument is a file that says that it listens.
CHILD = """
import os, pathlib, signal, sys, time
what, ready = sys.argv[1:]
print(what, os.environ.get("CUDA_VISIBLE_DEVICES"), sorted(os.sched_getaffinity(0)), flush=True)
signal.signal(signal.SIGTERM, signal.SIG_IGN if what == "deaf" else lambda *_: sys.exit(75))
pathlib.Path(ready).touch()
if what == "fails":
    sys.exit(2)
if what != "quick":
    time.sleep(60)
"""


def local(*workers: Worker) -> LocalExecutor:
    return LocalExecutor(workers, program=("-c", CHILD), interval=0.02)


def job(folder: Path, name: str, what: str) -> Job:
    return Job(name, (what, str(folder / f"{name}.ready")), folder / "logs" / f"{name}.log")


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_all_jobs_run_in_their_order(tmp_path: Path) -> None:
    assert isinstance(local(Worker()), Executor)
    jobs = [job(tmp_path, "a", "quick"), job(tmp_path, "b", "fails"), job(tmp_path, "c", "quick")]
    events = list(local(Worker()).run(jobs, StopRequest()))
    told = [(e.job.name, e.kind, e.exit_code) for e in events if e.kind != "running"]
    # What is next begins before others hear that something has ended.
    assert sorted(told) == [
        *(("a", "ended", 0), ("a", "started", None), ("b", "ended", 2), ("b", "started", None)),
        *(("c", "ended", 0), ("c", "started", None)),
    ]
    assert [name for name, kind, _ in told if kind == "started"] == ["a", "b", "c"]
    assert (tmp_path / "logs" / "b.log").read_text().startswith("fails")


def test_workers_work_side_by_side_on_parts_of_the_machine(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    workers = [Worker(cores=frozenset([core])), Worker(gpu="7")]
    jobs = [job(tmp_path, "a", "waits"), job(tmp_path, "b", "waits")]
    stop = StopRequest(tmp_path / "stop")
    for event in local(*workers).run(jobs, stop):
        if event.kind == "running" and all((tmp_path / f"{n}.ready").exists() for n in "ab"):
            (tmp_path / "stop").touch()
    assert "waits None" in (tmp_path / "logs" / "a.log").read_text()
    assert "waits 7 " in (tmp_path / "logs" / "b.log").read_text()


def test_a_stop_is_passed_on_and_nothing_is_begun_after_it(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "a", "waits"), job(tmp_path, "b", "quick")]
    stop = StopRequest(tmp_path / "stop")
    events = []
    for event in local(Worker()).run(jobs, stop):
        events.append(event)
        if (tmp_path / "a.ready").exists():
            (tmp_path / "stop").touch()
    assert [(e.job.name, e.exit_code) for e in events if e.kind == "ended"] == [("a", 75)]
    assert not (tmp_path / "b.ready").exists()


def test_who_leaves_leaves_no_process_behind(tmp_path: Path) -> None:
    events = local(Worker()).run([job(tmp_path, "a", "deaf")], StopRequest())
    next(events)
    wait_for(tmp_path / "a.ready")
    events.close()
    found = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, check=False)
    assert found.stdout == b""


def test_a_killed_comparison_stops_its_trainings(tmp_path: Path) -> None:
    # The real child, but for the command line, which waits.
    waiting = """
import os, pathlib, runpy, sys, time
from umamba.cli import main
def wait(**_):
    pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
    time.sleep(60)
main.main = wait
runpy.run_module("umamba.cli.job", run_name="__main__")
"""
    parent = f"""
from pathlib import Path
from umamba.executors.jobs import Job
from umamba.executors.local import LocalExecutor, Worker
from umamba.system.interruption import StopRequest
job = Job("a", ({str(tmp_path / "pid")!r},), Path({str(tmp_path / "log")!r}))
executor = LocalExecutor([Worker()], program=("-c", {waiting!r}))
list(executor.run([job], StopRequest()))
"""
    process = subprocess.Popen([sys.executable, "-c", parent])
    wait_for(tmp_path / "pid")
    time.sleep(0.2)
    assert (tmp_path / "log").read_text() == ""
    child = int((tmp_path / "pid").read_text())
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_the_machine_is_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = os.sched_getaffinity(0)
    assert local_workers("cpu", None, 0) == [Worker()]
    if len(cores) > 1:
        first, second = local_workers("cpu", 2, 0)
        assert first.cores
        assert second.cores
        assert first.cores | second.cores == cores
        assert not first.cores & second.cores
        assert first.n_threads == len(first.cores)
    with pytest.raises(UMambaError, match=f"more than the cores here, {len(cores)}"):
        local_workers("cpu", len(cores) + 1, 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [w.gpu for w in local_workers("cuda", None, 2)] == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert [w.gpu for w in local_workers("cuda", None, 2)] == ["3", "5"]
    assert [w.gpu for w in local_workers("cuda", 1, 2)] == ["3"]
    with pytest.raises(UMambaError, match="--workers 3 is more than the GPUs here, 2"):
        local_workers("cuda", 3, 2)
