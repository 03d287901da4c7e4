"""Checkpoints are read without running what is in them."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import GOLDEN
from umamba.errors import CheckpointError
from umamba.nnunet.checkpoints import read_checkpoint

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
