"""The selective scan on the CPU, from tensors to tensors."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from umamba.errors import BackendError
from umamba.ops.cpu.compilation import Compiled, compile_scan
from umamba.ops.cpu.launch import (
    BLOCK,
    SEQUENCE,
    STATE,
    Arguments,
    blocks_in,
    check_tensors,
    run,
)
from umamba.ops.scan_backend import ScanGradients, ScanTensors

__all__ = ["cpu_scan", "cpu_scan_backward", "restart_shape"]


class _Blocks(NamedTuple):
    """The division of channels: parts share their groups of B and C, and hold whole blocks."""

    parts: int
    channels: int
    blocks: int

    @property
    def total(self) -> int:
        return self.parts * self.blocks


def _blocks(d_inner: int, B: Tensor, C: Tensor) -> _Blocks:
    groups = math.lcm(*(x.shape[1] if x.dim() == 4 else 1 for x in (B, C)))
    channels = d_inner // groups
    return _Blocks(groups, channels, blocks_in(channels))


def _common(given: ScanTensors, *, softplus: bool) -> Arguments:
    """Check the arguments, which the kernel does not do, and return them by name."""
    u, dt, A, B, C, D, z, dt_bias, _ = given
    check_tensors([x for x in given[:8] if x is not None])
    batch, d_inner, length = u.shape
    blocks = _blocks(d_inner, B, C)
    arguments = Arguments()
    arguments.update(
        n_tasks=batch * blocks.total,
        n_blocks=blocks.total,
        blocks_per_part=blocks.blocks,
        part_channels=blocks.channels,
        length=length,
        d_state=A.shape[1],
        d_inner=d_inner,
        softplus=int(softplus),
    )
    for name, x in (("u", u), ("dt", dt), ("z", z)):
        arguments.tensor(name, x, *SEQUENCE)
    arguments.tensor("A", A, "channel", "state")
    arguments.projection("B", B, d_inner)
    arguments.projection("C", C, d_inner)
    for name, x in (("D", D), ("dt_bias", dt_bias)):
        arguments.tensor(name, None if x is None else x.contiguous())
    return arguments


def _kernels(given: ScanTensors) -> Compiled:
    constant = frozenset(name for name in ("B", "C") if getattr(given, name).dim() == 2)
    return compile_scan(given.u.dtype.itemsize * 8, constant)


def restart_shape(given: ScanTensors) -> tuple[int, ...]:
    """Return the shape of the restart states: (tasks, chunks, d_state, channels of a block)."""
    batch, d_inner, length = given.u.shape
    blocks = _blocks(d_inner, given.B, given.C).total
    return (batch * blocks, blocks_in(length), given.A.shape[1], BLOCK)


def cpu_scan(
    given: ScanTensors, *, softplus: bool, keep_states: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Run `umamba.selective_scan` on the CPU.

    Args:
        given: All float32, or all float64.
        softplus: Whether `softplus` makes the step size positive.
        keep_states: Whether the restart states are kept for `cpu_scan_backward`.

    Returns:
        The outputs, laid out as `u`; the last state; the restart states, empty where not kept.

    Raises:
        BackendError: If types or devices differ.
    """
    arguments = _common(given, softplus=softplus)
    u, A = given.u, given.A
    y = torch.empty_like(u)
    last = u.new_empty(u.shape[0], u.shape[1], A.shape[1])
    states = u.new_empty(restart_shape(given) if keep_states else (0,))
    arguments.tensor("y", y, *SEQUENCE)
    arguments.tensor("first", given.initial_state, *STATE)
    arguments.tensor("last", last, *STATE)
    if keep_states:
        arguments.tensor("states", states)
    kernels = _kernels(given)
    run(kernels, kernels.forward, arguments, A.shape[1], u.dtype)
    return y, last, states


def cpu_scan_backward(
    grad_y: Float[Tensor, "batch d_inner length"],
    grad_last: Float[Tensor, "batch d_inner d_state"] | None,
    given: ScanTensors,
    states: Float[Tensor, "tasks chunks d_state channels"],
    *,
    softplus: bool,
    with_first: bool,
) -> ScanGradients:
    """Differentiate `cpu_scan`.

    Args:
        grad_y: Gradient of the outputs.
        grad_last: Gradient of the last state; `None` means zero.
        given: As given to `cpu_scan`.
        states: The restart states that `cpu_scan` returned.
        softplus: As given to `cpu_scan`.
        with_first: Whether the gradient of the first state is wanted.

    Returns:
        The gradients.

    Raises:
        BackendError: If types, devices or the shape of `states` do not fit.
    """
    arguments = _common(given, softplus=softplus)
    u, A, B, C, z = given.u, given.A, given.B, given.C, given.z
    if states.shape != restart_shape(given) or not states.is_contiguous():
        msg = f"restart states of shape {tuple(states.shape)} do not belong to this sequence"
        raise BackendError(msg)
    batch, d_inner, _ = u.shape
    grads = {name: torch.empty_like(u) for name in ("u", "dt", "z") if name != "z" or z is not None}
    for name, grad in grads.items():
        arguments.tensor(f"grad_{name}", grad, *SEQUENCE)
    grad_first = u.new_empty(batch, d_inner, A.shape[1]) if with_first else None
    arguments.tensor("grad_y", grad_y, *SEQUENCE)
    arguments.tensor("last", grad_last, *STATE)
    arguments.tensor("first", grad_first, *STATE)
    arguments.tensor("states", states)
    per_image = {
        "A": u.new_empty(batch, d_inner, A.shape[1]),
        "D": u.new_empty(batch, d_inner),
        "bias": u.new_empty(batch, d_inner),
        "B": _partial_gradient(u, A, B, arguments["n_blocks"]),
        "C": _partial_gradient(u, A, C, arguments["n_blocks"]),
    }
    for name, grad in per_image.items():
        arguments.tensor(f"grad_{name}", grad)
    kernels = _kernels(given)
    run(kernels, kernels.backward, arguments, A.shape[1], u.dtype)
    return ScanGradients(
        grads["u"],
        grads["dt"],
        per_image["A"].sum(0),
        _whole_gradient(per_image["B"], B),
        _whole_gradient(per_image["C"], C),
        per_image["D"].sum(0),
        grads.get("z"),
        per_image["bias"].sum(0),
        grad_first,
    )


def _partial_gradient(u: Tensor, A: Tensor, projection: Tensor, n_blocks: int) -> Tensor:
    """Allocate the gradient of `B` or `C`: per image where constant, else per block."""
    batch, d_inner, length = u.shape
    if projection.dim() == 2:
        return u.new_empty(batch, d_inner, A.shape[1])
    return u.new_empty(batch, n_blocks, A.shape[1], blocks_in(length) * BLOCK)


def _whole_gradient(partial: Tensor, projection: Tensor) -> Tensor:
    """Sum over images or blocks, always in the same order."""
    if projection.dim() == 2:
        return partial.sum(0)
    groups = projection.shape[1] if projection.dim() == 4 else 1
    batch, blocks, d_state, padded = partial.shape
    if not blocks:  # no channels
        return torch.zeros_like(projection, memory_format=torch.contiguous_format)
    split = partial.view(batch, groups, blocks // groups, d_state, padded)
    total = split[:, :, 0] if blocks == groups else split.sum(2)
    return total[..., : projection.shape[-1]].reshape(projection.shape).contiguous()
