"""Checking an implementation, timing several in turn, and measuring their memory."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.peers import Peer
from benchmarks.shapes import Shape, draw_inputs
from umamba import selective_scan
from umamba.ops.reference import selective_scan_reference
from umamba.profiling import peak_memory

__all__ = [
    "CLOCKS",
    "PASSES",
    "Problem",
    "check_and_measure_memory",
    "check_small",
    "kernel_seconds",
    "summarise",
    "time_in_turn",
]

PASSES = ("forward", "forward+backward")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
# Relative L2 error above which an answer is wrong; float32 reaches 1e-6.
_WRONG = 1e-4
_SMALL = Shape(2, 64, 77)  # chunks that are not full, more than one block of channels
_TURN_SECONDS = 0.3  # how long a peer runs before it is the next one's turn
_TURN_RUNS = (3, 15)
_SLOW_SECONDS = 1.0
_PROFILED = 5  # runs
_SLOW_ROUNDS = 3

_MIB = 1 << 20

Row = dict[str, Any]


class Problem:
    """Inputs of one shape, and what is right for them.

    Args:
        shape: Sizes.
        stepwise: Whether what is right comes from the definition, one step after another; else
            from the portable backend in float64, which shares no code with the kernels.
        device: Where what is right is computed.
    """

    def __init__(self, shape: Shape, *, stepwise: bool, device: str = "cpu") -> None:
        self.shape = shape
        self.inputs, self.grad_y = draw_inputs(shape)
        exact = {n: x.to(device).double().requires_grad_() for n, x in self.inputs.items()}
        if stepwise:
            y, _ = selective_scan_reference(**exact)
        else:
            y = selective_scan(**exact, backend="torch")
        grads = torch.autograd.grad(y, list(exact.values()), self.grad_y.to(device).double())
        self.wanted = self._named(y, grads)

    def _named(self, y: Tensor, grads: tuple[Tensor, ...]) -> dict[str, Tensor]:
        names = ("y", *(f"d{name}" for name in self.inputs))
        return dict(zip(names, (y.detach(), *grads), strict=True))

    def given_to(self, peer: Peer) -> tuple[list[Tensor], Tensor]:
        """Return inputs that ask for gradients, and the gradient of the outputs."""

        def placed(x: Tensor) -> Tensor:
            moved = x.to(peer.device)
            return moved.contiguous() if peer.time_contiguous else moved

        given = [placed(x).detach().requires_grad_() for x in self.inputs.values()]
        return given, placed(self.grad_y)

    def run(self, peer: Peer, given: list[Tensor], grad_y: Tensor) -> dict[str, Tensor]:
        """Return outputs and gradients."""
        y = peer.scan(*given)
        return self._named(y, torch.autograd.grad(y, given, grad_y))

    def errors(self, got: dict[str, Tensor]) -> dict[str, float]:
        """Return the relative L2 error of outputs and every gradient."""
        return {name: _relative_l2(got[name], want) for name, want in self.wanted.items()}


def _relative_l2(got: Tensor, want: Tensor) -> float:
    return float((got.to(want.device).double() - want).norm() / want.norm())


def _why_wrong(errors: dict[str, float]) -> str | None:
    # Compared so that NaN is wrong.
    wrong = [f"{name} by {error:.1g}" for name, error in errors.items() if not error <= _WRONG]
    return f"wrong answer: {', '.join(wrong)} (relative L2)" if wrong else None


def check_small(peer: Peer) -> str | None:
    """Return why the peer is wrong on a small shape, or `None`; the definition is the judge."""
    problem = Problem(_SMALL, stepwise=True)
    return _why_wrong(problem.errors(problem.run(peer, *problem.given_to(peer))))


def check_and_measure_memory(problem: Problem, peer: Peer) -> tuple[Row, str | None]:
    """Run forward and backward once.

    Returns:
        The errors and the extra memory at the peak, and why the answer is wrong or `None`.
    """
    given = problem.given_to(peer)
    got: dict[str, Tensor] = {}
    peak = peak_memory(lambda: got.update(problem.run(peer, *given)), peer.device)
    errors = problem.errors(got)
    found = {
        "error_y": errors["y"],
        # Of a tensor, as Python's `max` can lose NaN.
        "error_gradients": float(
            torch.tensor([errors[f"d{name}"] for name in problem.inputs]).max()
        ),
        "extra_memory_mib": None if peak is None else peak / _MIB,
    }
    return found, _why_wrong(errors)


def time_in_turn(
    problem: Problem,
    peers: dict[str, tuple[Peer, int]],
    which: str,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Return seconds per round for every peer; in each round all have their turn.

    A turn is an untimed run and then several timed ones, of which the median counts. What takes
    seconds runs once, and in the first three rounds only.

    Args:
        problem: What is computed; every peer has been checked on it.
        peers: By label, with the number of threads.
        which: One of `PASSES`.
        rounds: How many.
        clock: What measures seconds.
    """
    actions = {label: _action(problem, peer, which) for label, (peer, _) in peers.items()}
    seconds: dict[str, list[float]] = {label: [] for label in peers}
    for _ in range(rounds):
        for label, action in actions.items():
            if len(seconds[label]) < _SLOW_ROUNDS or max(seconds[label]) < _SLOW_SECONDS:
                torch.set_num_threads(peers[label][1])
                seconds[label].append(_turn(action, clock))
    return seconds


def kernel_seconds(problem: Problem, peer: Peer, which: str) -> float | None:
    """Return what the kernels of one run take together, or `None` where they are not recorded."""
    action = _action(problem, peer, which)
    action()
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        for _ in range(_PROFILED):
            action()
    microseconds = sum(event.self_device_time_total for event in found.key_averages())
    return microseconds / 1e6 / _PROFILED or None


def _action(problem: Problem, peer: Peer, which: str) -> Callable[[], None]:
    given, grad_y = problem.given_to(peer)
    synchronize = torch.cuda.synchronize if peer.device == "cuda" else lambda: None

    def run() -> None:
        if which == "forward":
            with torch.no_grad():
                peer.scan(*given)
        else:
            problem.run(peer, given, grad_y)
        synchronize()

    return run


def _turn(action: Callable[[], None], clock: Callable[[], float]) -> float:
    def timed() -> float:
        start = clock()
        action()
        return clock() - start

    first = timed()
    if first > _SLOW_SECONDS:
        return first
    fewest, most = _TURN_RUNS
    runs = max(fewest, min(most, int(_TURN_SECONDS / first)))
    return statistics.median(timed() for _ in range(runs))


def summarise(seconds: list[float], ours: list[float]) -> Row:
    """Summarise rounds; slow peers took part in the first of them only."""
    ratios = [s / o for s, o in zip(seconds, ours, strict=False)]
    return {
        "median_ms": statistics.median(seconds) * 1e3,
        "min_ms": min(seconds) * 1e3,
        "max_ms": max(seconds) * 1e3,
        "rounds": len(seconds),
        "ratio": statistics.median(ratios) if ratios else None,
    }
