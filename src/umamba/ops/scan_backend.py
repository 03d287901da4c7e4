"""The declaration of a backend of the selective scan, and the tensors that it takes and returns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

__all__ = ["ScanBackend", "ScanGradients", "ScanTensors"]


class ScanTensors(NamedTuple):
    """The tensors that a scan takes, as `umamba.selective_scan` documents them."""

    u: Float[Tensor, "batch d_inner length"]
    dt: Float[Tensor, "batch d_inner length"]
    A: Float[Tensor, "d_inner d_state"]
    B: Float[Tensor, "..."]
    C: Float[Tensor, "..."]
    D: Float[Tensor, " d_inner"] | None = None
    z: Float[Tensor, "batch d_inner length"] | None = None
    dt_bias: Float[Tensor, " d_inner"] | None = None
    initial_state: Float[Tensor, "batch d_inner d_state"] | None = None


class ScanGradients(NamedTuple):
    """Gradients of the `ScanTensors`; those of absent ones are `None` or meaningless."""

    u: Float[Tensor, "batch d_inner length"]
    dt: Float[Tensor, "batch d_inner length"]
    A: Float[Tensor, "d_inner d_state"]
    B: Float[Tensor, "..."]
    C: Float[Tensor, "..."]
    D: Float[Tensor, " d_inner"] | None
    z: Float[Tensor, "batch d_inner length"] | None
    dt_bias: Float[Tensor, " d_inner"] | None
    initial_state: Float[Tensor, "batch d_inner d_state"] | None


@runtime_checkable
class Scan(Protocol):
    """A forward pass: outputs, the last state, and the states that the backward restarts from.

    Outputs are laid out as `u`; the restart states are empty unless they are to be kept. Both
    kinds of states have the dtype of the recurrence.
    """

    def __call__(
        self, given: ScanTensors, *, softplus: bool, keep_states: bool
    ) -> tuple[Tensor, Tensor, Tensor]: ...


@runtime_checkable
class ScanBackward(Protocol):
    """A backward pass: gradients, from those of outputs and last state and the restart states.

    A missing gradient of the last state is zero. The first state's is needed where `with_first`.
    """

    def __call__(
        self,
        grad_y: Tensor,
        grad_last: Tensor | None,
        given: ScanTensors,
        states: Tensor,
        *,
        softplus: bool,
        with_first: bool,
    ) -> ScanGradients: ...


@dataclass(frozen=True)
class ScanBackend:
    """One way to compute the selective scan.

    Args:
        name: Its name in `backend=` and `UMAMBA_SCAN_BACKEND`.
        remark: The text with which `umamba doctor` describes it where it runs.
        priority: Of the backends for a device, `auto` takes the one with the highest priority.
        devices: Types of the devices that `auto` takes it for, as `torch.device.type`.
        why_not: Returns why it cannot run on a type of device, with a remedy, or `None` if it can.
        scan: The forward pass.
        backward: The backward pass; `None` if autograd differentiates the forward pass.
        restart_shape: Returns the shape of the restart states; `None` if there is no `backward`.
        casts: Whether it needs all tensors in the dtype of the recurrence; else it takes any.
    """

    name: str
    remark: str
    priority: int
    devices: tuple[str, ...]
    why_not: Callable[[str], str | None]
    scan: Scan
    backward: ScanBackward | None
    restart_shape: Callable[[ScanTensors], tuple[int, ...]] | None
    casts: bool = True
