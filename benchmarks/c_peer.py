"""The C yardstick as a peer: compiled into a temporary folder, called through ctypes."""

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["c_scan", "gcc_version", "why_no_compiler"]

_SOURCE = Path(__file__).parent / "c_yardstick.c"
_BLOCK = 32  # channels of a task, steps of a chunk
_SIZES = ("batch", "d_inner", "length", "d_state", "threads")
_ADDRESSES = (
    *("u", "dt", "A", "B", "C", "D", "grad_y", "y", "states"),
    *("grad_u", "grad_dt", "grad_A", "grad_D", "grad_B", "grad_C"),
)


class _Arguments(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in _SIZES),
        *((name, ctypes.c_void_p) for name in _ADDRESSES),
    )


def why_no_compiler() -> str | None:
    """Return why the yardstick cannot be compiled here, or `None` if it can."""
    return None if shutil.which("gcc") else "gcc is not installed"


@cache
def gcc_version() -> str | None:
    """Return the first line of `gcc --version`."""
    if why_no_compiler():
        return None
    shown = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True)
    return shown.stdout.splitlines()[0]


@cache
def _library() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "c_yardstick.so"
        flags = ["-O3", "-march=native", "-shared", "-fPIC", "-pthread"]
        subprocess.run(["gcc", *flags, str(_SOURCE), "-o", str(target)], check=True)
        return ctypes.CDLL(str(target))  # stays loaded when the file is gone


def _call(name: str, u: Tensor, tensors: dict[str, Tensor | None]) -> None:
    batch, length, d_inner = u.shape
    A = tensors["A"]
    d_state = 0 if A is None else A.shape[1]
    sizes = (batch, d_inner, length, d_state, torch.get_num_threads())
    given = {key: x.data_ptr() for key, x in tensors.items() if x is not None}
    arguments = _Arguments(*sizes, u=u.data_ptr(), **given)
    if getattr(_library(), name)(ctypes.byref(arguments)):
        msg = f"the C yardstick cannot compute {tuple(u.shape)}: d_inner must be a multiple of 32"
        raise ValueError(msg)


class _CScan(torch.autograd.Function):
    """Sequences here are (batch, length, channels), contiguous."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
    ) -> Tensor:
        batch, length, d_inner = u.shape
        tasks, chunks = batch * d_inner // _BLOCK, -(-length // _BLOCK)
        trains = any(ctx.needs_input_grad)
        states = u.new_empty(tasks, chunks, A.shape[1], _BLOCK) if trains else None
        y = torch.empty_like(u)
        tensors = {"dt": dt, "A": A, "B": B, "C": C, "D": D}
        _call("forward", u, {**tensors, "y": y, "states": states})
        if trains:
            ctx.save_for_backward(u, dt, A, B, C, D, states)
        return y

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, ...]:
        u, dt, A, B, C, D, states = ctx.saved_tensors
        (batch, length, d_inner), d_state = u.shape, A.shape[1]
        padded = -(-length // _BLOCK) * _BLOCK
        grads = {
            "grad_u": torch.empty_like(u),
            "grad_dt": torch.empty_like(u),
            "grad_A": u.new_empty(batch, d_inner, d_state),
            "grad_B": u.new_empty(batch, d_inner // _BLOCK, d_state, padded),
            "grad_C": u.new_empty(batch, d_inner // _BLOCK, d_state, padded),
            "grad_D": u.new_empty(batch, d_inner),
        }
        given = {"dt": dt, "A": A, "B": B, "C": C, "D": D, "states": states}
        _call("backward", u, {**given, "grad_y": grad_y.contiguous(), **grads})
        projections = (
            grads[name].sum(1)[..., :length].transpose(1, 2) for name in ("grad_B", "grad_C")
        )
        sequences = (grads["grad_u"], grads["grad_dt"])
        return (*sequences, grads["grad_A"].sum(0), *projections, grads["grad_D"].sum(0))


def c_scan(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Run `selective_scan` of float32 sequences in C; channels-last ones without a copy."""
    if any(x.dtype != torch.float32 for x in (u, dt, A, B, C, D)):
        msg = "the C yardstick computes in float32 only"
        raise ValueError(msg)
    sequences = (x.transpose(1, 2).contiguous() for x in (u, dt))
    projections = (x.transpose(1, 2).contiguous() for x in (B, C))
    u, dt = sequences
    y: Tensor = _CScan.apply(u, dt, A.contiguous(), *projections, D.contiguous())
    return y.transpose(1, 2)
