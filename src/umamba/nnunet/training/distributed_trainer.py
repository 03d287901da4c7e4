"""nnU-Net's trainer in one process or in several, which agree on what they do; on CPUs, too."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from umamba.nnunet.splits import chosen_cases
from umamba.system.publishing import scratch_folder

__all__ = ["DistributedTrainer"]


class DistributedTrainer(nnUNetTrainer):
    """Divide each batch among processes as nnU-Net does; the first process alone writes.

    Attributes:
        validation_cases: Number of cases that are predicted in the final validation; `None` is all.
        n_to_validate: Number of them that this process predicts.
    """

    is_ddp: bool
    local_rank: int
    device: torch.device
    network: Any
    grad_scaler: Any
    output_folder_base: str
    validation_cases: int | None = None
    n_to_validate = 0
    _is_validating = False

    # nnU-Net reads the names of its arguments from this signature.
    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net's signature
    ) -> None:
        with warnings.catch_warnings():
            # Of several processes nnU-Net assumes that each has a GPU.
            warnings.filterwarnings("ignore", ".*GradScaler is enabled, but CUDA is not available")
            super().__init__(plans, configuration, fold, dataset_json, device)
        if device.type == "cpu":
            self.device, self.grad_scaler = device, None

    @property
    def n_processes(self) -> int:
        """Return the number of processes of this training."""
        return distributed.get_world_size() if self.is_ddp else 1

    def initialize(self) -> None:
        """Build network, loss and optimiser as nnU-Net does; on CPUs also for several processes."""
        if not self.is_ddp or self.device.type != "cpu":
            super().initialize()
            return
        self.is_ddp = False  # nnU-Net would look for a GPU
        try:
            super().initialize()
        finally:
            self.is_ddp = True
        self._set_batch_size_and_oversample()
        self.network = DistributedDataParallel(self.network)
        self.loss = self._build_loss()

    def on_train_start(self) -> None:
        """Begin as nnU-Net does; the model's own files are written by the first process."""
        if self.local_rank == 0:
            super().on_train_start()
            return
        model_folder = self.output_folder_base
        with scratch_folder() as aside:
            self.output_folder_base = str(aside)
            try:
                super().on_train_start()
            finally:
                self.output_folder_base = model_folder

    def do_split(self) -> tuple[list[str], list[str]]:
        """Split as nnU-Net does, and note how many cases this process validates."""
        training, validation = super().do_split()
        if self._is_validating:
            validation = chosen_cases(validation, self.validation_cases)
        self.n_to_validate = len(validation[self.local_rank :: self.n_processes])
        return training, validation

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:  # noqa: FBT001, FBT002 - nnU-Net's
        """Predict and score the validation cases as nnU-Net does, each in one process."""
        self._is_validating = True
        try:
            with self._independent_forwards():
                super().perform_actual_validation(save_probabilities)
        finally:
            self._is_validating = False

    @contextmanager
    def _independent_forwards(self) -> Iterator[None]:
        """Let a forward wait for no other process, of which each has its own number of patches."""
        network = self.network
        if isinstance(network, DistributedDataParallel):
            network.require_forward_param_sync = False
        yield
        if isinstance(network, DistributedDataParallel):
            network.require_forward_param_sync = True

    def _highest(self, level: int) -> int:
        """Return the highest level that any process has given; all must ask together."""
        if not self.is_ddp:
            return level
        shared = torch.tensor(level, device=self.device)
        distributed.all_reduce(shared, distributed.ReduceOp.MAX)
        return int(shared)

    def _agreed(self, *, asked: bool) -> bool:
        """Return whether any process says so; all must ask together."""
        return bool(self._highest(int(asked)))

    def _of_all_processes(self, value: Any) -> list[Any]:
        """Return the values of all processes, the first one's first; all must ask together."""
        if not self.is_ddp:
            return [value]
        values: list[Any] = [None] * self.n_processes
        distributed.all_gather_object(values, value)
        return values

    def _wait_for_all(self) -> None:
        if self.is_ddp:
            distributed.barrier()
