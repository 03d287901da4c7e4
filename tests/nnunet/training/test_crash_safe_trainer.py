"""When a training saves; test_faults.py kills whole ones."""

import time
from typing import Any

import pytest

from umamba.nnunet.training.crash_safe_trainer import CrashSafeTrainer
from umamba.system.interruption import StopRequest

NOT_SAVED = "No checkpoint written, checkpointing is disabled"  # where one would have been


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def trainer(log: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A trainer at the time 0 whose attempts to save are in the log."""
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    trainer = CrashSafeTrainer.__new__(CrashSafeTrainer)
    trainer.is_ddp, trainer.local_rank, trainer.output_folder = False, 0, ""
    trainer.current_epoch, trainer.num_epochs = 0, 1
    trainer.disable_checkpointing = True
    trainer.print_to_log_file = lambda *words: log.extend(words)
    return trainer


@pytest.mark.parametrize(("minutes", "saves"), [(9.9, 0), (10.1, 1)])
def test_a_checkpoint_is_at_most_ten_minutes_old(
    trainer: Any, log: list[str], monkeypatch: pytest.MonkeyPatch, minutes: float, saves: int
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 60 * minutes)
    for _ in range(2):  # the second time it has just been done
        trainer._save_in_time(StopRequest())
    assert log == [NOT_SAVED] * saves


def test_a_worker_that_died_of_the_schedulers_signal_costs_nothing(
    trainer: Any, log: list[str]
) -> None:
    """The signal reaches workers and trainer; the trainer may be waiting for a batch."""
    stop = StopRequest()

    def dead_worker() -> Any:
        stop.ask("SIGTERM")
        msg = "One or more background workers are no longer alive"
        raise RuntimeError(msg)
        yield

    def refuse(_: Any) -> Any:
        raise AssertionError

    trainer.dataloader_train, trainer.num_iterations_per_epoch = dead_worker(), 3
    trainer.train_step = refuse
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        trainer._take_steps("training", [], stop)
    assert log == [NOT_SAVED, "Saved, and stopping: SIGTERM"]


def test_a_worker_that_died_of_itself_is_an_error(trainer: Any, log: list[str]) -> None:
    def dead_worker() -> Any:
        msg = "a worker died"
        raise RuntimeError(msg)
        yield

    trainer.dataloader_train, trainer.num_iterations_per_epoch = dead_worker(), 3
    with pytest.raises(RuntimeError, match="a worker died"):
        trainer._take_steps("training", [], StopRequest())
    assert log == []
