"""Jobs on a real Slurm end as they should, whatever becomes of them and of who submitted them."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import counting_job
from slurm_cluster import Cluster
from umamba.errors import UMambaError
from umamba.executors.jobs import Event, Executor, Job
from umamba.executors.slurm.executor import SlurmExecutor
from umamba.executors.slurm.site import Site
from umamba.system.interruption import StopRequest

pytestmark = pytest.mark.slurm


def site(**changes: Any) -> Site:
    known = {"partition": "low", "memory": "100M", "cpus": 1, "poll_seconds": 0.5}
    return Site(**{**known, "signal_seconds": 30, **changes})


def executor(folder: Path, **changes: Any) -> SlurmExecutor:
    program = (str(Path(counting_job.__file__)),)
    return SlurmExecutor(site(**changes), folder / "slurm", program=program)


def counting(folder: Path, name: str, steps: int = 1, seconds: float = 0.2, code: int = 0) -> Job:
    command = (str(folder / name), str(steps), str(seconds), str(code))
    return Job(name, command, folder / "logs" / f"{name}.log")


def starts(folder: Path, name: str) -> list[list[str]]:
    """Job, restart, step and process of each start of a job."""
    file = folder / name / "starts"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def counted(folder: Path, name: str) -> int:
    file = folder / name / "count"
    return int(file.read_text()) if file.exists() else 0


def is_dead(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def follow(events: Iterator[Event], until: Callable[[], bool] = lambda: False) -> list[Any]:
    """Return how jobs ended, all of them or until something holds."""
    deadline = time.monotonic() + 240
    ended = []
    for event in events:
        if event.kind == "ended":
            ended.append((event.job.name, event.exit_code))
        if until():
            break
        assert time.monotonic() < deadline
    return sorted(ended)


def test_jobs_end_as_they_should(cluster: Cluster, tmp_path: Path) -> None:
    slurm = executor(tmp_path / """it's "50 %a" #""")
    assert isinstance(slurm, Executor)
    names = ["a b", "it's", "c"]
    jobs = [counting(tmp_path, name, code=3 * (name == "c")) for name in names]
    events = list(slurm.run(jobs, StopRequest()))
    assert follow(iter(events)) == [("a b", 0), ("c", 3), ("it's", 0)]
    kinds = [event.kind for event in events if event.job.name == "c"]
    assert (kinds.count("started"), kinds.count("ended")) == (1, 1)
    assert (tmp_path / "logs" / "it's.log").read_text() == "counted to 1\n"
    assert slurm.states() == {}
    # They are done: the same call would do failed ones again, and leaves nothing behind.
    assert follow(slurm.run(jobs[2:], StopRequest())) == [("c", 3)]
    assert len(starts(tmp_path, "c")) == 2


def test_a_preempted_job_saves_and_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    job = counting(tmp_path, "a", steps=30)
    events = executor(tmp_path).run([job], StopRequest())
    follow(events, lambda: len(starts(tmp_path, "a")) == 1)
    urgent = cluster.command(
        *("sbatch", "--parsable", "-p", "high", "-N", "2", "-n", "4", "--mem=100"),
        *(f"--output={tmp_path}/urgent", "--wrap", "sleep 1"),
    ).strip()
    assert follow(events) == [("a", 0)]
    (first, second) = starts(tmp_path, "a")
    assert (first[:3], second[:2]) == ([first[0], "0", "0"], [first[0], "1"])
    assert 0 < int(second[2]) < 30
    assert cluster.command("scontrol", "-o", "show", "job", urgent).count("JobState=COMPLETED")


def test_a_cancelled_job_does_not_start_again(cluster: Cluster, tmp_path: Path) -> None:
    slurm = executor(tmp_path)
    jobs = [counting(tmp_path, name, 300) for name in "ab"]
    events = slurm.run(jobs, StopRequest())
    follow(events, lambda: bool(starts(tmp_path, "a") and starts(tmp_path, "b")))
    others = cluster.command("sbatch", "--parsable", "--mem=1", "-o/dev/null", "--wrap", "sleep 60")
    queued = slurm.states()
    assert queued["b"].state == "RUNNING"
    cluster.command("scancel", f"{queued['b'].array}_{queued['b'].index}")
    follow(events, lambda: "b" not in slurm.states())
    assert slurm.cancel() == 1
    assert follow(events) == [("a", 75), ("b", 75)]
    assert "stopped at" in (tmp_path / "logs" / "b.log").read_text()
    assert [len(starts(tmp_path, name)) for name in "ab"] == [1, 1]
    assert cluster.command("squeue", "-h", "-o", "%i", "-j", others.strip()) == others
    again = counting(tmp_path, "a", counted(tmp_path, "a") + 2)
    assert follow(executor(tmp_path).run([again], StopRequest())) == [("a", 0)]
    assert len(starts(tmp_path, "a")) == 2


_SUBMIT = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
import test_slurm
from umamba.system.interruption import StopRequest
folder = Path({folder!r})
slurm = test_slurm.executor(folder)
jobs = [test_slurm.counting(folder, str(i), 10, 0.3) for i in range(8)]
undone = [job for job in jobs if test_slurm.counted(folder, job.name) < 10]
ended = [event for event in slurm.run(undone, StopRequest()) if event.kind == "ended"]
sys.exit(any(event.exit_code for event in ended))
"""


def test_who_is_killed_and_run_again_submits_nothing_twice(
    cluster: Cluster, tmp_path: Path
) -> None:
    paths = [str(Path(__file__).parent), str(Path(counting_job.__file__).parent)]
    command = [sys.executable, "-c", _SUBMIT.format(paths=paths, folder=str(tmp_path))]
    chosen = random.Random(5)
    for _ in range(8):
        with subprocess.Popen(command) as submitter:
            time.sleep(chosen.uniform(0.2, 1.2))
            submitter.send_signal(signal.SIGKILL)
    subprocess.run(command, check=True, timeout=120)
    assert [counted(tmp_path, str(i)) for i in range(8)] == [10] * 8
    assert [len(starts(tmp_path, str(i))) for i in range(8)] == [1] * 8


@pytest.mark.slow
def test_a_job_at_its_time_limit_saves_and_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    job = counting(tmp_path, "a", steps=400)
    assert follow(executor(tmp_path, time="1").run([job], StopRequest())) == [("a", 0)]
    begun = starts(tmp_path, "a")
    assert [line[1] for line in begun] == [str(restart) for restart in range(len(begun))]
    assert len(begun) > 1
    assert all(int(a[2]) < int(b[2]) for a, b in pairwise(begun))
    assert "by [10]" in (tmp_path / "logs" / "a.log").read_text()  # SIGUSR1


@pytest.mark.slow
@pytest.mark.parametrize("dies", [False, True], ids=["silent", "killed"])
def test_an_orphan_of_a_lost_node_stops_and_the_job_goes_on(
    cluster: Cluster, tmp_path: Path, dies: bool
) -> None:
    slurm = executor(tmp_path)
    events = slurm.run([counting(tmp_path, "a", steps=500, seconds=0.1)], StopRequest())
    follow(events, lambda: counted(tmp_path, "a") > 3)
    node = cluster.node_of(f"{slurm.states()['a'].array}_0")
    orphan = int(starts(tmp_path, "a")[0][3])
    cluster.lose_node(node, dies=dies)
    follow(events, lambda: len(starts(tmp_path, "a")) == 2)
    begun = int(starts(tmp_path, "a")[1][2])
    deadline = time.monotonic() + 10
    while Path(f"/proc/{orphan}").exists() and not is_dead(orphan):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert follow(events) == [("a", 0)]
    cluster.find_node(node)
    assert counted(tmp_path, "a") == 500
    # It went on where the orphan was, which had counted for seconds on its own, and lost nothing.
    assert begun > 30
    assert [line[1] for line in starts(tmp_path, "a")] == ["0", "1"]
    said = (tmp_path / "logs" / "a.log").read_text()
    assert f"taking over from process {orphan} on " in said
    assert not list((tmp_path / "a").glob("*partial*"))


def test_what_slurm_refuses_is_one_line_and_nothing_is_in_the_queue(
    cluster: Cluster, tmp_path: Path
) -> None:
    jobs = [counting(tmp_path, "a")]
    for changes, message in {
        ("partition", "lo"): "partition 'lo' does not exist; did you mean low",
        ("partition", "short"): r"Requested time limit is invalid .*\(the script is .*job\.sh\)",
        ("memory", "1T"): "node configuration is not available",
    }.items():
        with pytest.raises(UMambaError, match=message):
            list(executor(tmp_path, time="10", **dict([changes])).run(jobs, StopRequest()))
        assert cluster.command("squeue", "--noheader") == ""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho No module named umamba >&2\nexit 1\n")
    python.chmod(0o755)
    message = rf"{python} cannot import umamba on .*: No module named umamba; .* all jobs are"
    with pytest.raises(UMambaError, match=message):
        list(executor(tmp_path, python=str(python)).run(jobs, StopRequest()))
    assert not starts(tmp_path, "a")


_MANY = """
import sys, time
from pathlib import Path
from umamba.executors.jobs import Job
from umamba.executors.slurm.executor import SlurmExecutor
from umamba.executors.slurm.site import Site
from umamba.system.interruption import StopRequest
folder, began = Path(sys.argv[1]), time.monotonic()
site = Site(partition="low", memory="100M", cpus=1, poll_seconds=5, python="/bin/true")
jobs = [Job(f"{i}", ("x",), folder / "logs" / f"{i}") for i in range(1200)]
events = SlurmExecutor(site, folder / "slurm").run(jobs, StopRequest())
next(events)
submitted = time.monotonic() - began
codes = [event.exit_code for event in events if event.kind == "ended"]
peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
print(submitted, codes.count(0), int(peak) / 2**10, time.process_time())
"""


@pytest.mark.slow
def test_many_jobs_need_little_of_who_submits_them(cluster: Cluster, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _MANY, str(tmp_path)]
    done = subprocess.run(command, check=True, timeout=1200, capture_output=True, text=True)
    submitted, ended, peak_mib, own_seconds = map(float, done.stdout.split())
    assert (submitted < 60, ended, peak_mib < 300, own_seconds < 60) == (True, 1200, True, True)
    assert len(list((tmp_path / "slurm").glob("umamba-*"))) == 2  # of at most 1001
