"""The optimiser and the learning rates of a recipe, for nnU-Net's trainer."""

from typing import Any

import torch
from torch import nn

from umamba.layers.undecayed import spares_decay
from umamba.recipes import Recipe, learning_rate

__all__ = ["LearningRates", "build_optimizer"]

_CLIPPED_BY_NNUNET = 12.0


def build_optimizer(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    """Build the optimiser of a recipe, without weight decay for the recurrences.

    Gradients that nnU-Net's training step does not clip enough are clipped when it steps.

    Args:
        recipe: The recipe.
        network: The network whose parameters are optimised.
    """
    spared = [p for p in network.parameters() if spares_decay(p)]
    decayed = [p for p in network.parameters() if not spares_decay(p)]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": recipe.weight_decay}]
    if spared:
        groups.append({"params": spared, "weight_decay": 0.0})
    kind = getattr(torch.optim, recipe.optimizer)
    optimizer: torch.optim.Optimizer = kind(groups, recipe.learning_rate, **recipe.options)

    def clip(*_: object) -> None:
        nn.utils.clip_grad_norm_(network.parameters(), recipe.largest_gradient)

    if recipe.largest_gradient < _CLIPPED_BY_NNUNET:
        optimizer.register_step_pre_hook(clip)
    return optimizer


class LearningRates:
    """Set the learning rates of a recipe, called as nnU-Net calls its own scheduler.

    Args:
        optimizer: The optimiser.
        recipe: The recipe.
        epochs: Number of epochs.
        iterations: Iterations per epoch.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, recipe: Recipe, epochs: int, iterations: int
    ) -> None:
        self.optimizer = optimizer
        self._of_training = (recipe, epochs, iterations)

    def step(self, progress: int | float) -> None:
        """Set the learning rate of an iteration.

        Args:
            progress: Epochs done before it, with the part of the present one.
        """
        recipe, epochs, iterations = self._of_training
        rate = learning_rate(recipe, float(progress), epochs, iterations)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
