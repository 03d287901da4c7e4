"""Batches that depend on seed, epoch and iteration only."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter

from umamba.nnunet.workers import become_augmenter

__all__ = ["SeededLoader", "augmenter", "seed_everything"]


class SeededLoader:
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
        become_augmenter()

    def __iter__(self) -> "SeededLoader":
        return self

    def __next__(self) -> Any:
        sequence = np.random.SeedSequence([*self.entropy, self.next_index])
        seed_everything(int(sequence.generate_state(1)[0]))
        self.next_index += self.workers
        return next(self.loader)


def augmenter(
    loader: Any, entropy: Sequence[int], start: int, workers: int, *, pin_memory: bool
) -> Any:
    """Make batches in the order of their numbers, in workers or, if there are none, here.

    Args:
        loader: A data loader of nnU-Net.
        entropy: What each batch is drawn from, besides its number.
        start: Number of the first batch.
        workers: Number of worker processes.
        pin_memory: Whether to pin the memory of batches that workers make.
    """
    seeded = SeededLoader(loader, entropy, start, max(1, workers))
    if workers == 0:
        return SingleThreadedAugmenter(seeded, None)
    return MultiThreadedAugmenter(
        seeded, None, workers, num_cached_per_queue=2, pin_memory=pin_memory
    )


def seed_everything(seed: int) -> None:
    """Seed Python, numpy's global generator (which nnU-Net draws from) and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the generator that nnU-Net uses
    torch.manual_seed(seed)
