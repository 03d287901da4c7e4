"""What is measured, and when a layer stops."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch

from umamba.costs import machine
from umamba.costs.mixers import MIXERS, Mixer
from umamba.costs.results import ScalingResult
from umamba.costs.scaling import Instruments, ScalingRequest, layer_step, measure_scaling
from umamba.errors import UMambaError
from umamba.profiling import Timing

LENGTHS = (16, 32, 64, 128)


def invented_step(mixer: Mixer, length: int, *_: object) -> Callable[[], float]:
    return lambda: (length / 16) ** mixer.exponent


def invented_time(
    steps: Mapping[str, Callable[[], float]], rounds: int, _: object
) -> dict[str, Timing]:
    return {name: Timing((step() * 1e-3,) * rounds) for name, step in steps.items()}


# Nothing is computed: 16 tokens take 1 ms and 1 MiB, and each layer follows its exponent.
INVENTED = Instruments(
    make_step=invented_step,
    time=invented_time,
    peak_memory=lambda step, _: int(step() * 2**20),
    free_memory=lambda _: 2**40,
)


def lengths_of(result: ScalingResult) -> dict[str, int]:
    return {layer.name: len(layer.points) for layer in result.layers}


def test_every_layer_is_measured_at_every_length() -> None:
    result = measure_scaling(ScalingRequest(LENGTHS[::-1], d_model=8, device="cpu"))
    assert lengths_of(result) == {"mamba": 4, "attention": 4, "convolution": 4}
    for layer in result.layers:
        assert [point.length for point in layer.points] == list(LENGTHS)
        assert all(point.median_ms > 0 <= point.spread_ms for point in layer.points)
        assert layer.stopped_by == ""
    assert result.machine["threads"] == 1
    assert result.machine["scan_backend"] in {"cpu", "torch"}


def test_a_step_computes_all_gradients() -> None:
    seen: list[torch.Tensor] = []
    step = layer_step(MIXERS[0], 8, 8, "cpu")
    layer, x, _ = step.args  # type: ignore[attr-defined]
    for tensor in (x, *layer.parameters()):
        tensor.register_hook(seen.append)
    step()
    assert len(seen) == 1 + len([*layer.parameters()])


def test_the_budget_stops_attention_first() -> None:
    # A third is 0.2 s; seven calls of attention take 7, 28, 112 and 448 ms.
    result = measure_scaling(ScalingRequest(LENGTHS, device="cpu", budget_s=0.6), INVENTED)
    assert lengths_of(result) == {"mamba": 4, "attention": 3, "convolution": 4}
    attention = result.layers[1]
    assert attention.stopped_by == "time"
    assert attention.reason.startswith("128 tokens would take about 0.4 s")
    assert attention.reason.endswith("0.1 s of this layer's 0.2 s (a third of --budget) are spent")
    assert attention.time_exponent == pytest.approx(2)


def test_the_shortest_length_is_measured_whatever_it_costs() -> None:
    result = measure_scaling(ScalingRequest(LENGTHS, device="cpu", budget_s=1e-6), INVENTED)
    assert lengths_of(result) == {"mamba": 1, "attention": 1, "convolution": 1}


def test_memory_stops_a_layer() -> None:
    short = replace(INVENTED, free_memory=lambda _: 16 * 2**20)
    result = measure_scaling(ScalingRequest(LENGTHS, device="cpu"), short)
    assert lengths_of(result) == {"mamba": 4, "attention": 2, "convolution": 4}
    assert result.layers[1].stopped_by == "memory"
    assert result.layers[1].reason == "64 tokens may need 0.02 GiB, but only 0.02 GiB are free"


@pytest.mark.parametrize("words", ["DefaultCPUAllocator: can't allocate memory", "a bug"])
def test_running_out_of_memory_ends_one_layer_only(words: str) -> None:
    def fail(step: Callable[[], float], _: str) -> int:
        if step() > 10:
            raise RuntimeError(words)
        return 1

    failing = replace(INVENTED, peak_memory=fail)
    request = ScalingRequest(LENGTHS, device="cpu")
    if words == "a bug":
        with pytest.raises(RuntimeError, match="a bug"):
            measure_scaling(request, failing)
        return
    result = measure_scaling(request, failing)
    assert lengths_of(result) == {"mamba": 4, "attention": 2, "convolution": 4}
    assert result.layers[1].reason == "64 tokens do not fit into memory"


def test_the_clock_is_the_one_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10**6))
    ticking = Instruments(clocks={"cpu": lambda: float(next(ticks))})
    request = ScalingRequest((4, 8), d_model=8, device="cpu", clock="cpu")
    result = measure_scaling(request, ticking)
    assert {layer.points[0].median_ms for layer in result.layers} == {1000.0}
    assert (
        "processor time of all threads (median of 5 runs, layers in turn)" in result.to_markdown()
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UMambaError, match="--clock cpu cannot time a GPU"):
        measure_scaling(ScalingRequest(clock="cpu"))


def test_threads_are_set_and_put_back() -> None:
    request = ScalingRequest((4, 8), d_model=8, device="cpu", threads=2)
    assert measure_scaling(request).machine["threads"] == 2
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ScalingRequest((64,)), "--lengths 64: give two or more different lengths"),
        (ScalingRequest((64, 64)), "--lengths 64 64: give two or more"),
        (ScalingRequest(d_model=30), "--d-model 30: attention has 4 heads; give a multiple of 4"),
        (ScalingRequest(device="cuda"), "--device cuda: torch finds no CUDA device here"),
    ],
    ids=["one", "twice", "heads", "cuda"],
)
def test_what_cannot_be_measured_is_said(
    request_: ScalingRequest, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UMambaError, match=message):
        measure_scaling(request_)


def test_the_machine_is_described_without_its_name() -> None:
    described = machine.describe_machine("cpu")
    assert described["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert described["device_name"]
    assert machine.platform.node() not in map(str, described.values())
    assert (machine.free_memory("cpu") or 2**30) > 2**20
    assert machine._field("/no/such/file", "x") is None
