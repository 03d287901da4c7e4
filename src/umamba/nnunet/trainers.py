"""Trainers: our recipe for any plans, and the authors' names for their commands as they stand."""

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn
from torch._dynamo import OptimizedModule
from tqdm import tqdm

from umamba.errors import UMambaError
from umamba.layers.mamba_block import Mamba
from umamba.nnunet.checkpoints import is_whole, previous_of, read_checkpoint, write_checkpoint
from umamba.nnunet.paths import environment
from umamba.nnunet.plans import official_architecture

__all__ = [
    "nnUNetTrainerUMamba",
    "nnUNetTrainerUMambaBot",
    "nnUNetTrainerUMambaEnc",
    "nnUNetTrainerUMambaEncNoAMP",
]

_EPOCH_ITERATIONS = 250
_LATEST = "checkpoint_latest.pth"
_VALIDATION_SHARE = 5  # one validation batch for every five training batches, as nnU-Net does


class nnUNetTrainerUMamba(nnUNetTrainer):
    """Train any plans by nnU-Net's recipe, with three differences.

    - `A_log` and `D` of every Mamba block are spared weight decay, as in mamba_ssm's recipe.
    - The length of training and the seed can be set by `set_budget` and `set_seed`. With a seed,
      every batch is drawn and augmented from (seed, iteration), so it does not depend on how
      many workers make batches or on how far they have run ahead.
    - Checkpoints name the trainer `nnUNetTrainer`: their plans describe the network fully, so
      that stock prediction and exported models need no `nnUNet_extTrainer`.
    """

    seed: int | None = None

    def set_budget(self, epochs: int | None = None, iterations: int | None = None) -> None:
        """Set how long to train, before training starts.

        Args:
            epochs: Number of epochs; `None` is nnU-Net's 1000, or what `iterations` needs.
            iterations: Training iterations in all, spread evenly over the epochs; without
                `epochs` an epoch has at most 250.

        Raises:
            UMambaError: If there are fewer iterations than epochs.
        """
        if iterations is not None:
            epochs, self.num_iterations_per_epoch = spread(iterations, epochs)
            self.num_val_iterations_per_epoch = max(
                1, self.num_iterations_per_epoch // _VALIDATION_SHARE
            )
        if epochs is not None:
            self.num_epochs = epochs

    def set_seed(self, seed: int) -> None:
        """Make initialisation, sampling and augmentation repeatable; call before `initialize`."""
        self.seed = seed
        seed_everything(seed)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """Build nnU-Net's optimiser and schedule, sparing the recurrence weight decay."""
        spared = [
            parameter
            for module in self.network.modules()
            if isinstance(module, Mamba)
            for parameter in module.parameters_without_weight_decay()
        ]
        spared_ids = {id(parameter) for parameter in spared}
        decayed = [p for p in self.network.parameters() if id(p) not in spared_ids]
        groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": self.weight_decay}]
        if spared:
            groups.append({"params": spared, "weight_decay": 0.0})
        optimizer = torch.optim.SGD(groups, self.initial_lr, momentum=0.99, nesterov=True)
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Build nnU-Net's loaders; with a seed, in an order that workers cannot change."""
        if self.seed is None:
            loaders: tuple[Any, Any] = super().get_dataloaders()
            return loaders
        workers = get_allowed_n_proc_DA()
        # Without workers nnU-Net hands back the bare loaders, which are then wrapped here.
        with environment(nnUNet_n_proc_DA="0"):
            train, validation = super().get_dataloaders()
        return (
            self._seeded(train.data_loader, workers, self.num_iterations_per_epoch, stream=0),
            self._seeded(
                validation.data_loader,
                -(-workers // 2),
                self.num_val_iterations_per_epoch,
                stream=1,
            ),
        )

    def _seeded(self, loader: Any, workers: int, per_epoch: int, stream: int) -> Any:
        start = self.current_epoch * per_epoch
        entropy = (self.seed or 0, self.local_rank, stream)
        seeded = _SeededLoader(loader, entropy, start, max(1, workers))
        if workers == 0:
            return SingleThreadedAugmenter(seeded, None)
        return MultiThreadedAugmenter(
            seeded, None, workers, num_cached_per_queue=2, pin_memory=self.device.type == "cuda"
        )

    def run_training(self) -> None:
        """Train; on a terminal a bar shows the iterations of the epoch.

        A checkpoint is written after every epoch, so that an interrupt costs no more than one.
        """
        self.save_every = 1
        self.on_train_start()
        for _ in range(self.current_epoch, self.num_epochs):
            self.on_epoch_start()
            self.on_train_epoch_start()
            steps = self._progress(self.num_iterations_per_epoch, "training")
            self.on_train_epoch_end([self.train_step(next(self.dataloader_train)) for _ in steps])
            with torch.no_grad():
                self.on_validation_epoch_start()
                steps = self._progress(self.num_val_iterations_per_epoch, "validation")
                self.on_validation_epoch_end(
                    [self.validation_step(next(self.dataloader_val)) for _ in steps]
                )
            self.on_epoch_end()
        self.on_train_end()

    def _progress(self, total: int, what: str) -> Any:
        hidden = self.local_rank != 0 or not sys.stderr.isatty()
        title = f"epoch {self.current_epoch + 1}/{self.num_epochs} {what}"
        return tqdm(range(total), desc=title, leave=False, disable=hidden)

    def print_to_log_file(
        self, *args: Any, also_print_to_console: bool = True, **kwargs: Any
    ) -> None:
        """Keep nnU-Net's full log in the file; the console gets one line per epoch."""
        console = also_print_to_console and not self.quiet_console
        super().print_to_log_file(*args, also_print_to_console=console, **kwargs)

    quiet_console = False

    def on_epoch_end(self) -> None:
        """Finish the epoch as nnU-Net does, and sum it up in one line."""
        epoch = self.current_epoch
        super().on_epoch_end()
        if self.local_rank == 0:
            sys.stderr.write(self._epoch_line(epoch) + "\n")

    def _epoch_line(self, epoch: int) -> str:
        def value(key: str) -> Any:
            return self.logger.get_value(key, step=-1)

        seconds = value("epoch_end_timestamps") - value("epoch_start_timestamps")
        dice = " ".join(f"{d:.3f}" for d in value("dice_per_class_or_region"))
        return (
            f"epoch {epoch + 1}/{self.num_epochs}  train loss {value('train_losses'):.4f}  "
            f"val loss {value('val_losses'):.4f}  pseudo Dice {dice}  {seconds:.0f} s"
        )

    def save_checkpoint(self, filename: str) -> None:
        """Write a checkpoint whole or not at all; the latest one's predecessor is kept."""
        if self.local_rank != 0:
            return
        if self.disable_checkpointing:
            self.print_to_log_file("No checkpoint written, checkpointing is disabled")
            return
        network = self.network.module if self.is_ddp else self.network
        if isinstance(network, OptimizedModule):
            network = network._orig_mod
        scaler = self.grad_scaler
        checkpoint = {
            "network_weights": network.state_dict(),
            "optimizer_state": self.optimizer.state_dict(),
            "grad_scaler_state": None if scaler is None else scaler.state_dict(),
            "logging": self.logger.get_checkpoint(),
            "_best_ema": self._best_ema,
            "current_epoch": self.current_epoch + 1,
            "init_args": self.my_init_kwargs,
            "trainer_name": self._trainer_for_prediction(),
            "inference_allowed_mirroring_axes": self.inference_allowed_mirroring_axes,
            "umamba": self._budget(),
        }
        target = Path(filename)
        write_checkpoint(checkpoint, target, keep_previous=target.name == _LATEST)

    def _trainer_for_prediction(self) -> str:
        """Name nnU-Net's trainer where the plans alone describe the network."""
        stock = nnUNetTrainer.build_network_architecture
        by_plans = type(self).build_network_architecture is stock
        return nnUNetTrainer.__name__ if by_plans else type(self).__name__

    def _budget(self) -> dict[str, int | None]:
        return {
            "epochs": self.num_epochs,
            "iterations_per_epoch": self.num_iterations_per_epoch,
            "validation_iterations_per_epoch": self.num_val_iterations_per_epoch,
            "seed": self.seed,
        }

    def load_checkpoint(self, filename_or_checkpoint: str) -> None:
        """Go on with a training as it was begun: weights, optimiser, length and seed.

        Args:
            filename_or_checkpoint: The file; nothing in it is run. If it is torn, the one before
                it is taken where there is one.

        Raises:
            CheckpointError: If the file cannot be used.
        """
        path = Path(filename_or_checkpoint)
        previous = previous_of(path)
        if not is_whole(path) and is_whole(previous):
            sys.stderr.write(f"{path} is torn; going on from {previous}\n")
            path = previous
        begun = read_checkpoint(path).get("umamba")
        if begun is not None:  # before the schedule is built
            self.num_epochs = begun["epochs"]
            self.num_iterations_per_epoch = begun["iterations_per_epoch"]
            self.num_val_iterations_per_epoch = begun["validation_iterations_per_epoch"]
            if begun["seed"] is not None:
                self.set_seed(begun["seed"])
        super().load_checkpoint(str(path))

    def on_train_end(self) -> None:
        """Write the final checkpoint, then remove those that it makes superfluous."""
        super().on_train_end()
        if self.local_rank == 0:
            previous_of(Path(self.output_folder) / _LATEST).unlink(missing_ok=True)


def spread(iterations: int, epochs: int | None) -> tuple[int, int]:
    """Spread iterations evenly over epochs.

    Args:
        iterations: Training iterations in all.
        epochs: Number of epochs; `None` makes epochs of at most 250 iterations.

    Returns:
        Epochs, and iterations per epoch; their product may exceed `iterations` by less than the
        number of epochs.

    Raises:
        UMambaError: If there are fewer iterations than epochs.
    """
    epochs = epochs or -(-iterations // _EPOCH_ITERATIONS)
    if iterations < epochs:
        msg = f"{iterations} iterations cannot be spread over {epochs} epochs; ask for more"
        raise UMambaError(msg)
    return epochs, -(-iterations // epochs)


class _SeededLoader:
    """Draw batch number `i` of a data loader from (*entropy, i), whichever worker draws it."""

    def __init__(self, loader: Any, entropy: Sequence[int], start: int, workers: int) -> None:
        self.loader = loader
        self.entropy = tuple(entropy)
        self.next_index = start
        self.workers = workers

    def set_thread_id(self, thread_id: int) -> None:
        """Take every `workers`-th batch, beginning with one's own number; called in the worker."""
        # A forked worker has none of its parent's threads, and would wait for them forever.
        torch.set_num_threads(1)
        self.next_index += thread_id
        self.loader.set_thread_id(thread_id)

    def __iter__(self) -> "_SeededLoader":
        return self

    def __next__(self) -> Any:
        sequence = np.random.SeedSequence([*self.entropy, self.next_index])
        seed_everything(int(sequence.generate_state(1)[0]))
        self.next_index += self.workers
        return next(self.loader)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy's global generator (which nnU-Net draws from) and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the generator that nnU-Net uses
    torch.manual_seed(seed)


class _OfficialByDefault(nnUNetTrainer):
    """Build what umamba plans say; from any other plans, the authors' network by their rule."""

    model = ""

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: Any,  # noqa: ARG003 - nnU-Net passes it
        configuration_manager: Any,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """Build the network; called by nnU-Net for training and for prediction."""
        architecture = configuration_manager.configuration["architecture"]
        if not str(architecture["network_class_name"]).startswith("umamba."):
            architecture = official_architecture(configuration_manager.configuration, cls.model)
        network: nn.Module = get_network_from_plans(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            num_input_channels,
            num_output_channels,
            allow_init=True,
            deep_supervision=enable_deep_supervision,
        )
        return network


class nnUNetTrainerUMambaBot(_OfficialByDefault):
    """The authors' command `nnUNetv2_train ... -tr nnUNetTrainerUMambaBot`, as it stands."""

    model = "umamba_bot_official"


class nnUNetTrainerUMambaEnc(_OfficialByDefault):
    """The authors' command `nnUNetv2_train ... -tr nnUNetTrainerUMambaEnc`, as it stands."""

    model = "umamba_enc_official"


class nnUNetTrainerUMambaEncNoAMP(nnUNetTrainerUMambaEnc):
    """As `nnUNetTrainerUMambaEnc`, with training and its validation in float32.

    The final validation and prediction are nnU-Net's, and autocast on a GPU.
    """

    network: Any

    # nnU-Net reads the names of its arguments from this signature.
    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net's signature
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.grad_scaler = None

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take one step; nnU-Net's own, but the network leaves its autocast."""
        with self._full_precision():
            result: dict[str, Any] = super().train_step(batch)
        return result

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Validate on one batch, likewise."""
        with self._full_precision():
            result: dict[str, Any] = super().validation_step(batch)
        return result

    @contextmanager
    def _full_precision(self) -> Iterator[None]:
        network = self.network
        self.network = _FullPrecision(network)
        try:
            yield
        finally:
            self.network = network


class _FullPrecision(nn.Module):
    """Run a network in float32 inside somebody else's autocast."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> Any:
        """Segment a batch of patches."""
        with torch.autocast(x.device.type, enabled=False):
            return self.network(x.float())
