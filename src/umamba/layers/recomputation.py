"""Recomputation of cheap results: what norms, activations and sums return is not kept.

A convolution keeps its input for the backward, and that is mostly the result of a norm and an
activation, which follow from the convolution before. Within `recomputing`, autograd keeps a recipe
in place of each result of `derive`, and computes it again when the backward asks for it. Everything
else is kept as ever: results and gradients are the same numbers, from the same operations.

Source: Rota Bulo et al. 2018, arXiv:1712.02616 (norm and activation recomputed); Chen et al. 2016,
arXiv:1604.06174.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from itertools import zip_longest
from threading import local
from typing import Any, no_type_check

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.checkpoint import checkpoint

__all__ = [
    "derive",
    "emulated_autocast",
    "keep",
    "not_recomputing",
    "observed_saving",
    "recomputing",
]

_Function = Callable[..., Tensor]
_state = local()


class _Raw:
    """A tensor that autograd keeps as it is, and that nothing may change until the backward."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.version = tensor, tensor._version

    def compute(self) -> Tensor:
        """Return the tensor.

        Raises:
            RuntimeError: If it was changed, as torch has it without recomputation.
        """
        if self.tensor._version != self.version:
            msg = (
                f"a tensor of shape {list(self.tensor.shape)} that the backward needs was changed "
                "in place after the forward (an image, a weight or a feature map); change it after "
                "the backward, or use activation_checkpointing none"
            )
            raise RuntimeError(msg)
        return self.tensor

    unpack = compute


@dataclass(eq=False)
class _Recipe:
    """A result that can be computed again.

    Attributes:
        function: The function.
        inputs: Its inputs: tensors that are kept anyway, or recipes.
        autocast: The context that it was computed in.
        shared: Whether users that follow each other get the same tensor.
        check: Checks that the network has the weights of the forward.
        users: The number of places where autograd keeps this recipe instead of the result.
        result: The result, once it was asked for, until its last user is done.
    """

    function: _Function
    inputs: tuple["_Raw | _Kept", ...]
    autocast: Callable[[], AbstractContextManager[Any]]
    shared: bool
    check: Callable[[], None]
    users: int = 0
    result: Tensor | None = None

    def compute(self) -> Tensor:
        """Return the result; what only leads to it is not kept."""
        if self.result is not None:
            return self.result
        self.check()
        inputs = [kept.compute() for kept in self.inputs]
        with torch.no_grad(), self.autocast():
            return self.function(*inputs)

    def release(self) -> None:
        """Forget the result with the last user."""
        self.users -= 1
        if not self.users:
            self.result = None


class _Kept:
    """What autograd keeps instead of a tensor that can be computed again."""

    def __init__(self, recipe: _Recipe, tensor: Tensor) -> None:
        self.recipe = recipe
        self.view = tensor.size(), tensor.stride(), tensor.storage_offset()
        recipe.users += 1

    def __del__(self) -> None:
        self.recipe.release()

    def compute(self) -> Tensor:
        return self.recipe.compute().as_strided(*self.view)

    def unpack(self) -> Tensor:
        """Return the tensor; the next user gets it, too, if it is shared."""
        result = self.recipe.compute()
        if self.recipe.shared:
            self.recipe.result = result
        return result.as_strided(*self.view)


@dataclass
class _Pending:
    """What autograd keeps of a tensor until it is known whether that can be computed again."""

    kept: _Raw | _Kept

    def unpack(self) -> Tensor:
        return self.kept.unpack()


@dataclass
class _Recomputation:
    """The recipes of one forward pass, by the storage of the result.

    The weak reference keeps the address of a storage from being used again, while it lets go of
    the memory; the version tells whether the result was changed in place since.
    """

    check: Callable[[], None]
    recipes: dict[int, tuple[StorageWeakRef, int, _Recipe]] = field(default_factory=dict)

    def keep(self, tensor: Tensor) -> _Raw | _Kept:
        """Return what to keep of a tensor."""
        storage = tensor.untyped_storage()
        _, version, recipe = self.recipes.get(storage._cdata, (None, None, None))
        if recipe is not None and version == tensor._version:
            return _Kept(recipe, tensor)
        return _Raw(_told_of(tensor))

    def restore(self, tensor: Tensor) -> None:
        """Keep a result after all."""
        _, _, recipe = self.recipes.get(tensor.untyped_storage()._cdata, (None, None, None))
        if recipe is not None:
            recipe.result = _told_of(tensor.detach())

    def derive(self, function: _Function, inputs: tuple[Tensor, ...], *, shared: bool) -> Tensor:
        """Apply a function whose result is not kept."""
        made: list[tuple[_Pending, Tensor]] = []
        given = {tensor.untyped_storage()._cdata for tensor in inputs}

        def pack(tensor: Tensor) -> _Pending:
            if tensor.untyped_storage()._cdata in given or (
                tensor.is_leaf and tensor.requires_grad
            ):
                return _Pending(self.keep(tensor))
            pending = _Pending(_Raw(tensor))
            made.append((pending, tensor))
            return pending

        kept = tuple(self.keep(tensor) for tensor in inputs)
        autocast = _autocast_now(inputs[0].device.type)
        recipe = _Recipe(function, kept, autocast, shared, self.check)
        with torch.autograd.graph.saved_tensors_hooks(pack, _Pending.unpack):
            result = function(*inputs)
        storage = result.untyped_storage()
        if storage._cdata in given:  # its input, changed in place: nothing to compute it from
            made.clear()
            return result
        weak = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        self.recipes[storage._cdata] = weak, result._version, recipe
        for pending, tensor in made:
            # What is saved as an output, as by an activation in place, has no version of its own.
            is_result = tensor.untyped_storage()._cdata == storage._cdata
            pending.kept = _Kept(recipe, tensor) if is_result else self.keep(tensor)
        made.clear()  # autograd keeps the hooks, and with them this list
        return result


def _told_of(tensor: Tensor) -> Tensor:
    """Tell observers of a tensor that is kept, and return it."""
    for observe in getattr(_state, "observers", ()):
        observe(tensor)
    return tensor


def _unpack(kept: _Raw | _Kept) -> Tensor:
    return kept.unpack()


def derive(function: _Function, *inputs: Tensor, shared: bool = True) -> Tensor:
    """Apply a cheap function, such as norm and activation.

    Args:
        function: The function: the same inputs give the same result, and nothing else changes.
            Within it, only the result may be changed in place.
        inputs: Tensors.
        shared: Whether the backward computes the result once for all that need it, and keeps it in
            between; otherwise for each of them.

    Returns:
        Its result. Within `recomputing`, the backward computes it again instead of keeping it.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    if torch.compiler.is_compiling():
        if _traced.enabled:
            return checkpoint(function, *inputs, use_reentrant=False)
        return function(*inputs)
    recomputation: _Recomputation | None = getattr(_state, "recomputation", None)
    if recomputation is None:
        return function(*inputs)
    return recomputation.derive(function, inputs, shared=shared)


def keep(result: Tensor) -> Tensor:
    """Have autograd keep a result of `derive` after all, and return it."""
    if torch.compiler.is_compiling():
        return result
    recomputation: _Recomputation | None = getattr(_state, "recomputation", None)
    if recomputation is not None:
        recomputation.restore(result)
    return result


def recomputing(network: nn.Module, *, enabled: bool) -> AbstractContextManager[None]:
    """Have the backward compute the results of `derive` again.

    Under `torch.compile` the results are marked for recomputation, and the compiler, which knows
    what it fuses, may keep more of them.

    Args:
        network: The network whose forward it is. The backward raises a `RuntimeError` if it has
            other weights then, as after `torch.func.functional_call`.
        enabled: Whether it is so.
    """
    if not enabled or not torch.is_grad_enabled():
        return nullcontext()
    return _Tracing() if torch.compiler.is_compiling() else _recomputing(network)


class _Traced:
    """The switch that lets `derive` compute again in a network that torch.compile traces."""

    enabled = False


_traced = _Traced()


class _Tracing:
    """A context that the compiler can trace, without checks of types around its methods."""

    @no_type_check
    def __enter__(self) -> None:
        _traced.enabled = True

    @no_type_check
    def __exit__(self, *_: object) -> None:
        _traced.enabled = False


@contextmanager
def _recomputing(network: nn.Module) -> Iterator[None]:
    outer = getattr(_state, "recomputation", None)
    recomputation = _Recomputation(cache(_weights_check(network)))  # checked once per graph
    _state.recomputation = recomputation
    try:
        with torch.autograd.graph.saved_tensors_hooks(recomputation.keep, _unpack):
            yield
    finally:
        _state.recomputation = outer
        recomputation.recipes.clear()  # autograd keeps the hooks for as long as the graph


def not_recomputing(block: nn.Module) -> _Function:
    """Return a block for use where something else, such as a checkpoint, keeps its inputs.

    Called again, it raises a `RuntimeError` if the block has other weights.
    """
    if torch.compiler.is_compiling():
        return block

    emulation, check = _emulation(), _weights_check(block)

    def call(*inputs: Tensor) -> Tensor:
        check()
        outer = getattr(_state, "recomputation", None)
        _state.recomputation = None
        try:
            with emulation():
                result: Tensor = block(*inputs)
                return result
        finally:
            _state.recomputation = outer

    return call


def _weights_check(module: nn.Module) -> Callable[[], None]:
    """Return what checks that a module has the weights that it has now, not others in their place.

    Weights that were changed in place are noticed where autograd keeps them.
    """
    weights = tuple(module.parameters())

    def check() -> None:
        if any(now is not then for now, then in zip_longest(module.parameters(), weights)):
            msg = (
                "the network had other weights in the forward than it has in the backward, which "
                "computes activations again (torch.func.functional_call and load_state_dict with "
                "assign=True replace them); use activation_checkpointing none"
            )
            raise RuntimeError(msg)

    return check


@contextmanager
def observed_saving(observe: Callable[[Tensor], object]) -> Iterator[None]:
    """Tell of tensors that autograd keeps within `recomputing`, whose hooks hide all others."""
    observers = getattr(_state, "observers", ())
    _state.observers = (*observers, observe)
    try:
        yield
    finally:
        _state.observers = observers


@contextmanager
def emulated_autocast(autocast: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
    """Run under a stand-in for autocast on the meta device, which has none, in backwards too.

    Args:
        autocast: Returns the context that stands for autocast.
    """
    outer = _emulation()
    _state.emulation = autocast
    try:
        with autocast():
            yield
    finally:
        _state.emulation = outer


def _emulation() -> Callable[[], AbstractContextManager[Any]]:
    return getattr(_state, "emulation", nullcontext)


def _autocast_now(device: str) -> Callable[[], AbstractContextManager[Any]]:
    """Return what makes the present autocast again, on or off, wherever the backward runs."""
    if device == "meta":
        return _emulation()
    enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    return lambda: torch.autocast(device, dtype, enabled=enabled)
