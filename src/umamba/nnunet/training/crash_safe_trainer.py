"""A trainer that can be stopped or killed at any moment, and then resumes as if it had not been."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from multiprocessing import active_children
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from tqdm import tqdm

from umamba.nnunet.checkpoints.files import (
    fitting,
    is_whole,
    previous_of,
    read_checkpoint,
    remove_partial,
    write_checkpoint,
)
from umamba.nnunet.plans.networks import bare_network
from umamba.nnunet.training.disk_space import check_space, full_disk_explained
from umamba.nnunet.training.distributed_trainer import DistributedTrainer
from umamba.nnunet.training.finite_steps import MOST_IN_A_ROW, FiniteSteps, find_non_finite
from umamba.nnunet.training.pace import Pace
from umamba.nnunet.training.record import check_begun_alike
from umamba.nnunet.training.state import (
    LATEST,
    STATE,
    UnfinishedEpoch,
    how_to_go_on,
    joined_states,
    newest_checkpoint,
    random_states,
    restore_random_states,
    state_of_process,
)
from umamba.recipes import RECIPES, Recipe
from umamba.system.fencing import check_claims
from umamba.system.interruption import STOP_FILE, StopRequest, resumable
from umamba.system.processes import kill_children
from umamba.system.progress import CaseProgress
from umamba.system.run_lock import only_process

__all__ = ["CrashSafeTrainer"]

_SECONDS_BETWEEN_CHECKPOINTS = 600.0
_DUE, _STOP = 1, 2  # reasons to save
_PREDICTING = "predicting "  # how nnU-Net's log begins a case of the validation


class CrashSafeTrainer(DistributedTrainer):
    """Train by nnU-Net's own steps, and lose next to nothing whatever happens.

    A checkpoint is written after every epoch and at least every ten minutes. When a stop is
    requested of any process (a signal, a stop file, a limit of hours), all finish the iteration and
    save. Checkpoints hold the steps of an unfinished epoch and the states of the random generators.

    Attributes:
        recipe: The recipe that it trains by; its optimiser's state is in the checkpoints.
        stop: The source of requests to stop; `None` means signals, and a file `stop` in the fold's
            folder.
        epoch_at_hand: The steps of the epoch that is being trained; `None` between epochs.
    """

    recipe: ClassVar[Recipe] = RECIPES["nnunet"]
    stop: StopRequest | None = None
    epoch_at_hand: UnfinishedEpoch | None = None
    _finite_steps: FiniteSteps
    _random_states: Mapping[str, Any] | None = None
    _saved_at = 0.0
    _pace: Pace | None = None
    _validation: CaseProgress | None = None
    _validated = 0

    def settings(self) -> dict[str, Any]:
        """Return the settings, besides the plans, that a training starts and resumes with."""
        return {}

    def apply_settings(self, settings: Mapping[str, Any]) -> None:
        """Apply what `settings` returned; called before the network is built."""

    def run_training(self) -> None:
        """Train; on a terminal a bar shows the iterations of the epoch.

        Raises:
            ResumableInterruptError: If a stop was requested, once everything is saved.
            UMambaError: If another training uses the folder, or the disk is full.
        """
        others = active_children()
        with self._stoppable() as stop:
            try:
                with full_disk_explained(Path(self.output_folder)):
                    self._train(stop)
            finally:
                self._end_workers()
                kill_children(but=others)  # what had not ended, which would be waited for at exit

    @contextmanager
    def _stoppable(self) -> Iterator[StopRequest]:
        """Lock the folder, and stop when asked to."""
        folder = Path(self.output_folder)
        self.stop = self.stop or StopRequest(folder / STOP_FILE)
        with (
            only_process(folder) if self.local_rank == 0 else nullcontext(),
            resumable(lambda: how_to_go_on(folder)),
            self.stop.listening(),
        ):
            yield self.stop

    def _train(self, stop: StopRequest) -> None:
        if not self.was_initialized:
            self.initialize()
        if self.local_rank == 0:
            remove_partial(Path(self.output_folder))
            check_space(self.network, Path(self.output_folder), self.recipe.moments)
        self.on_train_start()
        if self._random_states is not None:
            restore_random_states(self._random_states)
        self._saved_at = time.monotonic()
        epochs = self.num_epochs - self.current_epoch
        if self.local_rank == 0:
            iterations = epochs * self.num_iterations_per_epoch
            self._pace = Pace(iterations, epochs, self.device.type)
        with stop.deferred():
            while self.current_epoch < self.num_epochs:
                self._run_epoch(stop)
            self.on_train_end()
        stop.honour()

    def _run_epoch(self, stop: StopRequest) -> None:
        if self.epoch_at_hand is None:
            self.on_epoch_start()
            self.on_train_epoch_start()
            self.epoch_at_hand = UnfinishedEpoch()
        else:
            self._reenter_epoch(self.epoch_at_hand)
        steps = self.epoch_at_hand
        self._take_steps("training", steps.training, stop)
        if len(self.logger.get_value("train_losses", step=None)) == self.current_epoch:
            self.on_train_epoch_end(steps.training)
        with torch.no_grad():
            self.on_validation_epoch_start()
            self._take_steps("validation", steps.validation, stop)
            self.on_validation_epoch_end(steps.validation)
        self.epoch_at_hand = None
        self.on_epoch_end()

    def _reenter_epoch(self, steps: UnfinishedEpoch) -> None:
        """Resume in the middle of an epoch, whose start is in the log already."""
        self.network.train()
        self.lr_scheduler.step(self.current_epoch)
        self._epoch_starts()[-1] = time.time() - steps.seconds
        self.print_to_log_file(
            f"Epoch {self.current_epoch} goes on after {len(steps.training)} training and "
            f"{len(steps.validation)} validation iterations"
        )

    def _epoch_starts(self) -> list[float]:
        starts: list[float] = self.logger.get_value("epoch_start_timestamps", step=None)
        return starts

    def _take_steps(self, phase: str, outputs: list[dict[str, Any]], stop: StopRequest) -> None:
        """Take the steps of an epoch's phase whose outputs are still missing."""
        step: Callable[[Any], dict[str, Any]] = self.train_step
        loader, total = self.dataloader_train, self.num_iterations_per_epoch
        if phase == "validation":
            step = self.validation_step
            loader, total = self.dataloader_val, self.num_val_iterations_per_epoch
        for _ in self._bar(len(outputs), total, phase):
            self._save_in_time(stop)
            try:
                batch = next(loader)
            except RuntimeError:  # the worker is dead: schedulers signal all processes
                if not self.is_ddp:  # else others are at another step
                    self._save_in_time(stop)
                raise
            outputs.append(step(batch))
            if self._pace is not None and phase == "training":
                self._pace.note_step()

    def initialize(self) -> None:
        """Build network, loss and optimiser as nnU-Net does, and guard the optimiser's steps."""
        super().initialize()
        self._finite_steps = FiniteSteps(
            bare_network(self.network),
            self.loss,
            self.optimizer,
            lambda bad: self._agreed(asked=bad),
        )

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take nnU-Net's step, unless its loss or gradient is not finite: then log where it began.

        Raises:
            TrainingError: If that happened too many times in a row.
        """
        guard = self._finite_steps
        with guard.watching():
            result: dict[str, Any] = super().train_step(batch)
        in_a_row, loss = guard.skipped_in_a_row, float(result["loss"])
        # Steps that a gradient scaler skips while it looks for its scale are not reported.
        news = self.grad_scaler is None or not math.isfinite(loss) or in_a_row >= MOST_IN_A_ROW
        if in_a_row and self._agreed(asked=news):  # each process has a loss of its own
            where = self._find_non_finite(batch)
            self.print_to_log_file(
                f"Step skipped, {in_a_row} in a row: its loss ({loss:.4g}) or its gradient is not "
                f"finite. {where}"
            )
            guard.check(where)
        return result

    def _find_non_finite(self, batch: dict[str, Any]) -> str:
        network, images = bare_network(self.network), batch["data"].to(self.device)
        target = batch["target"]
        several = isinstance(target, list)
        target = [t.to(self.device) for t in target] if several else target.to(self.device)

        def loss() -> torch.Tensor:
            with torch.autocast(self.device.type, enabled=self.device.type == "cuda"):
                value: torch.Tensor = self.loss(network(images), target)
            return value

        try:
            return find_non_finite(network, loss, images, lambda bad: self._agreed(asked=bad))
        except torch.OutOfMemoryError:
            if self.is_ddp:  # the other processes wait for this one
                raise
            return "The layer where it began was not found: the search did not fit into memory."

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        """Log the mean loss; where a skipped step's is not finite, that of the others counts."""
        losses = np.array([output["loss"] for output in train_outputs])
        finite = np.isfinite(losses)
        if finite.any() and not finite.all():
            losses[~finite] = losses[finite].mean()
            train_outputs = [{"loss": loss} for loss in losses]
        super().on_train_epoch_end(train_outputs)

    def _bar(self, done: int, total: int, phase: str) -> Any:
        hidden = self.local_rank != 0 or not sys.stderr.isatty()
        title = f"epoch {self.current_epoch + 1}/{self.num_epochs} {phase}"
        rest = range(done, total)
        return tqdm(rest, desc=title, initial=done, total=total, leave=False, disable=hidden)

    def _save_in_time(self, stop: StopRequest) -> None:
        """Save and interrupt if a stop was requested; else save if the last time is long ago.

        Raises:
            KeyboardInterrupt: With the reason, once everything is saved.
        """
        due = time.monotonic() - self._saved_at > _SECONDS_BETWEEN_CHECKPOINTS
        level = self._highest(_STOP if stop.reason() is not None else _DUE * due)
        if level:
            self._save_latest()
        if level == _STOP:
            self.print_to_log_file(f"Saved, and stopping: {stop.reason() or 'another process'}")
            self._wait_for_all()
            stop.honour()
            raise KeyboardInterrupt  # another process of this training was asked

    def on_epoch_end(self) -> None:
        """Finish the epoch as nnU-Net does, then save."""
        # nnU-Net saves the latest checkpoint before it notes the best Dice; ours comes after.
        self.save_every = self.num_epochs + 1
        super().on_epoch_end()
        self._save_latest()

    def on_train_end(self) -> None:
        """Write the final checkpoint, then remove those that it replaces."""
        super().on_train_end()
        if self.local_rank == 0:
            previous_of(Path(self.output_folder) / LATEST).unlink(missing_ok=True)

    def _end_workers(self) -> None:
        for loader in (self.dataloader_train, self.dataloader_val):
            if hasattr(loader, "_finish"):
                loader._finish()

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:  # noqa: FBT001, FBT002 - nnU-Net's
        """Predict and score the validation cases as nnU-Net does, and report progress.

        Raises:
            ResumableInterruptError: If a stop was requested.
            UMambaError: If another process works in the folder.
        """
        with self._stoppable():
            self._validated, self._validation = 0, None
            super().perform_actual_validation(save_probabilities)

    def print_to_log_file(self, *args: Any, **kwargs: Any) -> None:
        """Log as nnU-Net does; its note that it predicts a case is printed with our progress."""
        super().print_to_log_file(*args, **kwargs)
        if args and str(args[0]).startswith(_PREDICTING):
            self._tell_progress(str(args[0]).removeprefix(_PREDICTING))

    def _tell_progress(self, case_id: str) -> None:
        if self.stop is not None:
            self.stop.honour()
        check_claims()  # as nnU-Net's own code names the files of this case
        if self.local_rank != 0:
            return
        self._validation = self._validation or CaseProgress(self.n_to_validate)
        done, self._validated = self._validated, self._validated + 1
        at = self._validation.at(done + 1, done=done, left=self.n_to_validate - done)
        sys.stderr.write(f"validation: {case_id}, {at}\n")

    def save_checkpoint(self, filename: str) -> None:
        """Write a checkpoint atomically; nnU-Net calls this before it counts the epoch."""
        self._save(Path(filename), finished_epochs=self.current_epoch + 1)

    def _save_latest(self) -> None:
        self._save(Path(self.output_folder) / LATEST, finished_epochs=self.current_epoch)
        self._saved_at = time.monotonic()

    def _save(self, path: Path, finished_epochs: int) -> None:
        if self.disable_checkpointing:
            self.print_to_log_file("No checkpoint written, checkpointing is disabled")
            return
        states = self._of_all_processes(self._state())
        if self.local_rank != 0:
            return
        scaler = self.grad_scaler
        checkpoint = {
            "network_weights": bare_network(self.network).state_dict(),
            "optimizer_state": self.optimizer.state_dict(),
            "grad_scaler_state": None if scaler is None else scaler.state_dict(),
            "logging": self.logger.get_checkpoint(),
            "_best_ema": self._best_ema,
            "current_epoch": finished_epochs,
            "init_args": self.my_init_kwargs,
            "trainer_name": self._trainer_for_prediction(),
            "inference_allowed_mirroring_axes": self.inference_allowed_mirroring_axes,
            "umamba": self.settings(),
            STATE: joined_states(states),
        }
        write_checkpoint(checkpoint, path, keep_previous=path.name == LATEST)

    def _state(self) -> dict[str, Any]:
        steps = self.epoch_at_hand
        if steps is not None:
            steps.seconds = time.time() - self._epoch_starts()[-1]
        return {
            "unfinished_epoch": None if steps is None else steps.to_state(),
            "random_states": random_states(),
        }

    def _trainer_for_prediction(self) -> str:
        """Return the name of nnU-Net's trainer if the plans alone describe the network."""
        stock = nnUNetTrainer.build_network_architecture
        by_plans = type(self).build_network_architecture is stock
        return nnUNetTrainer.__name__ if by_plans else type(self).__name__

    def load_checkpoint(self, filename_or_checkpoint: str) -> None:
        """Resume a training as it was begun: weights, optimiser, length, seed and progress.

        Args:
            filename_or_checkpoint: The file; nothing in it is run. If it is the latest one and
                is torn, the newest whole one is used.

        Raises:
            CheckpointError: If no file can be used, or it is of other plans.
        """
        path = Path(filename_or_checkpoint)
        if path.name == LATEST and not is_whole(path):
            path = newest_checkpoint(path.parent)
        checkpoint = read_checkpoint(path)
        check_begun_alike(
            checkpoint,
            path,
            self.configuration_name,
            self.plans_manager.plans,
            self.dataset_json,
        )
        self.apply_settings(checkpoint.get("umamba") or {})  # before the schedule is built
        if not self.was_initialized:
            self.initialize()
        with fitting(path):
            self._take_up(checkpoint)

    def _take_up(self, checkpoint: dict[str, Any]) -> None:
        bare_network(self.network).load_state_dict(checkpoint["network_weights"])
        self.optimizer.load_state_dict(checkpoint["optimizer_state"])
        if self.grad_scaler is not None and checkpoint["grad_scaler_state"] is not None:
            self.grad_scaler.load_state_dict(checkpoint["grad_scaler_state"])
        self.my_init_kwargs = checkpoint["init_args"]
        self.current_epoch = checkpoint["current_epoch"]
        self.logger.load_checkpoint(checkpoint["logging"])
        self._best_ema = checkpoint["_best_ema"]
        self.inference_allowed_mirroring_axes = checkpoint["inference_allowed_mirroring_axes"]
        state, note = state_of_process(
            checkpoint.get(STATE) or {}, self.local_rank, self.n_processes
        )
        if note and self.local_rank == 0 and self.current_epoch < self.num_epochs:
            sys.stderr.write(f"note: {note}\n")
        self._random_states = state.get("random_states")
        unfinished = state.get("unfinished_epoch")
        if unfinished is not None:
            self.epoch_at_hand = UnfinishedEpoch.from_state(unfinished)
