"""The length of every training of a comparison; free of torch."""

import math
from dataclasses import dataclass

__all__ = ["Budget", "Length"]

_EPOCH_ITERATIONS = 250  # nnU-Net's
_FEWEST_EPOCHS = 20  # a learning curve has one point per epoch
_KINDS = ("epochs", "iterations", "hours")


@dataclass(frozen=True)
class Length:
    """The length of a training."""

    epochs: int
    iterations_per_epoch: int = _EPOCH_ITERATIONS

    @property
    def iterations(self) -> int:
        """Total number of training iterations."""
        return self.epochs * self.iterations_per_epoch

    def __str__(self) -> str:
        return f"{self.epochs} epochs of {self.iterations_per_epoch} iterations"


@dataclass(frozen=True)
class Budget:
    """The budget of every training: `epochs`, `iterations` or `hours`.

    Hours become iterations: as many as fit, given the measured time of a training step of the
    model, so that the learning rate schedule is complete at the end.
    """

    kind: str
    amount: float

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Parse `epochs:100`, `iterations:25000` or `hours:1.5`.

        Raises:
            ValueError: If the text is none of these.
        """
        kind, _, number = text.partition(":")
        amount = float(number)
        is_whole = kind == "hours" or amount.is_integer()
        if kind not in _KINDS or not 0 < amount < math.inf or not is_whole:
            msg = f"{text!r} is not a budget"
            raise ValueError(msg)
        return cls(kind, amount)

    @property
    def tag(self) -> str:
        """Return the budget as part of the names of plans, e.g. `100epochs`."""
        return f"{self.amount:.12g}{self.kind}"

    def to_dict(self) -> dict[str, int | float]:
        """Return kind and amount, for JSON."""
        return {self.kind: int(self.amount) if self.amount.is_integer() else self.amount}

    def length(self, seconds_per_iteration: float | None = None) -> Length:
        """Return the length of a training.

        Args:
            seconds_per_iteration: Time of a training iteration, including validation; for hours.
        """
        if self.kind == "epochs":
            return Length(int(self.amount))
        iterations = int(self.amount)
        if self.kind == "hours":
            if seconds_per_iteration is None:
                msg = "a budget in hours needs the time of an iteration"
                raise ValueError(msg)
            iterations = max(1, int(self.amount * 3600 / seconds_per_iteration))
        epochs = max(-(-iterations // _EPOCH_ITERATIONS), min(iterations, _FEWEST_EPOCHS))
        return Length(epochs, -(-iterations // epochs))
