"""Train a network on pictures that need a long range, and measure how far it succeeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umamba.reach.pictures import CONTROL, N_CLASSES, OBJECTS, LongRangeTask, draw_picture

__all__ = ["Schooling", "dice_by_distance", "picture_batch", "teach"]

_BACKGROUND_WEIGHT = 0.1  # in the loss: nearly all voxels are background
_LARGEST_GRADIENT = 1.0
_WARM_UP = 0.1  # of the steps
_TRAINING, _TEST = 0, 1  # different pictures from one seed


@dataclass(frozen=True)
class Schooling:
    """The settings of a training: steps of Adam on new pictures each.

    Args:
        steps: Number of steps.
        batch_size: Pictures in a step.
        learning_rate: The highest; it rises linearly at first, and falls as a cosine to zero.
    """

    steps: int
    batch_size: int
    learning_rate: float = 6e-3


def picture_batch(
    task: LongRangeTask,
    rng: np.random.Generator,
    n_pictures: int,
    distance: int | None = None,
    *,
    centred: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return pictures (n, 1, *shape) and their labels (n, *shape), as `draw_picture` makes them."""
    drawn = [draw_picture(task, rng, distance, centred=centred) for _ in range(n_pictures)]
    images = torch.from_numpy(np.stack([picture.image for picture in drawn]))
    return images, torch.from_numpy(np.stack([picture.labels for picture in drawn]))


def teach(network: nn.Module, task: LongRangeTask, schooling: Schooling, seed: int) -> float:
    """Train a network on pictures of all distances, in place.

    Args:
        network: Maps (batch, 1, *shape) to (batch, N_CLASSES, *shape).
        task: The pictures.
        schooling: The training.
        seed: Seed of the pictures.

    Returns:
        The mean cross-entropy of the last tenth of the steps.
    """
    rng = np.random.default_rng([seed, _TRAINING])
    weights = torch.ones(N_CLASSES)
    weights[0] = _BACKGROUND_WEIGHT
    optimizer = torch.optim.Adam(network.parameters(), schooling.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, schooling))
    losses = []
    network.train()
    for _ in range(schooling.steps):
        images, labels = picture_batch(task, rng, schooling.batch_size)
        loss = F.cross_entropy(network(images), labels, weights)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), _LARGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    last = losses[-max(1, schooling.steps // 10) :]
    return sum(last) / len(last)


def _rate(step: int, schooling: Schooling) -> float:
    """Return the part of the highest learning rate that a step has."""
    warm_up = math.ceil(_WARM_UP * schooling.steps)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 + 0.5 * math.cos(math.pi * (step - warm_up) / max(1, schooling.steps - warm_up))


@torch.inference_mode()
def dice_by_distance(
    network: nn.Module, task: LongRangeTask, n_pictures: int
) -> dict[int, tuple[float, float]]:
    """Return the Dice of objects, and that of the control, at every distance of a task.

    The pictures are the same for every network, and none that it was trained on. Each Dice is over
    all voxels of all pictures, the mean of two labels.

    Args:
        network: As `teach` takes it.
        task: The pictures.
        n_pictures: Number of pictures for each distance.
    """
    network.eval()
    found = {}
    for distance in task.distances:
        rng = np.random.default_rng([distance, _TEST, 0])
        overlaps, sizes = torch.zeros(N_CLASSES), torch.zeros(N_CLASSES)
        for _ in range(n_pictures):
            image, labels = picture_batch(task, rng, 1, distance)
            predicted = network(image).argmax(1)
            for label in range(N_CLASSES):
                ours, theirs = predicted == label, labels == label
                overlaps[label] += (ours & theirs).sum()
                sizes[label] += ours.sum() + theirs.sum()
        dice = 2 * overlaps / sizes
        found[distance] = _mean(dice, OBJECTS), _mean(dice, CONTROL)
    return found


def _mean(dice: Tensor, labels: Sequence[int]) -> float:
    return float(dice[list(labels)].mean())
