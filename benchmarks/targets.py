"""Targets of the kernels, and whether measurements show that they are reached."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.peers import GPU_OURS, MAMBA_SSM, OURS, PSCAN, REFERENCE, YARDSTICK
from benchmarks.shapes import GPU_SHAPES, Shape

__all__ = ["ONE_THREAD", "Verdict", "gpu_verdicts", "verdicts"]

ONE_THREAD = f"{OURS}, 1 thread"
_BOTH = "forward+backward"
_LONG = Shape(2, 128, 32768)

Row = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """A target, what was measured, and whether the one reaches the other (`None`: unmeasured)."""

    target: str
    measured: str
    met: bool | None


def verdicts(rows: list[Row]) -> list[Verdict]:
    """Return a verdict on every target that the measurements say something about.

    Args:
        rows: Measurements with one number of threads.
    """
    found = [*_speed(rows), *_memory(rows), *_accuracy(rows)]
    return [verdict for verdict in found if verdict is not None]


def gpu_verdicts(rows: list[Row]) -> list[Verdict]:
    """Return a verdict on every target of the scan on a GPU that measurements say something about.

    Args:
        rows: Measurements of our kernel and mamba_ssm's.
    """
    found = []
    ratios = _pick(rows, "ratio", MAMBA_SSM)
    for shape, least in (
        (Shape(1, 64, 262144), 4),
        (Shape(2, 64, 65536), 1.5),
        (GPU_SHAPES[-1], 0.9),
    ):
        if shape in ratios:
            target = f"at least {least} times as fast as {MAMBA_SSM} at {shape}, {_BOTH}"
            found.append(Verdict(target, f"{ratios[shape]:.2f}", ratios[shape] >= least))
    ours, theirs = (_pick(rows, "extra_memory_mib", peer) for peer in (GPU_OURS, MAMBA_SSM))
    shares = {shape: ours[shape] / theirs[shape] for shape in ours if theirs.get(shape)}
    if shares:
        worst = max(shares, key=lambda shape: shares[shape])
        target = f"at most 1.2 times the extra memory of {MAMBA_SSM}, {_BOTH}, every shape"
        found.append(Verdict(target, f"{shares[worst]:.2f} at {worst}", shares[worst] <= 1.2))
    return found


def _pick(rows: list[Row], key: str, peer: str, which: str = _BOTH) -> dict[Shape, float]:
    """Return one number per shape, of the shapes that have it."""
    return {
        Shape(*row["shape"]): row[key]
        for row in rows
        if row["peer"] == peer and row["pass"] == which and row.get(key) is not None
    }


def _speed(rows: list[Row]) -> Iterable[Verdict | None]:
    single = all(row["threads"] == 1 for row in rows)
    for peer, shape, least in (
        (PSCAN, _LONG, 35),
        (PSCAN, Shape(2, 128, 16384), 40),
        (REFERENCE, Shape(2, 640, 210), 180),
    ):
        ratio = _pick(rows, "ratio", peer).get(shape)
        if ratio is not None and single:
            target = f"at least {least} times as fast as {peer} at {shape}, {_BOTH}, 1 thread"
            yield Verdict(target, f"{ratio:.1f}", ratio >= least)
    yard = _pick(rows, "ratio", YARDSTICK)
    yield _worst("at least 0.8 times as fast as the C yardstick, forward+backward", yard, 0.8)
    scaling = _pick(rows, "ratio", ONE_THREAD)
    yield _worst("2 threads at least 1.7 times as fast as 1, forward+backward", scaling, 1.7)


def _worst(target: str, ratios: dict[Shape, float], least: float) -> Verdict | None:
    if not ratios:
        return None
    shape = min(ratios, key=lambda shape: ratios[shape])
    missed = sum(ratio < least for ratio in ratios.values())
    count = f"{len(ratios) - missed} of {len(ratios)} shapes"
    middle = sorted(ratios.values())[len(ratios) // 2]
    measured = f"{count}; worst {ratios[shape]:.2f} at {shape}, median {middle:.2f}"
    return Verdict(target, measured, missed == 0)


def _memory(rows: list[Row]) -> Iterable[Verdict | None]:
    theirs = _pick(rows, "extra_memory_mib", PSCAN).get(_LONG)
    ours = _pick(rows, "extra_memory_mib", OURS).get(_LONG)
    if theirs is None or ours is None:
        return
    target = f"at most 1/15 of the extra memory of {PSCAN} at {_LONG}, {_BOTH}"
    measured = f"1/{theirs / ours:.1f} ({ours:.0f} of {theirs:.0f} MiB)"
    yield Verdict(target, measured, ours * 15 <= theirs)


def _accuracy(rows: list[Row]) -> Iterable[Verdict | None]:
    for key, what, most in (
        ("error_y", "outputs", 5e-7),
        ("error_gradients", "gradients", 5e-6),
    ):
        errors = _pick(rows, key, OURS)
        if errors:
            worst = max(errors.values())
            target = f"error of {what} against float64 at most {most:g} (relative L2), every shape"
            yield Verdict(target, f"{worst:.1e}", worst <= most)
