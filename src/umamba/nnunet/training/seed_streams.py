"""The random streams of a training: weights, training batches and validation batches."""

from dataclasses import dataclass

import numpy as np

__all__ = ["INDEPENDENT", "SHARED", "Stream", "batch_stream", "weight_seed"]

# The dependence between folds that are trained from one seed, as checkpoints name it.
INDEPENDENT = "independent"
SHARED = "shared by folds"  # of older versions, which say nothing: alike in all folds

_WEIGHTS, _FIRST_BATCHES = 0, 1
_ALL = 0  # stands for the fold `all`; others are counted from 1


@dataclass(frozen=True)
class Stream:
    """Seeds by number, each drawn from entropy and key.

    Args:
        entropy: The numbers that they are drawn from.
        key: Distinguishes streams of the same entropy; `None` is for older trainings,
            which count their seeds within the entropy.
    """

    entropy: tuple[int, ...]
    key: tuple[int, ...] | None = None

    def seed(self, number: int) -> int:
        """Return one of the seeds."""
        if self.key is None:
            sequence = np.random.SeedSequence([*self.entropy, number])
        else:
            sequence = np.random.SeedSequence(self.entropy, spawn_key=(*self.key, number))
        return int(sequence.generate_state(1)[0])


def weight_seed(seed: int, fold: int | str, kind: str) -> int:
    """Return the seed that the weights of a training are initialised from.

    Args:
        seed: The seed that the user gave.
        fold: The fold's number, or `all`.
        kind: `INDEPENDENT` or `SHARED`.
    """
    return seed if kind == SHARED else Stream((seed,), (_code(fold), _WEIGHTS)).seed(0)


def batch_stream(seed: int, fold: int | str, kind: str, *, rank: int, phase: int) -> Stream:
    """Return the seeds that batches are drawn and augmented from, by their numbers.

    It does not depend on the model: models of one seed and fold see the same batches.

    Args:
        seed: The seed that the user gave.
        fold: The fold's number, or `all`.
        kind: `INDEPENDENT` or `SHARED`.
        rank: Number of the process in a distributed training.
        phase: 0 for training, 1 for validation.
    """
    if kind == SHARED:
        return Stream((seed, rank, phase))
    return Stream((seed,), (_code(fold), _FIRST_BATCHES + phase, rank))


def _code(fold: int | str) -> int:
    return _ALL if fold == "all" else int(fold) + 1
