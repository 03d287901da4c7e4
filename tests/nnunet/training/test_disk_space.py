"""A disk that is too small for the checkpoints is named, before and during a training."""

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

from umamba.errors import CheckpointError, UMambaError
from umamba.nnunet.training.disk_space import check_space, full_disk_explained

MIB = 2**20
NETWORK = nn.Linear(5 * MIB, 1, bias=False)  # 20 MiB; four files with momentum are 160


@pytest.mark.parametrize(("free", "enough"), [(209, False), (210, True)])
def test_four_checkpoints_and_a_margin_must_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, *, enough: bool
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free * MIB))
    if enough:
        check_space(NETWORK, tmp_path)
        return
    wanted = rf"need 210 MiB, and {tmp_path} has 209 MiB left; make room, or .* --results"
    with pytest.raises(UMambaError, match=wanted):
        check_space(NETWORK, tmp_path)


def test_checkpoints_that_are_there_need_no_more_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=171 * MIB))
    (tmp_path / "checkpoint_latest.pth").write_bytes(bytes(40 * MIB))
    check_space(NETWORK, tmp_path)


def test_weights_of_several_names_need_room_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = nn.ModuleDict({"first": NETWORK, "again": NETWORK})
    assert len(twice.state_dict()) == 2
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=210 * MIB))
    check_space(twice, tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_is_put_into_words(tmp_path: Path, number: int) -> None:
    wanted = r"progress.png cannot be written \(why\); the last checkpoint is kept.* --resume"
    with pytest.raises(CheckpointError, match=wanted), full_disk_explained(tmp_path):
        raise OSError(number, "why", "progress.png")


def test_other_errors_are_left_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), full_disk_explained(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "why")
