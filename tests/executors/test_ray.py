"""Jobs on a real Ray of two nodes end as they should, whatever becomes of the nodes."""

import importlib.util
import shutil
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import counting_job
from toy import PLANS, folder_options
from toy_process import MODEL
from umamba.cli.main import main
from umamba.errors import UMambaError
from umamba.executors.jobs import Event, Executor, Job, Resources
from umamba.executors.ray import RayExecutor, largest_node
from umamba.nnunet.checkpoints.files import read_checkpoint
from umamba.system.interruption import StopRequest

_SECONDS = 90
_STORE_BYTES = 80_000_000  # as little as Ray takes
_IMPATIENT = {"health_check_period_ms": 500, "health_check_failure_threshold": 2}


def counting(folder: Path, name: str, steps: int = 1, code: int = 0) -> Job:
    command = (str(folder / name), str(steps), "0.2", str(code))
    return Job(name, command, folder / "logs" / f"{name}.log", Resources(memory_gib=1e6, cores=64))


def executor(address: str, **options: Any) -> RayExecutor:
    return RayExecutor(address, program=(str(Path(counting_job.__file__)),), **options)


def starts(folder: Path, name: str) -> list[str]:
    file = folder / name / "starts"
    return file.read_text().splitlines() if file.exists() else []


def in_time(events: Iterator[Event]) -> Iterator[Event]:
    deadline = time.monotonic() + _SECONDS
    for event in events:
        assert time.monotonic() < deadline
        yield event


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head that runs nothing, and two nodes of one core."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("no Ray: pip install 'umamba[ray]'")
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": _STORE_BYTES, "include_dashboard": False}
    head = {"num_cpus": 0, "_system_config": _IMPATIENT, **small}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        cluster.add_node(num_cpus=1, **small)
    yield cluster
    cluster.shutdown()


@pytest.mark.ray
@pytest.mark.slow  # Ray keeps threads and handlers of signals in its process: apart from others
def test_jobs_end_as_they_should_whatever_becomes_of_nodes(nodes: Any, tmp_path: Path) -> None:
    most = largest_node(nodes.address)
    assert (most.cores, most.gpus) == (1, 0)
    ray = executor(nodes.address)
    assert isinstance(ray, Executor)
    jobs = [counting(tmp_path, "a b"), counting(tmp_path, "c", code=3)]
    events = list(in_time(ray.run(jobs, StopRequest())))
    for job, code in zip(jobs, (0, 3), strict=True):
        told = [(e.kind, e.exit_code) for e in events if e.job == job]
        kept = [one for one in told if one[0] in ("started", "ended")]
        assert kept == [("started", None), ("ended", code)]
    assert (tmp_path / "logs" / "a b.log").read_text() == "counted to 1\n"

    # Those that run save, and those that wait never begin.
    stop = StopRequest()
    jobs = [counting(tmp_path, name, steps=1000) for name in "def"]
    ended = {}
    for event in in_time(executor(nodes.address, max_jobs=2).run(jobs, stop)):
        if all((tmp_path / name / "count").exists() for name in "de"):
            stop.ask("a test")
        if event.kind == "ended":
            ended[event.job.name] = event.exit_code
    assert ended == {"d": 75, "e": 75}
    assert "stopped at" in (tmp_path / "logs" / "d.log").read_text()
    assert not starts(tmp_path, "f")

    # A node is lost, with its process left to go on: its job starts again, and the orphan loses.
    steps, killed = 50, False
    jobs = [counting(tmp_path, name, steps=steps) for name in "gh"]
    events = []
    for event in in_time(executor(nodes.address).run(jobs, StopRequest())):
        if event.kind in ("started", "ended"):
            events.append((event.job.name, event.kind, event.exit_code))
        if not killed and all((tmp_path / name / "count").exists() for name in "gh"):
            nodes.remove_node(min(nodes.worker_nodes, key=id), allow_graceful=False)
            killed = True
    assert sorted(e for e in events if e[1] == "ended") == [("g", "ended", 0), ("h", "ended", 0)]
    assert len(events) == 4
    assert sorted(len(starts(tmp_path, name)) for name in "gh") == [1, 2]
    assert [int((tmp_path / name / "count").read_text()) for name in "gh"] == [steps] * 2
    logs = "".join((tmp_path / "logs" / f"{name}.log").read_text() for name in "gh")
    assert logs.count(f"counted to {steps}") == 2
    (orphaned,) = (known for known in (starts(tmp_path, name) for name in "gh") if len(known) == 2)
    orphan = int(orphaned[0].split()[-1])
    assert not Path(f"/proc/{orphan}").exists()


class _LostError(Exception):
    """What Ray raises where the process that ran a task has died."""


class _OneNode:
    """As much of Ray as the executor calls; tasks end at once, with what is given."""

    exceptions = types.SimpleNamespace(
        TaskCancelledError=KeyError, RayTaskError=LookupError, RayError=_LostError
    )

    def __init__(self, end: int | Exception) -> None:
        self.end, self.given = end, 0

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 1.0, "memory": 2.0**30}}]

    def remote(self, _: Any) -> "_OneNode":
        self.given += 1
        return self

    def options(self, **_: Any) -> Any:
        return types.SimpleNamespace(remote=lambda *_: object())

    def wait(self, references: list[object], **_: Any) -> tuple[list[object], list[object]]:
        return references, []

    def get(self, _: object) -> int:
        if isinstance(self.end, Exception):
            raise self.end
        return self.end


@pytest.mark.parametrize(
    ("end", "given", "code", "reason"),
    [
        (0, 1, 0, None),
        (1, 1, 1, None),
        (_LostError("out of memory"), 3, 1, "Ray has lost it 3 times: out of memory"),
    ],
)
def test_a_job_ends_though_its_log_was_never_seen_to_change(
    end: int | Exception,
    given: int,
    code: int,
    reason: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = _OneNode(end)
    monkeypatch.setitem(sys.modules, "ray", ray)  # type: ignore[arg-type]
    job = counting(tmp_path, "a")
    events = list(in_time(RayExecutor(interval=0).run([job], StopRequest())))
    assert [e for e in events if e.kind in ("started", "ended")] == [
        Event(job, "started"), Event(job, "ended", code, reason),
    ]  # fmt: skip
    assert ray.given == given


def test_no_ray_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UMambaError, match=r"needs Ray: pip install 'umamba\[ray\]'"):
        largest_node("auto")


@pytest.mark.ray
@pytest.mark.slow
def test_no_cluster_is_one_clear_line() -> None:
    pytest.importorskip("ray")
    with pytest.raises(UMambaError, match=r"no Ray at 127\.0\.0\.1:1: .*give --ray-address HOST"):
        largest_node("127.0.0.1:1")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.nnunet
def test_trainings_of_a_lost_node_end_as_if_it_were_there(
    nodes: Any, preprocessed_toy: Path, tmp_path: Path
) -> None:
    length = ["--epochs", "3", "--iterations", "30", "--seed", "0", "--validation-tta", "off"]
    nodes.add_node(num_cpus=1, object_store_memory=_STORE_BYTES)
    local = ["--workers", "2"]  # a core each
    ends = {"local": local, "ray": ["--ray-address", nodes.address]}
    weights = []
    for name, how in ends.items():
        root = tmp_path / name
        shutil.copytree(preprocessed_toy, root)
        words = ["train", "901", "3d_fullres", "0,1", "-p", PLANS, "-device", "cpu"]
        words += ["--executor", name, *how]
        if name == "ray":
            threading.Thread(target=lose_a_node, args=(nodes, root / MODEL / "jobs")).start()
        assert main([*words, *length, *folder_options(root)]) == 0
        finals = (root / MODEL / f"fold_{fold}" / "checkpoint_final.pth" for fold in range(2))
        weights.append([read_checkpoint(final)["network_weights"] for final in finals])
    attempts = [
        len(file.read_text().splitlines()) for file in (root / MODEL / "jobs").glob("*.starts")
    ]
    assert sum(attempts) > 2
    for one, other in zip(*weights, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def lose_a_node(nodes: Any, logs: Path) -> None:
    """Kill a node as soon as both folds have trained for an epoch."""
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        said = [log.read_text() for log in logs.glob("*.log")]
        if sum("epoch 1/" in text for text in said) == 2:
            nodes.remove_node(min(nodes.worker_nodes, key=id), allow_graceful=False)
            return
        time.sleep(0.1)
