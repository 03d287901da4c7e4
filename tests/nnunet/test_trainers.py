"""Lengths of training, precision, and the environment of workers."""

import pytest
import torch

from umamba.errors import UMambaError
from umamba.nnunet.paths import Paths, environment, set_default_workers
from umamba.nnunet.trainers import (
    nnUNetTrainerUMamba,
    nnUNetTrainerUMambaEncNoAMP,
)


@pytest.fixture
def trainer() -> nnUNetTrainerUMamba:
    trainer = nnUNetTrainerUMamba.__new__(nnUNetTrainerUMamba)
    trainer.num_epochs = 1000
    trainer.num_iterations_per_epoch = 250
    trainer.num_val_iterations_per_epoch = 50
    return trainer


@pytest.mark.parametrize(
    ("epochs", "iterations", "want"),
    [
        (None, None, (1000, 250, 50)),
        (7, None, (7, 250, 50)),
        (None, 1000, (4, 250, 50)),
        (None, 1001, (5, 201, 40)),
        (None, 20, (1, 20, 4)),
        (2, 6, (2, 3, 1)),
    ],
)
def test_budget(
    trainer: nnUNetTrainerUMamba,
    epochs: int | None,
    iterations: int | None,
    want: tuple[int, int, int],
) -> None:
    trainer.set_budget(epochs, iterations)
    got = (trainer.num_epochs, trainer.num_iterations_per_epoch)
    assert (*got, trainer.num_val_iterations_per_epoch) == want
    assert iterations is None or got[0] * got[1] >= iterations


def test_fewer_iterations_than_epochs_are_refused(trainer: nnUNetTrainerUMamba) -> None:
    with pytest.raises(UMambaError, match="3 iterations cannot be spread over 7 epochs"):
        trainer.set_budget(7, 3)


def test_without_autocast_the_network_sees_float32_inside_stocks_autocast() -> None:
    trainer = nnUNetTrainerUMambaEncNoAMP.__new__(nnUNetTrainerUMambaEncNoAMP)
    trainer.network = torch.nn.Conv2d(1, 1, 1)
    x = torch.zeros(1, 1, 2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert trainer.network(x).dtype == torch.bfloat16
        with trainer._full_precision():
            assert trainer.network(x.bfloat16()).dtype == torch.float32
            assert len(list(trainer.network.parameters())) == 2
    assert isinstance(trainer.network, torch.nn.Conv2d)


def test_worker_defaults_leave_the_users_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("nnUNet_n_proc_DA", "7")
    monkeypatch.delenv("nnUNet_def_n_proc", raising=False)
    with environment():
        set_default_workers("cpu")
        assert os.getenv("nnUNet_n_proc_DA") == "7"
        assert 1 <= int(os.environ.pop("nnUNet_def_n_proc")) <= 8
    monkeypatch.delenv("nnUNet_n_proc_DA")
    set_default_workers("cuda")
    assert "nnUNet_n_proc_DA" not in os.environ
    os.environ.pop("nnUNet_def_n_proc")


def test_environment_is_put_back() -> None:
    import os

    os.environ.pop("nnUNet_test", None)
    with pytest.raises(KeyError), environment(nnUNet_test="1"):
        raise KeyError
    assert "nnUNet_test" not in os.environ
    assert Paths().raw is None
