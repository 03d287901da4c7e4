"""Requests for a comparison: keywords of the Python API, and options of the command."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from umamba.comparison.runs.budget import Budget
from umamba.comparison.statistic_options import clusters_option, groups_option
from umamba.errors import UMambaError
from umamba.evaluation.requests import MetricRequest
from umamba.executors.requests import ExecutorRequest, executor_option
from umamba.nnunet.paths import Paths, path_options
from umamba.nnunet.requests import (
    BATCH_SIZE,
    DATASET,
    PATCH_SIZE,
    STAGE,
    TENSORBOARD,
    TRUST,
    VALIDATION_CASES,
    VALIDATION_TTA,
)
from umamba.option_checks import (
    fold_numbers,
    folder_or_file,
    model_names,
    numbers,
    positive,
    positive_points,
)
from umamba.options import Section, option
from umamba.recipes import RECIPES
from umamba.reporting.credit import credit_option

__all__ = ["CompareRequest"]

Folder = str | Path

_STATISTICS = Section(
    "statistics", "these apply to this call: if they change, the statistics are computed again"
)
_TEST = Section(
    "test set", "a second data set with the same channels and labels; later calls keep it"
)


def _budget(given: str | Budget) -> Budget:
    if isinstance(given, Budget):
        return given
    try:
        return Budget.parse(given)
    except ValueError:
        msg = f"{given!r} is not a budget such as epochs:100, iterations:25000 or hours:1.5"
        raise UMambaError(msg) from None


@dataclass(frozen=True, kw_only=True)
class CompareRequest(MetricRequest, ExecutorRequest):
    """Models to train alike, and how to compare them."""

    dataset: str | int = field(metadata=DATASET)
    models: Sequence[str] = field(
        metadata=option(
            "models, separated by commas, such as nnunet,unetpp,umamba_bot; `umamba models` lists "
            "all; NAME@RECIPE, such as segresnet@adamw, is trained by that recipe",
            check=model_names,
            metavar="NAME,...",
        )
    )
    folds: str | Iterable[int] = field(
        default=(0, 1, 2, 3, 4),
        metadata=option(
            "folds of the cross-validation, such as 0-4 or 0,2 (default: 0-4)",
            check=fold_numbers,
            metavar="0-4",
        ),
    )
    seeds: int = field(
        default=3,
        metadata=option("number of seeds, from 0 on (default: 3)", check=positive, metavar="N"),
    )
    budget: str | Budget = field(
        metadata=option(
            "length of each training: epochs:N, iterations:N or hours:N",
            check=_budget,
            metavar="KIND:N",
        )
    )
    baseline: str | None = field(
        default=None,
        metadata=option(
            "model to compare the others with (default: nnunet if it is compared, else the first)",
            metavar="NAME",
        ),
    )
    no_controls: bool = field(
        default=False,
        metadata=option(
            "leave out the controls that are added for models of U-Mamba: one without Mamba, and "
            "one without it at the same size (without Mamba, bot and enc are the same network)"
        ),
    )
    configuration: str | None = field(
        default=None,
        metadata=option(
            "configuration to train (default: 3d_fullres if there is one, else 2d)", metavar="C"
        ),
    )
    source: str = field(
        default="nnUNetPlans",
        metadata=option("plans to derive from (default: nnUNetPlans)", "--from", metavar="PLANS"),
    )
    features: Sequence[int] | None = field(
        default=None,
        metadata=option(
            "channels per stage for every model (default: those of the source plans)",
            check=numbers,
            metavar="8,16,...",
        ),
    )
    patch_size: Sequence[int] | None = field(default=None, metadata=PATCH_SIZE)
    batch_size: int | None = field(default=None, metadata=BATCH_SIZE)
    validation_tta: str = field(default="on", metadata=VALIDATION_TTA)
    validation_cases: int | None = field(default=None, metadata=VALIDATION_CASES)
    recipe: str = field(
        default="nnunet",
        metadata=option(
            "optimiser and learning rates, as of `umamba train`, for the models without @RECIPE; "
            "own is the recipe of each network's authors (default: nnunet)",
            choices=(*RECIPES, "own"),
        ),
    )
    empty: str = field(
        default="undefined",
        metadata=option(
            "value of Dice, IoU and NSD if both reference and prediction are empty: undefined and "
            "left out as in nnU-Net, one as in BraTS, or zero; false alarms are compared in any "
            "case (default: undefined)",
            choices=("undefined", "one", "zero"),
            section=_STATISTICS,
        ),
    )
    margin: float | None = field(
        default=None,
        metadata=option(
            "the smallest difference in Dice points that matters, such as 1.0: verdicts say "
            "whether a model is equivalent, not inferior or superior by this margin, or what "
            "would settle the question (default: none)",
            check=positive_points,
            metavar="POINTS",
            section=_STATISTICS,
        ),
    )
    test_images: Folder | None = field(
        default=None,
        metadata=option(
            "images of a test set, named as for `umamba predict`: every training predicts them, "
            "and so does the ensemble of each model's folds; they are evaluated apart",
            check=folder_or_file,
            metavar="DIR",
            section=_TEST,
        ),
    )
    test_labels: Folder | None = field(
        default=None,
        metadata=option(
            "masks of the test set, one per case",
            check=folder_or_file,
            metavar="DIR",
            section=_TEST,
        ),
    )
    clusters: Folder | None = field(default=None, metadata=clusters_option(_STATISTICS))
    groups: Folder | None = field(default=None, metadata=groups_option(_STATISTICS))
    credit: str | None = field(default=None, metadata=credit_option())
    tensorboard: bool = field(default=False, metadata=TENSORBOARD)
    stage: Folder | None = field(default=None, metadata=STAGE)
    executor: str = field(default="local", metadata=executor_option("local"))
    output: Folder | None = field(
        default=None,
        metadata=option(
            "folder of the results (default: umamba-compare/DATASET)",
            "-o",
            "--output",
            check=folder_or_file,
            metavar="DIR",
        ),
    )
    trust_plans: bool = field(default=False, metadata=TRUST)
    paths: Paths = field(default=Paths(), metadata=path_options())

    def __post_init__(self) -> None:
        """Check every value, and that a test set has images and masks.

        Raises:
            UMambaError: If a value is not allowed, or does not go with another.
        """
        super().__post_init__()
        if (self.test_images is None) != (self.test_labels is None):
            msg = "a test set needs both --test-images and --test-labels"
            raise UMambaError(msg)
