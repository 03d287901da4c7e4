"""Time of several functions, measured in turn."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

__all__ = ["Timing", "time_interleaved"]


@dataclass(frozen=True)
class Timing:
    """Seconds of each call of one function, by the clock that `time_interleaved` was given."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Return the median, in seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Return the distance between the quartiles, in seconds; 0 for a single call."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return high - low


def time_interleaved(
    functions: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time functions in turn, so that other load on the machine affects all of them alike.

    Args:
        functions: The functions by name; each is called once more at first, to warm up.
        rounds: How often each is timed.
        clock: Returns seconds. `time.process_time` counts those of the processor, summed over all
            threads of this process, which is steadier on a machine that others use as well.

    Returns:
        Timings by name. Work on CUDA is waited for.

    Raises:
        ValueError: If `rounds` is below 1.
    """
    if rounds < 1:
        msg = f"time_interleaved needs at least one round, got {rounds}"
        raise ValueError(msg)
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            _wait_for_cuda()
            start = clock()
            function()
            _wait_for_cuda()
            seconds[name].append(clock() - start)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def _wait_for_cuda() -> None:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
