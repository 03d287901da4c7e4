"""Keep numbers that are not finite out of the weights, and find the layer where they began."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from umamba.errors import TrainingError

__all__ = ["MOST_IN_A_ROW", "FiniteSteps", "find_non_finite"]

# A gradient scaler that starts at 65,536 halves itself at most sixteen times until it is at one.
MOST_IN_A_ROW = 20


class FiniteSteps:
    """Skip every optimiser step whose loss or gradient is not finite.

    Weights, momentum and running statistics stay as they were before such a step. A gradient scaler
    that finds its scale too large skips the step itself; that counts, too.

    Args:
        network: The network that is trained.
        loss: The module that computes the loss.
        optimizer: The optimiser whose steps are skipped.
        agreed: Returns whether any process of a distributed training says so.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        optimizer: torch.optim.Optimizer,
        agreed: Callable[[bool], bool],
    ) -> None:
        self.skipped_in_a_row = 0
        self._network = network
        self._agreed = agreed
        self._loss: Tensor | None = None
        self._stepped = False
        loss.register_forward_hook(self._keep_loss)
        optimizer.register_step_pre_hook(self._before_step)

    def _keep_loss(self, _module: nn.Module, _inputs: object, loss: Tensor) -> None:
        self._loss = loss.detach()

    def _before_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        tensors = [p.grad for p in parameters if p.grad is not None]
        if self._loss is not None:
            tensors.append(self._loss)
        if self._agreed(not _all_finite(tensors)):
            for parameter in parameters:
                parameter.grad = None  # the optimiser passes over it, weight decay and momentum too
        else:
            self._stepped = True

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch one training step; afterwards `skipped_in_a_row` holds the result."""
        before = _copied_buffers(self._network)
        self._loss, self._stepped = None, False
        yield
        if self._stepped:
            self.skipped_in_a_row = 0
            return
        self.skipped_in_a_row += 1
        _restore_buffers(self._network, before)

    def check(self, where: str) -> None:
        """Check that there are not too many skipped steps in a row.

        Args:
            where: A sentence on the layer where it began.

        Raises:
            TrainingError: If there are.
        """
        if self.skipped_in_a_row < MOST_IN_A_ROW:
            return
        msg = (
            f"{MOST_IN_A_ROW} training steps in a row had a loss or a gradient that is not finite. "
            f"{where} No such step has changed a weight, and the checkpoints are from before. "
            "Check the images (`umamba check`), lower the learning rate, or train without autocast"
        )
        raise TrainingError(msg)


def _copied_buffers(network: nn.Module) -> list[Tensor]:
    return [buffer.clone() for buffer in network.buffers()]


def _restore_buffers(network: nn.Module, before: list[Tensor]) -> None:
    for buffer, old in zip(network.buffers(), before, strict=True):
        buffer.copy_(old)


def _all_finite(tensors: list[Tensor]) -> bool:
    """Return whether no tensor has an element that is infinite or NaN; waits for a GPU once."""
    if not tensors:
        return True
    # The largest magnitude is not finite where an element is not, and cannot overflow as sums do.
    norms = torch._foreach_norm(tensors, float("inf"))
    return bool(torch.stack([norm.float().to(norms[0].device) for norm in norms]).isfinite().all())


def find_non_finite(
    network: nn.Module,
    loss: Callable[[], Tensor],
    images: Tensor,
    agreed: Callable[[bool], bool] = bool,
) -> str:
    """Find the layer where numbers stop being finite, in one more forward and backward pass.

    Args:
        network: The network, without wrappers; its gradients, running statistics and random
            states stay unchanged.
        loss: Runs the forward pass and returns the loss.
        images: The batch.
        agreed: Returns whether any process of a distributed training says so. nnU-Net's Dice loss
            of whole batches makes the processes wait for each other, forward and backward, so all
            of them take the same passes.

    Returns:
        A sentence that names the first layer and the range of its activations.
    """
    devices = [images.device] if images.device.type == "cuda" else []
    forward: list[str] = []
    backward: list[str] = []
    before = _copied_buffers(network)
    with torch.random.fork_rng(devices), _noting(network, forward, backward):
        value = loss()
        found = agreed(bool(forward) or not _all_finite([images, value.detach()]))
        if not found:
            # Unlike `backward`, this neither adds to gradients nor wakes DistributedDataParallel.
            trained = [p for p in network.parameters() if p.requires_grad]
            torch.autograd.grad(value, trained, allow_unused=True)
    _restore_buffers(network, before)
    if not images.isfinite().all():
        return f"The images of the batch are not finite: {_range(images)}."
    if forward:
        return f"The first output that is not finite is that of {forward[0]}."
    if not value.isfinite().all():
        return "All layers have finite outputs; the loss itself is not finite."
    if found:
        return "It began in another process of this training."
    if backward:
        return f"The first gradient that is not finite is that of the output of {backward[0]}."
    return "A second pass on the same batch found every output and gradient finite."


@contextmanager
def _noting(network: nn.Module, forward: list[str], backward: list[str]) -> Iterator[None]:
    """Note the modules whose outputs, or gradients of them, are not finite, in order.

    Modules end before those that hold them, so the first one noted is the innermost.
    """

    def watch(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        seen = f"{name} ({type(module).__name__}): {_range(output)}"
        if inputs and isinstance(inputs[0], Tensor):
            seen += f", from inputs {_range(inputs[0])}"
        if not output.isfinite().all():
            forward.append(seen)
        if output.requires_grad:
            output.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: None if gradient.isfinite().all() else backward.append(seen)
            )

    handles = [
        module.register_forward_hook(partial(watch, name))
        for name, module in network.named_modules()
        if name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _range(x: Tensor) -> str:
    """Describe the range of the finite elements, and how many are not finite."""
    x = x.detach()
    finite = x.isfinite()
    count = x.numel() - int(finite.sum())
    what = f"{count} of {x.numel()} elements not finite"
    if count == x.numel():
        return what
    # Indexing by `finite` would take five times the memory of a large map.
    low, high = x.where(finite, math.inf).amin(), x.where(finite, -math.inf).amax()
    return f"{float(low):.3g} to {float(high):.3g}" + (f", {what}" if count else "")
