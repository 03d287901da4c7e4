"""Trainers: our recipe for any plans, and the authors' trainers, so that their commands work."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

from umamba.errors import CheckpointError, UMambaError
from umamba.nnunet.plans.architectures import official_architecture
from umamba.nnunet.training.crash_safe_trainer import CrashSafeTrainer
from umamba.nnunet.training.optimization import LearningRates, build_optimizer
from umamba.nnunet.training.seed_streams import INDEPENDENT, SHARED, batch_stream, weight_seed
from umamba.nnunet.training.seeded_batches import augmenter, seed_everything, unseeded_augmenter
from umamba.nnunet.training.state import UnfinishedEpoch
from umamba.nnunet.training.tensorboard_log import TensorBoardLog
from umamba.recipes import RECIPES
from umamba.system.environment import environment

__all__ = [
    "nnUNetTrainerUMamba",
    "nnUNetTrainerUMambaAdamW",
    "nnUNetTrainerUMambaBot",
    "nnUNetTrainerUMambaEnc",
    "nnUNetTrainerUMambaEncNoAMP",
    "nnUNetTrainerUMambaMedNeXt",
]

_EPOCH_ITERATIONS = 250
_VALIDATION_SHARE = 5  # one validation batch for every five training batches, as nnU-Net does


class nnUNetTrainerUMamba(CrashSafeTrainer):
    """Train any plans by nnU-Net's recipe, with four differences; subclasses have other recipes.

    - The recurrence of every state-space layer (`A_log` and `D` of Mamba) has no weight decay,
      as in mamba_ssm's recipe.
    - The length of training and the seed can be set by `set_budget` and `set_seed`. With a seed,
      weights are drawn from (seed, fold), and every batch is drawn and augmented from (seed, fold,
      epoch, iteration), so it does not depend on how many workers make batches or on how far they
      have run ahead. Folds of one seed are independent.
    - Checkpoints name the trainer `nnUNetTrainer`: their plans describe the network fully, so
      that stock prediction and exported models need no `nnUNet_extTrainer`.
    - It can be stopped or killed at any moment; see `CrashSafeTrainer`.
    """

    seed: int | None = None
    seeds = INDEPENDENT
    tensorboard = False
    _events: TensorBoardLog | None = None

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
        self.initial_lr = self.recipe.learning_rate
        self.weight_decay = self.recipe.weight_decay

    def set_budget(self, epochs: int | None = None, iterations: int | None = None) -> None:
        """Set how long to train, before training starts.

        Args:
            epochs: Number of epochs; `None` means nnU-Net's 1000, or as many as `iterations` need.
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

    def set_seed(self, seed: int, seeds: str = INDEPENDENT) -> None:
        """Make initialisation, sampling and augmentation repeatable; call before `initialize`.

        Args:
            seed: Any number; folds may have the same.
            seeds: `INDEPENDENT`, or `SHARED` to resume a training of an older version.
        """
        self.seed, self.seeds = seed, seeds
        seed_everything(weight_seed(seed, self.fold, seeds))

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, LearningRates]:
        """Build the recipe's optimiser and schedule, without weight decay for the recurrence."""
        recipe = replace(self.recipe, learning_rate=self.initial_lr, weight_decay=self.weight_decay)
        optimizer = build_optimizer(recipe, self.network)
        length = self.num_epochs, self.num_iterations_per_epoch
        return optimizer, LearningRates(optimizer, recipe, *length)

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take a step at the learning rate of this iteration."""
        if isinstance(self.lr_scheduler, LearningRates):
            done = len((self.epoch_at_hand or UnfinishedEpoch()).training)
            self.lr_scheduler.step(self.current_epoch + done / self.num_iterations_per_epoch)
        return super().train_step(batch)

    def _build_loss(self) -> nn.Module:
        """Build nnU-Net's loss; where all heads are at full resolution, their mean."""
        loss: Any = super()._build_loss()
        nested = self.configuration_manager.network_arch_init_kwargs.get("nested_supervision")
        if nested and self.enable_deep_supervision:
            return NestedSupervisionLoss(loss.loss)
        built: nn.Module = loss
        return built

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Build nnU-Net's loaders; with a seed, in an order that workers cannot change."""
        workers, pin_memory = get_allowed_n_proc_DA(), self.device.type == "cuda"
        # Without workers nnU-Net hands back the bare loaders, which are then wrapped here.
        with environment(nnUNet_n_proc_DA="0"):
            train, validation = super().get_dataloaders()
        validation_workers = -(-workers // 2)
        if self.seed is None:
            if workers == 0:
                return train, validation
            return tuple(
                unseeded_augmenter(single.data_loader, n, pin_memory=pin_memory)
                for single, n in ((train, workers), (validation, validation_workers))
            )
        done = self.epoch_at_hand or UnfinishedEpoch()
        first = self.current_epoch * self.num_iterations_per_epoch + len(done.training)
        first_validation = self.current_epoch * self.num_val_iterations_per_epoch + len(
            done.validation
        )
        streams = [
            batch_stream(self.seed, self.fold, self.seeds, rank=self.local_rank, phase=phase)
            for phase in (0, 1)
        ]
        return (
            augmenter(train.data_loader, streams[0], first, workers, pin_memory=pin_memory),
            augmenter(
                validation.data_loader,
                streams[1],
                first_validation,
                validation_workers,
                pin_memory=pin_memory,
            ),
        )

    def print_to_log_file(
        self, *args: Any, also_print_to_console: bool = True, **kwargs: Any
    ) -> None:
        """Keep nnU-Net's full log in the file; the console gets one line per epoch."""
        console = also_print_to_console and not self.quiet_console
        super().print_to_log_file(*args, also_print_to_console=console, **kwargs)

    quiet_console = False

    def on_train_start(self) -> None:
        """Begin as nnU-Net does, and begin the log for TensorBoard, if it is wanted."""
        super().on_train_start()
        if self.tensorboard and self.local_rank == 0:
            folder = Path(self.output_folder)
            self._events = TensorBoardLog(folder, lambda key: self.logger.get_value(key, step=None))

    def on_train_end(self) -> None:
        """End as nnU-Net does, and close the log for TensorBoard."""
        super().on_train_end()
        if self._events is not None:
            self._events.close()

    def on_epoch_end(self) -> None:
        """Finish the epoch as nnU-Net does, and sum it up in one line."""
        epoch = self.current_epoch
        super().on_epoch_end()
        if self._events is not None:
            self._events.update()
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

    def settings(self) -> dict[str, Any]:
        """Return recipe, length and seed, which a training resumes with."""
        return {
            "recipe": self.recipe.name,
            "epochs": self.num_epochs,
            "iterations_per_epoch": self.num_iterations_per_epoch,
            "validation_iterations_per_epoch": self.num_val_iterations_per_epoch,
            "seed": self.seed,
            "seeds": self.seeds,
        }

    def apply_settings(self, settings: Mapping[str, Any]) -> None:
        """Apply what `settings` returned.

        Raises:
            CheckpointError: If the training was begun by another recipe.
        """
        if not settings:
            return
        begun = settings.get("recipe", "nnunet")  # the only one of older versions
        if begun != self.recipe.name:
            msg = (
                f"{self.output_folder} holds a training by the recipe {begun}, which cannot go on "
                f"by {self.recipe.name}; give --recipe {begun}, or begin anew with --overwrite"
            )
            raise CheckpointError(msg)
        self.num_epochs = settings["epochs"]
        self.num_iterations_per_epoch = settings["iterations_per_epoch"]
        self.num_val_iterations_per_epoch = settings["validation_iterations_per_epoch"]
        if settings["seed"] is not None:
            self.set_seed(settings["seed"], settings.get("seeds", SHARED))


class nnUNetTrainerUMambaAdamW(nnUNetTrainerUMamba):
    """Train as `nnUNetTrainerUMamba`, by the recipe of Primus: AdamW with warm-up."""

    recipe = RECIPES["adamw"]


class nnUNetTrainerUMambaMedNeXt(nnUNetTrainerUMamba):
    """Train as `nnUNetTrainerUMamba`, by the recipe of MedNeXt: AdamW without warm-up."""

    recipe = RECIPES["mednext"]


class NestedSupervisionLoss(nn.Module):
    """The mean loss of several segmentations at full resolution.

    Args:
        loss: Loss of one segmentation.

    Source:
        Zhou et al. 2019, arXiv:1912.05074, section III-B.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: Sequence[torch.Tensor], targets: Sequence[torch.Tensor]) -> Any:
        """Compare every output with the first target, which has full resolution."""
        return sum(self.loss(output, targets[0]) for output in outputs) / len(outputs)


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
        msg = f"{iterations} iterations cannot be spread over {epochs} epochs; give more iterations"
        raise UMambaError(msg)
    return epochs, -(-iterations // epochs)


class _OfficialByDefault(nnUNetTrainer):
    """Build the network of umamba plans, or from any others the authors' network by their rule."""

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
    """The trainer of the authors' command `nnUNetv2_train ... -tr nnUNetTrainerUMambaBot`."""

    model = "umamba_bot_official"


class nnUNetTrainerUMambaEnc(_OfficialByDefault):
    """The trainer of the authors' command `nnUNetv2_train ... -tr nnUNetTrainerUMambaEnc`."""

    model = "umamba_enc_official"


class nnUNetTrainerUMambaEncNoAMP(nnUNetTrainerUMambaEnc):
    """The trainer `nnUNetTrainerUMambaEnc`, with training and its validation in float32.

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
        """Take one step of nnU-Net, with the network outside of its autocast."""
        with self._full_precision():
            result: dict[str, Any] = super().train_step(batch)
        return result

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Validate on one batch, with the network outside of autocast as well."""
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
