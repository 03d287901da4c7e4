"""A result whose exponents are known."""

from umamba.costs.results import LayerScaling, Point, ScalingResult

MIB = 2**20


def law(exponent: int, n_lengths: int, factor: float) -> tuple[Point, ...]:
    lengths = [1024 * 2**n for n in range(n_lengths)]
    return tuple(
        Point(length, factor * (length / 1024) ** exponent, 0.1, length * 512) for length in lengths
    )


def known_result() -> ScalingResult:
    machine = {
        "device": "cpu",
        "device_name": "Some CPU",
        "threads": 2,
        "system": "Linux",
        "scan_backend": "cpu",
        "versions": {"python": "3.11", "umamba": "1.0", "torch": "2.6", "llvmlite": "0.45"},
    }
    layers = (
        LayerScaling("mamba", "Mamba", law(1, 6, 2.0)),
        LayerScaling("attention", "self-attention", law(2, 4, 4.0), "time", "it would take long"),
        LayerScaling("convolution", "convolution", law(1, 6, 0.5)),
    )
    return ScalingResult(layers, d_model=64, budget_s=60.0, rounds=7, clock="wall", machine=machine)
