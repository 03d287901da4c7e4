"""Batches that depend on seed, epoch and iteration only, and workers that end with a training."""

import multiprocessing
import random
from typing import Any

import numpy as np
import torch
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import (
    NonDetMultiThreadedAugmenter,
)
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter

from umamba.nnunet.training.seed_streams import Stream
from umamba.system.processes import become_worker

__all__ = ["SeededLoader", "augmenter", "seed_everything", "unseeded_augmenter"]


class WorkersLoader:
    """A data loader whose workers end with the training."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def set_thread_id(self, thread_id: int) -> None:
        """Begin to draw; called in the worker."""
        self.loader.set_thread_id(thread_id)
        if multiprocessing.current_process().daemon:  # else the training draws itself
            become_worker()

    def __iter__(self) -> "WorkersLoader":
        return self

    def __next__(self) -> Any:
        return next(self.loader)


class SeededLoader(WorkersLoader):
    """A data loader that draws each batch from its number, whichever worker draws it."""

    def __init__(self, loader: Any, stream: Stream, start: int, workers: int) -> None:
        super().__init__(loader)
        self.stream = stream
        self.next_index = start
        self.workers = workers

    def set_thread_id(self, thread_id: int) -> None:
        """Take every `workers`-th batch, beginning with one's own number; called in the worker."""
        # A forked worker has none of its parent's threads, and would wait for them forever.
        torch.set_num_threads(1)
        self.next_index += thread_id
        super().set_thread_id(thread_id)

    def __next__(self) -> Any:
        seed_everything(self.stream.seed(self.next_index))
        self.next_index += self.workers
        return super().__next__()


def augmenter(loader: Any, stream: Stream, start: int, workers: int, *, pin_memory: bool) -> Any:
    """Make batches in the order of their numbers, in workers or, if there are none, here.

    Args:
        loader: A data loader of nnU-Net.
        stream: The seed of each batch, by its number.
        start: Number of the first batch.
        workers: Number of worker processes.
        pin_memory: Whether to pin the memory of batches that workers make.
    """
    seeded = SeededLoader(loader, stream, start, max(1, workers))
    if workers == 0:
        return SingleThreadedAugmenter(seeded, None)
    return MultiThreadedAugmenter(
        seeded, None, workers, num_cached_per_queue=2, pin_memory=pin_memory
    )


def unseeded_augmenter(loader: Any, workers: int, *, pin_memory: bool) -> Any:
    """Make batches in workers as nnU-Net does, in the order in which they come.

    Args:
        loader: A data loader of nnU-Net.
        workers: Number of worker processes, at least one.
        pin_memory: Whether to pin the memory of batches.
    """
    return NonDetMultiThreadedAugmenter(
        WorkersLoader(loader),
        None,
        workers,
        num_cached=max(6, workers // 2),
        pin_memory=pin_memory,
        wait_time=0.002,
    )


def seed_everything(seed: int) -> None:
    """Seed Python, numpy's global generator (which nnU-Net draws from) and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the generator that nnU-Net uses
    torch.manual_seed(seed)
