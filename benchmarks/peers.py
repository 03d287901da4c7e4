"""The registry of implementations of the selective scan that are measured beside each other.

Each takes `(u, dt, A, B, C, D)` with sequences `(batch, channels, length)`, `dt` already positive.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from benchmarks.c_peer import c_scan, why_no_compiler
from benchmarks.shapes import Shape
from umamba import selective_scan
from umamba.ops.backends import find_backend

__all__ = [
    "GPU_OURS",
    "GPU_PEERS",
    "MAMBA_SSM",
    "OURS",
    "PEERS",
    "PSCAN",
    "REFERENCE",
    "YARDSTICK",
    "Peer",
]

OURS = "umamba cpu"
PORTABLE = "umamba torch"
REFERENCE = "selective_scan_ref"
PSCAN = "mamba.py pscan"
YARDSTICK = "C, gcc -O3 -march=native"

# Numbers that the backward of `selective_scan_ref` may write: minutes' worth.
_WRITTEN = 1e11
_LONGEST_LOOP = 4096
# Measured: bytes per state that `pscan` holds at its peak.
_PSCAN_BYTES = 36

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def _never(_: Shape, __: str) -> None:
    return None


@dataclass(frozen=True)
class Peer:
    """An implementation.

    Args:
        name: As in the tables.
        scan: Computes the outputs; differentiable.
        why_unavailable: Returns why it cannot run on this machine, or `None`.
        why_skipped: Returns why a shape and pass are not measured with it, or `None`.
        device: Where it runs.
        time_contiguous: Whether its block gives it sequences with time contiguous, else channels.
    """

    name: str
    scan: Scan
    why_unavailable: Callable[[], str | None]
    why_skipped: Callable[[Shape, str], str | None] = _never
    device: str = "cpu"
    time_contiguous: bool = False


def _umamba(backend: str) -> Scan:
    def scan(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
        return cast("Tensor", selective_scan(u, dt, A, B, C, D, backend=backend))

    return scan


def selective_scan_ref(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Run the recurrence as the slow path of mamba_ssm does.

    Decays and inputs of all steps are materialised as `(batch, d_inner, length, d_state)`, and a
    Python loop indexes them by time. The backward of each index fills a zero gradient of full
    size, so time grows with the square of the length.

    Source:
        The structure of `selective_scan_ref` in mamba_ssm (Tri Dao and Albert Gu, Apache-2.0),
        written anew from the equations.
    """
    decay = torch.exp(torch.einsum("bdl,dn->bdln", dt, A))
    added = torch.einsum("bdl,bnl,bdl->bdln", dt, B, u)
    h = A.new_zeros(u.shape[0], *A.shape)
    outputs = []
    for t in range(u.shape[2]):
        h = decay[:, :, t] * h + added[:, :, t]
        outputs.append(torch.einsum("bdn,bn->bd", h, C[:, :, t]))
    return torch.stack(outputs, dim=2) + u * D[:, None]


def _skip_loop(shape: Shape, which: str) -> str | None:
    if shape.length > _LONGEST_LOOP:
        return f"Python loop over more than {_LONGEST_LOOP} steps"
    written = 2 * shape.states * shape.length
    if which == "forward+backward" and written > _WRITTEN:
        return f"its O(L²) backward writes {written * 4 / 1e12:.1f} TB of zeros"
    return None


def pscan(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Run mamba.py's parallel scan as its Mamba block calls it.

    Source:
        `pscan` of the package mambapy (Alexandre Torres-Leguet, MIT).
    """
    from mambapy.pscan import pscan as parallel_scan

    u_, dt_, B_, C_ = (x.transpose(1, 2) for x in (u, dt, B, C))
    added = dt_[..., None] * B_[:, :, None] * u_[..., None]
    hs = parallel_scan(torch.exp(dt_[..., None] * A), added)
    return ((hs @ C_[..., None]).squeeze(3) + D * u_).transpose(1, 2)


def _skip_hungry(shape: Shape, which: str) -> str | None:
    needs = _PSCAN_BYTES * shape.states if which == "forward+backward" else 0
    available = _available_memory()
    if available is not None and needs > 0.7 * available:
        return f"needs {needs / 1e9:.0f} GB"
    return None


def _available_memory() -> int | None:
    """Return bytes, where the system says so."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else None


def _missing(module: str, install: str) -> Callable[[], str | None]:
    def why() -> str | None:
        return None if importlib.util.find_spec(module) else f"not installed: {install}"

    return why


def mamba_ssm_cuda(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Run the CUDA kernel of mamba_ssm."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    return cast("Tensor", selective_scan_fn(u, dt, A, B, C, D))


def _why_no_cuda() -> str | None:
    if not torch.cuda.is_available():
        return "no CUDA device"
    return _missing("mamba_ssm", "pip install mamba-ssm")()


GPU_OURS = "umamba triton"
MAMBA_SSM = "mamba_ssm CUDA"
_MAMBA_SSM = Peer(MAMBA_SSM, mamba_ssm_cuda, _why_no_cuda, device="cuda", time_contiguous=True)
GPU_PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            GPU_OURS,
            _umamba("triton"),
            lambda: find_backend("triton").why_not("cuda"),
            device="cuda",
        ),
        Peer("umamba torch, CUDA", _umamba("torch"), lambda: None, device="cuda"),
        _MAMBA_SSM,
    )
}
PEERS = {
    peer.name: peer
    for peer in (
        Peer(OURS, _umamba("cpu"), lambda: find_backend("cpu").why_not("cpu")),
        Peer(PORTABLE, _umamba("torch"), lambda: None),
        Peer(YARDSTICK, c_scan, why_no_compiler),
        Peer(PSCAN, pscan, _missing("mambapy", "pip install --no-deps mambapy"), _skip_hungry),
        Peer(REFERENCE, selective_scan_ref, lambda: None, _skip_loop),
        _MAMBA_SSM,
    )
}
