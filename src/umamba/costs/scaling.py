"""Measurement of how time and memory of a layer grow with the length of the sequence."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter, process_time

import torch
from torch import Tensor, nn

from umamba.costs.machine import (
    USABLE,
    choose_device,
    describe_machine,
    free_memory,
    is_out_of_memory,
)
from umamba.costs.mixers import MIXERS, Mixer
from umamba.costs.results import LayerScaling, Point, ScalingResult
from umamba.errors import UMambaError
from umamba.profiling import Timing, peak_memory, time_interleaved

__all__ = ["DEFAULT_LENGTHS", "Instruments", "ScalingRequest", "layer_step", "measure_scaling"]

log = logging.getLogger(__name__)

DEFAULT_LENGTHS = tuple(
    2**n for n in range(10, 19)
)  # up to the number of voxels of a 64 x 64 x 64 patch
_ROUNDS = 5
_CALLS = _ROUNDS + 2  # one for memory, one to warm up
_HEADS = 4


@dataclass(frozen=True)
class ScalingRequest:
    """Settings of a scaling measurement.

    Args:
        lengths: Lengths of the sequence, in tokens.
        d_model: Width of a token.
        device: `cpu` or `cuda`; `None` is CUDA if there is a GPU.
        threads: Threads that torch may use; `None` leaves the number to torch.
        budget_s: Seconds of `clock` to spend, an equal share on each layer.
        clock: `wall`, or `cpu` for processor time, summed over all threads.
    """

    lengths: Sequence[int] = DEFAULT_LENGTHS
    d_model: int = 64
    device: str | None = None
    threads: int | None = None
    budget_s: float = 60.0
    clock: str = "wall"


def layer_step(mixer: Mixer, length: int, d_model: int, device: str) -> Callable[[], object]:
    """Return a function that runs a new layer forward and backward, with all gradients.

    Args:
        mixer: The layer.
        length: Tokens of its one sequence.
        d_model: Width of a token.
        device: `cpu` or `cuda`.
    """
    layer = mixer.build(d_model).to(device)
    x = torch.randn(1, length, d_model, device=device, requires_grad=True)
    dy = torch.randn(1, length, d_model, device=device)
    return partial(_forward_and_backward, layer, x, dy)


def _forward_and_backward(layer: nn.Module, x: Tensor, dy: Tensor) -> None:
    torch.autograd.grad(layer(x), (x, *layer.parameters()), dy)


@dataclass(frozen=True)
class Instruments:
    """The parts of a measurement that depend on the machine.

    Attributes:
        make_step: As `layer_step`.
        time: As `time_interleaved`.
        peak_memory: As `umamba.profiling.peak_memory`.
        free_memory: As `umamba.costs.machine.free_memory`.
        clocks: By the names that `ScalingRequest` takes; each returns seconds.
    """

    make_step: Callable[[Mixer, int, int, str], Callable[[], object]] = layer_step
    time: Callable[..., Mapping[str, Timing]] = time_interleaved
    peak_memory: Callable[[Callable[[], object], str], int | None] = peak_memory
    free_memory: Callable[[str], int | None] = free_memory
    clocks: Mapping[str, Callable[[], float]] = field(
        default_factory=lambda: {"wall": perf_counter, "cpu": process_time}
    )


def measure_scaling(
    request: ScalingRequest, instruments: Instruments | None = None
) -> ScalingResult:
    """Measure the forward and backward pass of each layer, from short sequences to long ones.

    A layer stops when the next length is expected to exceed its share of the budget or the free
    memory; the shortest length is always tried.

    Args:
        request: The settings.
        instruments: The parts that measure; by default those of this machine.

    Returns:
        Medians, spreads, peaks, and reasons why layers stopped.

    Raises:
        UMambaError: If the request cannot be met.
    """
    instruments = instruments or Instruments()
    lengths, device = _check(request)
    share_s = request.budget_s / len(MIXERS)
    courses = [_Course(mixer) for mixer in MIXERS]
    with _threads(request.threads):
        for mixer in MIXERS:  # load and compile what a first call needs, which is no layer's cost
            instruments.make_step(mixer, lengths[0], request.d_model, device)()
        for length in lengths:
            free_bytes = instruments.free_memory(device)
            running = [course for course in courses if course.goes_on(length, share_s, free_bytes)]
            if not running:
                break
            _measure_length(running, length, request, device, instruments)
            _report(running, length)
        return ScalingResult(
            layers=tuple(course.result() for course in courses),
            d_model=request.d_model,
            budget_s=request.budget_s,
            rounds=_ROUNDS,
            clock=request.clock,
            machine=describe_machine(device),
        )


def _check(request: ScalingRequest) -> tuple[list[int], str]:
    """Return the lengths in order, and the device."""
    lengths = sorted(set(request.lengths))
    if len(lengths) < 2 or lengths[0] < 1:
        given = " ".join(map(str, request.lengths))
        msg = f"--lengths {given}: give two or more different lengths, each at least 1"
        raise UMambaError(msg)
    if request.d_model < 1 or request.d_model % _HEADS:
        msg = (
            f"--d-model {request.d_model}: attention has {_HEADS} heads; "
            f"give a multiple of {_HEADS}"
        )
        raise UMambaError(msg)
    device = choose_device(request.device)
    if device == "cuda" and request.clock == "cpu":
        msg = "--clock cpu cannot time a GPU; use --clock wall, or --device cpu"
        raise UMambaError(msg)
    return lengths, device


@dataclass
class _Course:
    """The state of one layer while the lengths are measured."""

    mixer: Mixer
    points: list[Point] = field(default_factory=list)
    spent_s: float = 0.0
    stopped_by: str = ""
    reason: str = ""

    def goes_on(self, length: int, share_s: float, free_bytes: int | None) -> bool:
        """Return whether this length probably fits time and memory; if not, stop the layer."""
        if self.stopped_by or not self.points:
            return not self.stopped_by
        last = self.points[-1]
        growth = (length / last.length) ** self.mixer.exponent
        next_s = last.median_ms / 1e3 * growth * _CALLS
        next_bytes = (last.peak_bytes or 0) * growth
        if self.spent_s + next_s > share_s:
            reason = (
                f"{length:,} tokens would take about {next_s:.1f} s, and {self.spent_s:.1f} s of "
                f"this layer's {share_s:.3g} s (a third of --budget) are spent"
            )
            self.stop("time", reason)
        elif free_bytes is not None and next_bytes > USABLE * free_bytes:
            reason = (
                f"{length:,} tokens may need {next_bytes / 2**30:.2f} GiB, but only "
                f"{free_bytes / 2**30:.2f} GiB are free"
            )
            self.stop("memory", reason)
        return not self.stopped_by

    def stop(self, stopped_by: str, reason: str) -> None:
        """Stop this layer for a reason."""
        self.stopped_by, self.reason = stopped_by, reason

    def result(self) -> LayerScaling:
        """Return the measurements."""
        mixer = self.mixer
        return LayerScaling(
            mixer.name, mixer.title, tuple(self.points), self.stopped_by, self.reason
        )


def _measure_length(
    courses: Sequence[_Course],
    length: int,
    request: ScalingRequest,
    device: str,
    instruments: Instruments,
) -> None:
    """Measure the memory of each layer, then the times of all in turn."""
    steps: dict[str, Callable[[], object]] = {}
    peaks: dict[str, int | None] = {}
    for course in courses:
        step = instruments.make_step(course.mixer, length, request.d_model, device)
        try:
            peaks[course.mixer.name] = instruments.peak_memory(step, device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            course.stop("memory", f"{length:,} tokens do not fit into memory")
        else:
            steps[course.mixer.name] = step
    timings = instruments.time(steps, _ROUNDS, instruments.clocks[request.clock])
    for course in courses:
        name = course.mixer.name
        if name in timings:
            timing = timings[name]
            course.spent_s += sum(timing.seconds) + (_CALLS - _ROUNDS) * timing.median
            course.points.append(
                Point(length, timing.median * 1e3, timing.spread * 1e3, peaks[name])
            )


def _report(courses: Sequence[_Course], length: int) -> None:
    measured = [
        f"{course.mixer.title} {course.points[-1].median_ms:,.1f} ms"
        for course in courses
        if not course.stopped_by
    ]
    log.info("%9s tokens: %s", f"{length:,}", ", ".join(measured))


@contextmanager
def _threads(n_threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
