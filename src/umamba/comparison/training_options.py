"""The options that all trainings of a comparison share, in one place for requests and results."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["TrainingOptions", "training_options"]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options that all trainings of a comparison share; they may not change once it has begun.

    A further one is a field here and, with its help, in `CompareRequest`. It is kept in
    `comparison.json` and `results.json`, and compared with that of earlier calls.

    Attributes:
        features: Channels per stage of every model; `None` is as planned, here and in the next two.
        patch_size: Voxels of a patch per axis.
        batch_size: Patches in a batch.
        validation_tta: `on` or `off`, whether validation cases are predicted with mirroring, as the
            first versions always did.
        validation_cases: Validation cases of each fold that are predicted; `None` is all.
        recipe: Recipe of models whose names have none, or `own`, that of each network's authors.
    """

    features: tuple[int, ...] | None = None
    patch_size: tuple[int, ...] | None = None
    batch_size: int | None = None
    validation_tta: str = "on"
    validation_cases: int | None = None
    recipe: str = "nnunet"


def training_options(given: object) -> dict[str, Any]:
    """Return the training options of something that has them as attributes, by name.

    Args:
        given: A request or settings; sequences become tuples.
    """
    values = {field.name: getattr(given, field.name) for field in fields(TrainingOptions)}
    return {
        name: tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for name, value in values.items()
    }
