"""The benchmark of layers and networks, on sizes that take no time."""

import json
from pathlib import Path

from benchmarks import layers


def test_every_target_gets_a_measurement(tmp_path: Path) -> None:
    output = tmp_path / "layers.json"
    arguments = ["--threads", "1", "--rounds", "1", "--edge", "32", "--length", "1024"]
    arguments += ["--features", *["4"] * 5]
    assert layers.main([*arguments, "--output", str(output)]) == 0
    found = json.loads(output.read_text(encoding="utf-8"))
    assert found["patch"] == [32, 32, 32]
    rows = found["results"]
    assert len(rows) == 7
    assert all(row["measured"] > 0 for row in rows if row["at_most"])
    kept_in_inference = [row["measured"] for row in rows if row["at_most"] == 0]
    assert kept_in_inference == [0]
