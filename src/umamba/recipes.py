"""The torch-free table of recipes: optimiser, learning rates and clipping of a training."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

__all__ = ["RECIPES", "Recipe", "learning_rate"]

_EXPONENT = 0.9  # of the polynomial decay that all recipes share


@dataclass(frozen=True)
class Recipe:
    """A way to optimise a network, by a name that `umamba train --recipe` takes.

    After the warm-up the learning rate decays as in nnU-Net: once per epoch, polynomially to zero.

    Args:
        name: The name on the command line.
        trainer: The trainer that follows it, which the folders of its models are named after.
        optimizer: The class in `torch.optim`.
        learning_rate: The highest learning rate.
        weight_decay: Weight decay, except for parameters that are spared it.
        largest_gradient: The norm to which longer gradients are clipped.
        source: Publication or code that states it.
        warm_up: Share of the training in which the learning rate rises linearly, iteration by
            iteration.
        options: Further keywords of the optimiser.
        moments: Numbers that the optimiser keeps per weight: momentum and the like.
    """

    name: str
    trainer: str
    optimizer: str
    learning_rate: float
    weight_decay: float
    largest_gradient: float
    source: str
    warm_up: float = 0.0
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    moments: int = 1


_TABLE = (
    Recipe(
        "nnunet",
        "nnUNetTrainerUMamba",
        "SGD",
        learning_rate=1e-2,
        weight_decay=3e-5,
        largest_gradient=12.0,
        source="Isensee et al. 2021, doi:10.1038/s41592-020-01008-z",
        options=MappingProxyType({"momentum": 0.99, "nesterov": True}),
    ),
    # Of 1000 epochs the authors warm up for 50, in steps of an epoch instead of an iteration.
    Recipe(
        "adamw",
        "nnUNetTrainerUMambaAdamW",
        "AdamW",
        learning_rate=3e-4,
        weight_decay=5e-2,
        largest_gradient=1.0,
        source="Wald et al. 2025, arXiv:2503.01835, and its trainers in nnU-Net 2.8",
        warm_up=0.05,
        options=MappingProxyType({"betas": (0.9, 0.98)}),
        moments=2,
    ),
    # The authors' trainer inherits clipping, weight decay and decay of the rate from nnU-Net's.
    Recipe(
        "mednext",
        "nnUNetTrainerUMambaMedNeXt",
        "AdamW",
        learning_rate=1e-3,
        weight_decay=3e-5,
        largest_gradient=12.0,
        source="Roy et al. 2023, arXiv:2303.09975, and its trainers in MIC-DKFZ/MedNeXt",
        options=MappingProxyType({"eps": 1e-4}),
        moments=2,
    ),
)
RECIPES = {recipe.name: recipe for recipe in _TABLE}


def learning_rate(recipe: Recipe, progress: float, epochs: int, iterations: int) -> float:
    """Return the learning rate of an iteration.

    Args:
        recipe: The recipe.
        progress: Epochs done before the iteration, with the part of the present one.
        epochs: Number of epochs of the whole training.
        iterations: Iterations per epoch.
    """
    warm_up = recipe.warm_up * epochs
    if progress < warm_up:
        return recipe.learning_rate * min(1.0, (progress + 1 / iterations) / warm_up)
    decayed = max(0.0, math.floor(progress) - warm_up) / (epochs - warm_up)
    return float(recipe.learning_rate * (1 - decayed) ** _EXPONENT)
