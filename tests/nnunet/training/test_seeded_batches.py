"""Batches depend on seed and number only."""

import random
from typing import Any

import numpy as np
import torch

from umamba.nnunet.training.seed_streams import Stream
from umamba.nnunet.training.seeded_batches import SeededLoader


class Draws:
    """A loader that draws from every generator that augmentation uses."""

    def set_thread_id(self, thread_id: int) -> None:
        self.thread_id = thread_id

    def __next__(self) -> tuple[float, ...]:
        return (random.random(), float(np.random.rand()), float(torch.rand(())))  # noqa: NPY002


def test_batches_depend_on_seed_and_number_only() -> None:
    stream = Stream((4,), (0,))
    alone = SeededLoader(Draws(), stream, start=0, workers=1)
    wanted = [next(alone) for _ in range(6)]
    assert len(set(wanted)) == 6
    shared: list[Any] = [None] * 6
    for worker in range(2):
        loader = SeededLoader(Draws(), stream, start=0, workers=2)
        loader.set_thread_id(worker)
        shared[worker::2] = [next(loader) for _ in range(3)]
    assert shared == wanted
    resumed = SeededLoader(Draws(), stream, start=4, workers=1)
    assert [next(resumed), next(resumed)] == wanted[4:]
    for other in (Stream((5,), (0,)), Stream((4,), (1,)), Stream((4,))):
        assert next(SeededLoader(Draws(), other, start=0, workers=1)) != wanted[0]
