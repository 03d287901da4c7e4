"""Estimate how long a training will take, and warn once if that is days."""

import math
import sys
import time
from functools import cache

import torch
from torch import nn

__all__ = [
    "Pace",
    "describe_days",
    "estimate_seconds",
    "remedy",
    "seconds_per_multiply_add",
    "with_validation",
]

_DAY = 86400.0
_STEPS = 5
_SECONDS = 120.0
_CALIBRATION_SECONDS = 0.3
# nnU-Net validates on one batch for every five, and forward is about a third of a step.
_WITH_VALIDATION = 1 + 0.2 / 3


def describe_days(seconds: float) -> str:
    """Return a length of time in days; "" if it is less than one."""
    days = seconds / _DAY
    return "" if days < 1 else f"about {days:.0f} {'day' if round(days) == 1 else 'days'}"


def remedy(device_type: str) -> str:
    """Return advice on how to make a training shorter."""
    gpu = "; a GPU takes a small part of that time" if device_type == "cpu" else ""
    return (
        "fewer --epochs (such as 50) or --iterations make a training shorter, and `umamba plan` "
        f"with smaller --features or --patch-size makes each iteration quicker{gpu}"
    )


def estimate_seconds(multiply_adds: int) -> float:
    """Return roughly how long training steps of so many multiply-adds would take on this CPU.

    A network's forward and backward are assumed to run as fast as a convolution's.

    Args:
        multiply_adds: Of the forward; the backward takes twice as many.
    """
    return multiply_adds * seconds_per_multiply_add()


@cache
def seconds_per_multiply_add() -> float:
    """Return what a convolution's forward and backward take, timed once in a process."""
    channels, shape = 32, (16, 48, 48)
    convolution = nn.Conv3d(channels, channels, 3, padding=1)
    image = torch.randn(1, channels, *shape, requires_grad=True)
    convolution(image).sum().backward()  # warms up
    done, began = 0, time.monotonic()
    while done == 0 or time.monotonic() - began < _CALIBRATION_SECONDS:
        convolution(image).sum().backward()
        done += 1
    passed = time.monotonic() - began
    return passed / (done * channels**2 * 27 * math.prod(shape))


def with_validation(seconds: float) -> float:
    """Return the time of training iterations with their share of validation on patches."""
    return seconds * _WITH_VALIDATION


class Pace:
    """A stopwatch for the first iterations of a training; the very first one warms up.

    Args:
        iterations: Training iterations that are left.
        epochs: Epochs that they are left for.
        device_type: `cpu`, `cuda` or `mps`.
    """

    def __init__(self, iterations: int, epochs: int, device_type: str) -> None:
        self._iterations, self._epochs, self._device_type = iterations, epochs, device_type
        self._began: float | None = None
        self._steps = 0
        self._is_known = False

    def note_step(self) -> None:
        """Count a training iteration that has ended, and say how long the rest will take."""
        now = time.monotonic()
        if self._began is None:
            self._began = now
            return
        self._steps += 1
        passed = now - self._began
        if not self._is_known and (self._steps >= _STEPS or passed > _SECONDS):
            self._is_known = True
            self._say(passed / self._steps)

    def _say(self, seconds: float) -> None:
        device = "CPU" if self._device_type == "cpu" else "GPU"
        days = describe_days(with_validation(seconds * self._iterations))
        if days:
            sys.stderr.write(
                f"note: at {seconds:.1f} s per iteration, the {self._iterations} iterations of "
                f"{self._epochs} epochs will take {days} on this {device}; "
                f"{remedy(self._device_type)}\n"
            )
