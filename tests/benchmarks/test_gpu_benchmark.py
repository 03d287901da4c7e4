"""The benchmark on a GPU: what it says without one, and its arithmetic."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_networks
from benchmarks.peers import GPU_OURS, GPU_PEERS, MAMBA_SSM, Peer, selective_scan_ref
from benchmarks.shapes import GPU_SHAPES, Shape
from benchmarks.targets import gpu_verdicts


def test_without_a_gpu_nothing_is_invented(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    output = tmp_path / "gpu.json"
    assert gpu.main(["--output", str(output)]) == 0
    assert capsys.readouterr().out == "no CUDA device: unmeasured\n"
    assert not output.exists()


def test_floors_of_an_h100() -> None:
    machine = {"multiprocessors": 132, "max_clock_mhz": 1755, "copy_gb_s": 3000.0}
    floors = gpu._floors_ms(Shape(1, 64, 262144), "forward", machine)
    assert floors["mufu_floor_ms"] == pytest.approx(0.0724, rel=1e-3)
    assert floors["hbm_floor_ms"] == pytest.approx(0.0671, rel=1e-3)


def _out_of_memory(*_: Any) -> Any:
    msg = "CUDA out of memory\nhere"
    raise torch.OutOfMemoryError(msg)


def test_every_peer_gets_a_number_or_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = {"multiprocessors": 132, "max_clock_mhz": 1755, "copy_gb_s": 3000.0}
    monkeypatch.setattr(gpu, "kernel_seconds", lambda *_: 2e-3)
    monkeypatch.setattr(
        gpu,
        "GPU_PEERS",
        {
            gpu.GPU_OURS: Peer(gpu.GPU_OURS, selective_scan_ref, lambda: None),
            "missing": Peer("missing", selective_scan_ref, lambda: "not installed"),
            "wrong": Peer("wrong", lambda *x: 2 * selective_scan_ref(*x), lambda: None),
            "broken": Peer("broken", _out_of_memory, lambda: None),
        },
    )
    network = {"what": "a step", "at_most": 1.3, "measured": 1.2}
    monkeypatch.setattr(gpu_networks, "measure_networks", lambda *_: iter([network]))
    output = tmp_path / "gpu.json"
    options = ["--shapes", "1,8,20", "--rounds", "1", "--output", str(output)]
    gpu.measure(gpu.parser().parse_args(options), machine, "cpu")
    report = json.loads(output.read_text())
    assert report["networks"] == [network]
    said = re.sub(" +", " ", output.with_suffix(".md").read_text())  # cells without padding
    assert "max_clock_mhz 1755" in said
    assert said.count("6.91e-07 / 6.4e-07") == 1  # floors of the forward
    assert "| (1, 8, 20) | 2 | - | - | - |" in said  # kernels alone
    rows = report["results"]
    assert [row.get("ratio") for row in rows] == [1, None, None, None] * 2
    reasons = [row["skipped"] for row in rows if "skipped" in row]
    assert reasons[0] == "not installed"
    assert reasons[1].startswith("wrong answer")
    assert reasons[2] == "OutOfMemoryError: CUDA out of memory"
    assert len(GPU_PEERS) == 3


def _scan_rows(shape: Shape, ratio: float, memory_mib: float) -> list[dict[str, Any]]:
    common = {"shape": list(shape), "pass": "forward+backward"}
    return [
        common | {"peer": GPU_OURS, "ratio": 1.0, "extra_memory_mib": memory_mib},
        common | {"peer": MAMBA_SSM, "ratio": ratio, "extra_memory_mib": 100.0},
    ]


@pytest.mark.parametrize(
    ("shape", "least"),
    [(Shape(1, 64, 262144), 4), (Shape(2, 64, 65536), 1.5), (Shape(8, 1024, 2048), 0.9)],
)
def test_targets_of_the_scan_are_judged(shape: Shape, least: float) -> None:
    assert shape in GPU_SHAPES
    for factor, memory_mib, met in ((1.01, 119, True), (0.99, 121, False)):
        speed, memory = gpu_verdicts(_scan_rows(shape, least * factor, memory_mib))
        assert (speed.met, memory.met) == (met, met)
        assert str(shape) in speed.target
        assert memory.measured == f"{memory_mib / 100:.2f} at {shape}"


def test_without_mamba_ssm_nothing_is_judged() -> None:
    rows = _scan_rows(Shape(1, 64, 262144), 5, 100)
    rows[1] = rows[1] | {"ratio": None, "extra_memory_mib": None, "skipped": "not installed"}
    assert gpu_verdicts(rows) == []
