"""When a training saves; test_faults.py kills whole ones."""

import time
from typing import Any

import pytest

from umamba.nnunet.training.crash_safe_trainer import CrashSafeTrainer
from umamba.system.interruption import StopRequest


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    saved: list[str] = []
    monkeypatch.setattr(CrashSafeTrainer, "_save_latest", lambda _: saved.append("latest"))
    return saved


@pytest.fixture
def trainer() -> Any:
    trainer = CrashSafeTrainer.__new__(CrashSafeTrainer)
    trainer.is_ddp = False
    trainer.print_to_log_file = lambda *_: None
    return trainer


@pytest.mark.parametrize(("minutes", "saves"), [(9.9, 0), (10.1, 1)])
def test_a_checkpoint_is_at_most_ten_minutes_old(
    trainer: Any, saved: list[str], minutes: float, saves: int
) -> None:
    trainer._saved_at = time.monotonic() - 60 * minutes
    trainer._save_in_time(StopRequest())
    assert len(saved) == saves


def test_a_worker_that_died_of_the_schedulers_signal_costs_nothing(
    trainer: Any, saved: list[str]
) -> None:
    """The signal reaches workers and trainer; the trainer may be waiting for a batch."""
    stop = StopRequest()

    def dead_worker() -> Any:
        stop._received = "SIGTERM"
        msg = "One or more background workers are no longer alive"
        raise RuntimeError(msg)
        yield

    def refuse(_: Any) -> Any:
        raise AssertionError

    trainer._saved_at = time.monotonic()
    trainer.current_epoch, trainer.num_epochs, trainer.local_rank = 0, 1, 0
    trainer.dataloader_train, trainer.num_iterations_per_epoch = dead_worker(), 3
    trainer.train_step = refuse
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        trainer._take_steps("training", [], stop)
    assert saved == ["latest"]


def test_a_worker_that_died_of_itself_is_an_error(trainer: Any, saved: list[str]) -> None:
    def dead_worker() -> Any:
        msg = "a worker died"
        raise RuntimeError(msg)
        yield

    trainer._saved_at = time.monotonic()
    trainer.current_epoch, trainer.num_epochs, trainer.local_rank = 0, 1, 0
    trainer.dataloader_train, trainer.num_iterations_per_epoch = dead_worker(), 3
    with pytest.raises(RuntimeError, match="a worker died"):
        trainer._take_steps("training", [], StopRequest())
    assert saved == []
