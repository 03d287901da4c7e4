"""The benchmark on a GPU: what it says without one, and its arithmetic."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu
from benchmarks.peers import GPU_PEERS, Peer, selective_scan_ref
from benchmarks.shapes import Shape


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


def test_every_peer_gets_a_number_or_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = {"multiprocessors": 132, "max_clock_mhz": 1755, "copy_gb_s": 3000.0}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "environment", dict)
    monkeypatch.setattr(gpu, "_device", lambda: device)
    monkeypatch.setattr(
        gpu,
        "GPU_PEERS",
        {
            gpu.GPU_OURS: Peer(gpu.GPU_OURS, selective_scan_ref, lambda: None),
            "missing": Peer("missing", selective_scan_ref, lambda: "not installed"),
            "wrong": Peer("wrong", lambda *x: 2 * selective_scan_ref(*x), lambda: None),
        },
    )
    network = {"what": "a step", "at_most": 1.3, "measured": 1.2}
    monkeypatch.setattr(gpu, "measure_networks", lambda _: iter([network]))
    output = tmp_path / "gpu.json"
    assert gpu.main(["--shapes", "1,8,20", "--rounds", "1", "--output", str(output)]) == 0
    report = json.loads(output.read_text())
    assert report["networks"] == [network]
    assert "max_clock_mhz 1755" in output.with_suffix(".md").read_text()
    rows = report["results"]
    assert [row.get("ratio") for row in rows] == [1, None, None] * 2
    reasons = [row["skipped"] for row in rows if "skipped" in row]
    assert reasons[0] == "not installed"
    assert reasons[1].startswith("wrong answer")
    assert len(GPU_PEERS) == 3
