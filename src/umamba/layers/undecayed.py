"""The base of layers with parameters whose dynamics weight decay would distort."""

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn

__all__ = ["UndecayedParameters", "spares_decay"]


class UndecayedParameters(nn.Module):
    """Base of layers whose parameters of the recurrence carry `_no_weight_decay = True`.

    Optimisers that know mamba_ssm's mark spare them; nnUNetTrainerUMamba does. Torch makes new
    parameters when a layer is copied, unpickled, or given weights by `assign`, and when it leaves
    the meta device; so they are marked again then.

    A subclass names them in `undecayed` and calls `mark_undecayed` once it has created them.
    """

    undecayed: ClassVar[tuple[str, ...]]

    def mark_undecayed(self) -> None:
        """Mark the parameters."""
        for name in self.undecayed:
            setattr(getattr(self, name), _MARK, True)

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.mark_undecayed()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:  # noqa: FBT001, FBT002 - torch's
        applied = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.mark_undecayed()
        return applied

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.mark_undecayed()


_MARK = "_no_weight_decay"  # as mamba_ssm calls it


def spares_decay(parameter: nn.Parameter) -> bool:
    """Return whether weight decay should leave a parameter alone."""
    return bool(getattr(parameter, _MARK, False))
