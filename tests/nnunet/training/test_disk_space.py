"""A disk that is too small for the checkpoints is named, before and during a training."""

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from umamba.errors import CheckpointError, UMambaError
from umamba.nnunet.training.disk_space import check_space, full_disk_explained
from umamba.nnunet.training.optimization import build_optimizer
from umamba.recipes import RECIPES

MIB = 2**20
NETWORK = nn.Linear(5 * MIB, 1, bias=False)  # 20 MiB; four files with momentum are 160


@pytest.mark.parametrize(("recipe", "mib"), [("nnunet", 210), ("adamw", 290)])
def test_four_checkpoints_and_a_margin_must_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, mib: int
) -> None:
    free = mib
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free * MIB))
    moments = RECIPES[recipe].moments
    check_space(NETWORK, tmp_path, moments)
    free -= 1
    wanted = rf"need {mib} MiB, and {tmp_path} has {free} MiB left; make room, or .* --results"
    with pytest.raises(UMambaError, match=wanted):
        check_space(NETWORK, tmp_path, moments)


def test_checkpoints_are_as_large_as_they_are_counted(tmp_path: Path) -> None:
    network = nn.Linear(512, 512, bias=False)  # 1 MiB
    for recipe in RECIPES.values():
        optimizer = build_optimizer(recipe, network)
        network(torch.ones(1, 512)).sum().backward()
        optimizer.step()
        file = tmp_path / f"{recipe.name}.pth"
        torch.save([network.state_dict(), optimizer.state_dict()], file)
        assert round(file.stat().st_size / MIB, 1) == 1 + recipe.moments


def test_checkpoints_that_are_there_need_no_more_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=171 * MIB))
    (tmp_path / "checkpoint_latest.pth").write_bytes(bytes(40 * MIB))
    check_space(NETWORK, tmp_path, 1)


def test_weights_of_several_names_need_room_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = nn.ModuleDict({"first": NETWORK, "again": NETWORK})
    assert len(twice.state_dict()) == 2
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=210 * MIB))
    check_space(twice, tmp_path, 1)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_is_put_into_words(tmp_path: Path, number: int) -> None:
    wanted = r"progress.png cannot be written \(why\); the last checkpoint is kept.* --resume"
    with pytest.raises(CheckpointError, match=wanted), full_disk_explained(tmp_path):
        raise OSError(number, "why", "progress.png")


def test_other_errors_are_left_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), full_disk_explained(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "why")
