"""Bytes that are known beforehand are counted, and calls are timed in turn."""

import time
from pathlib import Path

import pytest
import torch
from torch import nn

from umamba.profiling import (
    Timing,
    estimate_training_memory,
    peak_memory,
    saved_bytes,
    time_interleaved,
    timing,
)

MIB = 2**20


def test_saved_bytes_counts_each_storage_once_and_no_parameter() -> None:
    weight = torch.randn(256, 256, requires_grad=True)
    x = torch.randn(512, 256, requires_grad=True)
    # A product keeps both factors; the square of a view of x keeps the storage of x again.
    assert saved_bytes(lambda: (x @ weight, x[:2].square()), [weight]) == x.numel() * 4
    assert saved_bytes(lambda: x @ weight, []) == (x.numel() + weight.numel()) * 4
    assert saved_bytes(x.exp, [weight]) == x.numel() * 4  # keeps its result
    assert saved_bytes(lambda: x + 1, []) == 0


def test_nothing_is_saved_without_gradients() -> None:
    layer = nn.Linear(8, 8)
    with torch.no_grad():
        assert saved_bytes(lambda: layer(torch.randn(4, 8)), layer.parameters()) == 0


def test_the_estimate_without_computing_is_what_a_real_forward_saves() -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Softplus(), nn.Conv2d(4, 3, 3))
    image = torch.randn(2, 2, 16, 16)
    real = saved_bytes(lambda: network(image), network.parameters())
    estimate = estimate_training_memory(network.to("meta"), 2, (16, 16), 2)
    assert estimate.saved_bytes == real > 0
    assert estimate.n_parameters == sum(p.numel() for p in network.parameters())
    assert estimate.total_bytes == real + 12 * estimate.n_parameters


def test_peak_counts_what_was_there_at_once_and_is_gone() -> None:
    def use(n_mib: int) -> None:
        for _ in range(3):  # freed each time: the peak is one of them
            torch.ones(n_mib * MIB // 4)

    # Above 32 MiB the C library gives freed memory back at once (mallopt(3)); below, maybe not.
    sizes = (256, 64, 64, 256)
    peaks = [peak_memory(lambda n=n: use(n)) for n in sizes]  # type: ignore[misc]
    if None in peaks:
        pytest.skip("the peak cannot be measured here")
    errors = [(peak or 0) / MIB - n for peak, n in zip(peaks, sizes, strict=True)]
    assert all(abs(error) < 24 for error in errors), errors


def test_peak_is_unknown_where_linux_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "write_text", refuse)
    assert peak_memory(lambda: None) is None


def test_peak_does_not_hide_the_errors_of_the_call() -> None:
    def fail() -> None:
        msg = "a file of the call"
        raise FileNotFoundError(msg)

    with pytest.raises(FileNotFoundError, match="a file of the call"):
        peak_memory(fail)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_peak_on_cuda() -> None:
    assert peak_memory(lambda: torch.ones(MIB, device="cuda"), "cuda") == 4 * MIB


def test_timing_takes_turns_after_a_warm_up() -> None:
    calls: list[str] = []
    timings = time_interleaved({n: lambda n=n: calls.append(n) for n in "ab"}, 3)  # type: ignore[misc]
    assert "".join(calls) == "abababab"
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {"a": 3, "b": 3}
    slow = time_interleaved({"slow": lambda: time.sleep(0.02)}, 2)["slow"]
    assert 0.02 <= slow.median < 2


def test_processor_time_does_not_count_waiting() -> None:
    waiting = {"wait": lambda: time.sleep(0.05)}
    assert time_interleaved(waiting, 1, time.process_time)["wait"].median < 0.04


def test_timing_waits_for_cuda_before_and_after_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(timing, "_wait_for_cuda", lambda: calls.append("wait"))
    time_interleaved({"a": lambda: calls.append("a")}, 1)
    assert calls == ["a", "wait", "a", "wait"]


def test_median_and_spread() -> None:
    timing = Timing((5.0, 1.0, 2.0, 3.0, 4.0))
    assert (timing.median, timing.spread) == (3.0, 2.0)
    assert Timing((1.5,)).spread == 0.0
    with pytest.raises(ValueError, match="at least one round, got 0"):
        time_interleaved({}, 0)
