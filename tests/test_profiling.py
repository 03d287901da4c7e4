"""Bytes that are known beforehand are counted, and calls are timed in turn."""

import mmap
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umamba import Mamba
from umamba.networks import UMambaUNETRPlusPlus
from umamba.profiling import (
    Timing,
    count_multiply_adds,
    estimate_training_memory,
    peak_memory,
    profile_network,
    saved_bytes,
    time_interleaved,
    training_step,
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
    assert estimate.total_bytes == estimate.peak_bytes + 8 * estimate.n_parameters


def test_the_estimated_peak_is_that_of_a_real_step() -> None:
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.Tanh()]
    for _ in range(2):
        layers += [nn.Conv2d(16, 16, 3, padding=1), nn.Tanh()]
    network = nn.Sequential(*layers, nn.Conv2d(16, 2, 1))
    image = torch.randn(1, 1, 512, 1024)

    def step() -> None:
        F.cross_entropy(network(image), torch.zeros(1, 512, 1024, dtype=torch.long)).backward()
        network.zero_grad()

    step()
    peaks = [peak_memory(step) for _ in range(3)]
    if None in peaks:
        pytest.skip("the peak cannot be measured here")
    measured = min(peak or 0 for peak in peaks)  # the C library may keep what is freed
    estimate = estimate_training_memory(network.to("meta"), 1, (512, 1024), 1)
    assert 0.5 < estimate.peak_bytes / measured < 1.1  # workspaces come on top
    assert estimate.saved_bytes < estimate.peak_bytes
    assert next(network.parameters()).grad is None


def test_peak_counts_what_was_there_at_once_and_is_gone() -> None:
    def use(n_mib: int) -> None:
        for _ in range(3):  # freed each time: the peak is one of them
            # Of the system: the C library may keep what is freed, where others left it gaps.
            with mmap.mmap(-1, n_mib * MIB) as memory:
                for _ in range(n_mib):
                    memory.write(bytes(MIB))

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
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: calls.append("wait"))
    time_interleaved({"a": lambda: calls.append("a")}, 1)
    assert calls == ["a", "wait", "a", "wait"]


def test_median_and_spread() -> None:
    timing = Timing((5.0, 1.0, 2.0, 3.0, 4.0))
    assert (timing.median, timing.spread) == (3.0, 2.0)
    assert Timing((1.5,)).spread == 0.0
    with pytest.raises(ValueError, match="at least one round, got 0"):
        time_interleaved({}, 0)


@pytest.mark.parametrize("bias", [False, True])
def test_multiply_adds_of_a_mamba_layer_by_hand(bias: bool) -> None:
    d_model, d_state, width, expand, rank = 32, 16, 4, 2, 2
    batch, length = 3, 100
    d_inner, tokens = expand * d_model, batch * length
    linear = d_model * 2 * d_inner + d_inner * (rank + 2 * d_state) + rank * d_inner
    linear += d_inner * d_model
    convolution = batch * d_inner * (length + width - 1) * width  # with its padding
    scan = tokens * d_inner * (4 * d_state + 3)  # dt u, D u and the gate beside the states
    with torch.device("meta"):
        layer, hidden = Mamba(d_model, d_state, width, expand, bias=bias), torch.empty(3, 100, 32)
    counted = count_multiply_adds(lambda: layer(hidden))
    assert counted == tokens * linear + convolution + scan


def test_multiply_adds_of_convolutions_and_attention_by_hand() -> None:
    image = torch.empty(2, 3, 8, 12, device="meta")
    network = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ConvTranspose2d(16, 5, 2, stride=2))
    network = network.to("meta")
    pixels = 2 * 8 * 12
    by_hand = pixels * 3 * 16 * 9 + pixels * 16 * 5 * 4
    assert count_multiply_adds(lambda: network(image)) == by_hand
    q = torch.empty(2, 4, 10, 8, device="meta")
    attention = 2 * (2 * 4 * 10 * 10 * 8)  # scores, then the weighted sum
    on_cpu = torch.zeros(2, 4, 10, 8)  # where torch takes another operator
    for x in (q, on_cpu):
        assert count_multiply_adds(lambda x=x: F.scaled_dot_product_attention(x, x, x)) == attention
    assert count_multiply_adds(lambda: torch.einsum("bhnc,bhmc->bhnm", q, q)) == attention / 2


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_multiply_adds_of_fourier_transforms(device: str) -> None:
    real = torch.zeros(3, 64, device=device)
    spectrum = torch.fft.rfft(real)
    complex_count = 3 * 5 * 64 * 6 // 2  # 5 n log2(n) operations
    assert count_multiply_adds(lambda: torch.fft.fft(spectrum.new_zeros(3, 64))) == complex_count
    assert count_multiply_adds(lambda: torch.fft.rfft(real)) == complex_count // 2
    assert count_multiply_adds(lambda: torch.fft.irfft(spectrum, n=64)) == complex_count // 2


def test_multiply_adds_of_unetrpp_are_those_that_its_authors_report() -> None:
    """Shaker et al. state 42.96 M parameters; their code counts 47.886 G with fvcore.

    fvcore counts norms, too: per element 5 with affine weights and 4 without, and of BatchNorm in
    evaluation 2. Their network has its three heads in evaluation.
    """
    with torch.device("meta"):
        network = UMambaUNETRPlusPlus.synapse()
        image = torch.empty(1, 1, 64, 128, 128)
    profile = profile_network(network, 1, (64, 128, 128), 2)
    assert profile.n_parameters == 42_952_850
    assert network.training
    assert network.decoder.deep_supervision
    norms = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
        nonlocal norms
        affine = getattr(module, "weight", None) is not None
        is_batch_norm = isinstance(module, nn.BatchNorm3d)
        norms += inputs[0].numel() * (2 if is_batch_norm else 4 + affine)

    norm_classes = (nn.BatchNorm3d, nn.InstanceNorm3d, nn.GroupNorm, nn.LayerNorm)
    for module in network.modules():
        if isinstance(module, norm_classes):
            module.register_forward_hook(count)
    with_heads = count_multiply_adds(lambda: network.eval()(image))
    heads = 32**3 * 32 * 14 + 16**3 * 64 * 14  # those of deep supervision
    assert with_heads - profile.multiply_adds == heads
    assert round((with_heads + norms) / 1e9, 3) == 47.886


def test_a_training_step_computes_every_gradient_and_drops_it() -> None:
    network = nn.Conv2d(2, 3, 3)
    seen: list[Tensor] = []
    assert network.bias is not None
    network.bias.register_hook(lambda grad: seen.append(grad.clone()))
    step = training_step(network, 2, (8, 8), 4)
    step()
    step()
    assert len(seen) == 2
    assert torch.equal(*seen)
    assert seen[0].abs().sum() > 0
    assert network.weight.grad is None
