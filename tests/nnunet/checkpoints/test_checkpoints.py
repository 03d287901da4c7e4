"""Checkpoints are read without running what is in them."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reference_cases import GOLDEN
from umamba.errors import CheckpointError
from umamba.nnunet.checkpoints.files import is_whole, previous_of, read_checkpoint, write_checkpoint

FORK = GOLDEN / "fork_model" / "fold_all" / "checkpoint_final.pth"


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def test_the_authors_checkpoint_with_numpy_scalars_loads() -> None:
    checkpoint = read_checkpoint(FORK)
    assert checkpoint["trainer_name"] == "nnUNetTrainerUMambaEnc"
    assert isinstance(checkpoint["_best_ema"], np.float64)
    assert len(checkpoint["network_weights"]) == 358


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "bool"])
def test_numpy_scalars_survive(dtype: str, tmp_path: Path) -> None:
    value = np.dtype(dtype).type(1)
    torch.save({"network_weights": {}, "logging": [value]}, tmp_path / "c.pth")
    assert read_checkpoint(tmp_path / "c.pth")["logging"] == [value]


def test_a_malicious_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "run"
    torch.save({"network_weights": Malicious(marker)}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="more than weights and plain data"):
        read_checkpoint(tmp_path / "evil.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Malicious(marker)))
    with pytest.raises(CheckpointError, match=r"was not loaded|cannot be read"):
        read_checkpoint(tmp_path / "bare.pth")
    assert not marker.exists()


@pytest.mark.parametrize("keep", [0, 10, 1000, 500_000])
def test_a_torn_checkpoint_is_named(keep: int, tmp_path: Path) -> None:
    torn = tmp_path / "torn.pth"
    torn.write_bytes(FORK.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"torn\.pth"):
        read_checkpoint(torn)


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist; train first"):
        read_checkpoint(tmp_path / "none.pth")
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="has no `network_weights`"):
        read_checkpoint(tmp_path / "other.pth")


def contents(value: float) -> dict[str, Any]:
    return {"network_weights": {"weight": torch.full((4096,), float(value))}}


def value_in(path: Path) -> float:
    return float(read_checkpoint(path)["network_weights"]["weight"][0])


def test_the_previous_checkpoint_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_latest.pth"
    for value in (1.0, 2.0, 3.0):
        write_checkpoint(contents(value), path, keep_previous=True)
    assert value_in(path) == 3
    assert previous_of(path) == tmp_path / "checkpoint_latest_previous.pth"
    assert value_in(previous_of(path)) == 2
    assert {p.name for p in tmp_path.iterdir()} == {path.name, previous_of(path).name}


def test_a_torn_checkpoint_does_not_push_out_the_previous_one(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_latest.pth"
    for value in (1.0, 2.0):
        write_checkpoint(contents(value), path, keep_previous=True)
    path.write_bytes(path.read_bytes()[:1000])
    write_checkpoint(contents(3), path, keep_previous=True)
    assert (value_in(path), value_in(previous_of(path))) == (3, 1)


def test_the_previous_checkpoint_is_copied_where_links_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    path = tmp_path / "checkpoint_latest.pth"
    write_checkpoint(contents(1), path, keep_previous=True)
    write_checkpoint(contents(2), path, keep_previous=True)
    assert (value_in(path), value_in(previous_of(path))) == (2, 1)


@pytest.mark.parametrize("where", ["save", "sync", "verify"])
def test_what_fails_to_be_written_replaces_nothing(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint_latest.pth"
    write_checkpoint(contents(1), path, keep_previous=True)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if where == "save":
        monkeypatch.setattr(torch, "save", full)
    elif where == "sync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr("umamba.nnunet.checkpoints.files.is_whole", lambda _: False)
    message = (
        "reads back differently" if where == "verify" else r"cannot be written \(No space left"
    )
    with pytest.raises(CheckpointError, match=message):
        write_checkpoint(contents(2), path, keep_previous=True)
    monkeypatch.undo()
    assert value_in(path) == 1
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_flipped_bit_of_a_weight_is_found(tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    write_checkpoint(contents(1), path, keep_previous=False)
    raw = path.read_bytes()
    weights = torch.full((4096,), 1.0).numpy().tobytes()
    start = raw.index(weights)
    rng = np.random.default_rng(0)
    for position in rng.integers(start, start + len(weights), 50):
        flipped = bytearray(raw)
        flipped[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        assert not is_whole(path)
        with pytest.raises(CheckpointError, match="damaged: a checksum is wrong"):
            read_checkpoint(path)


def test_a_cut_file_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    write_checkpoint(contents(1), path, keep_previous=False)
    raw = path.read_bytes()
    assert is_whole(path)
    for length in (0, 1, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:length])
        assert not is_whole(path)
    assert not is_whole(tmp_path / "missing.pth")
