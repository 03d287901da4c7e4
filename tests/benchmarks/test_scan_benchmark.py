"""The benchmark of the scan: peers that are right, files that can be read, honest verdicts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import scan
from benchmarks.measurement import check_small
from benchmarks.peers import OURS, PEERS, REFERENCE, YARDSTICK, selective_scan_ref
from benchmarks.shapes import Shape
from benchmarks.targets import verdicts


@pytest.mark.parametrize("name", PEERS)
def test_peer_is_right(name: str) -> None:
    reason = PEERS[name].why_unavailable()
    if reason is not None:
        pytest.skip(reason)
    assert check_small(PEERS[name]) is None


def test_writes_one_json_object_per_measurement(tmp_path: Path, capsys: Any) -> None:
    output = tmp_path / "results" / "scan.jsonl"
    arguments = ["--rounds", "2", "--output", str(output), "--peers", OURS, REFERENCE]

    assert scan.main([*arguments, "--shapes", "1,32,40", "1,32,33"]) == 0
    assert scan.main([*arguments, "--shapes", "1,32,40"]) == 0

    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(rows) == 2 * 2 * 2  # shapes, passes, peers
    for row in rows:
        assert row["min_ms"] <= row["median_ms"] <= row["max_ms"]
        assert row["ratio"] == 1 or row["peer"] != OURS
        assert {"torch", "python", "cpu", "date", "threads"} <= row.keys()
    assert "(1, 32, 40)" in output.with_suffix(".md").read_text()
    assert "## forward+backward" in capsys.readouterr().out


def test_two_threads_are_measured_beside_one(tmp_path: Path) -> None:
    output = tmp_path / "scan.jsonl"
    arguments = ["--threads", "2", "--rounds", "1", "--peers", OURS, "--shapes", "1,32,40"]
    assert scan.main([*arguments, "--output", str(output)]) == 0
    assert "2 threads at least 1.7 times" in output.with_suffix(".md").read_text()
    with pytest.raises(ValueError, match="choose another --output"):
        scan.main(["--threads", "1", *arguments[2:], "--output", str(output)])


def test_a_wrong_peer_gets_no_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wrong = replace(PEERS[REFERENCE], scan=lambda *args: selective_scan_ref(*args) * 1.001)
    monkeypatch.setitem(PEERS, REFERENCE, wrong)
    output = tmp_path / "scan.jsonl"
    arguments = ["--rounds", "1", "--shapes", "1,32,40", "--peers", OURS, REFERENCE]
    assert scan.main([*arguments, "--output", str(output)]) == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    refused = [row for row in rows if row["peer"] == REFERENCE]
    assert all("wrong answer: y by 0.001" in row["skipped"] for row in refused)
    assert not any("median_ms" in row for row in refused)


def test_long_sequences_are_left_out_with_the_reason() -> None:
    assert "4096 steps" in str(PEERS[REFERENCE].why_skipped(Shape(1, 64, 4097), "forward"))
    reason = PEERS[REFERENCE].why_skipped(Shape(2, 256, 4096), "forward+backward")
    assert "1.1 TB of zeros" in str(reason)
    assert PEERS[REFERENCE].why_skipped(Shape(2, 640, 210), "forward+backward") is None


@pytest.mark.parametrize(("ratio", "met"), [(0.9, True), (0.7, False)])
def test_one_shape_below_the_target_is_a_miss(ratio: float, met: bool) -> None:
    shapes = {Shape(1, 64, 100): 1.2, Shape(1, 64, 200): ratio}
    rows = [
        {"peer": YARDSTICK, "pass": "forward+backward", "threads": 1, "shape": list(s), "ratio": r}
        for s, r in shapes.items()
    ]
    (verdict,) = verdicts(rows)
    assert verdict.met is met
    assert f"worst {ratio:.2f} at (1, 64, 200)" in verdict.measured
