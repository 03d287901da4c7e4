"""The cost of a network: parameters, multiply-adds, memory and time, counted or measured."""

from umamba.profiling.memory import (
    TrainingMemory,
    estimate_training_memory,
    peak_memory,
    saved_bytes,
)
from umamba.profiling.multiply_adds import count_multiply_adds
from umamba.profiling.network import (
    NetworkProfile,
    prediction_multiply_adds,
    prediction_step,
    profile_network,
    training_step,
)
from umamba.profiling.timing import Timing, time_interleaved

__all__ = [
    "NetworkProfile",
    "Timing",
    "TrainingMemory",
    "count_multiply_adds",
    "estimate_training_memory",
    "peak_memory",
    "prediction_multiply_adds",
    "prediction_step",
    "profile_network",
    "saved_bytes",
    "time_interleaved",
    "training_step",
]
