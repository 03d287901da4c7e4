"""Requests to plan and train: keywords of the Python API, and options of commands."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from umamba.errors import UMambaError
from umamba.executors.requests import ExecutorRequest
from umamba.nnunet.paths import Paths, path_options
from umamba.option_checks import (
    fold_numbers,
    folder_elsewhere,
    folder_or_file,
    gibibytes,
    model_name,
    natural,
    number_list,
    numbers,
    positive,
    positive_hours,
    text,
    texts,
)
from umamba.options import OneOf, Option, Request, argument, option
from umamba.recipes import RECIPES
from umamba.registry import find_architecture

__all__ = [
    "BATCH_SIZE",
    "CONFIGURATION",
    "DATASET",
    "KNOWN_MODEL",
    "KNOWN_PLANS",
    "MODEL",
    "PATCH_SIZE",
    "PLANS",
    "STAGE",
    "TENSORBOARD",
    "TRAINER",
    "TRUST",
    "VALIDATION_CASES",
    "VALIDATION_TTA",
    "PlanRequest",
    "TrainingRequest",
    "plans_of",
]

Folder = str | Path

_BEGINNING = OneOf()

DATASET = argument("DatasetXXX_Name, or its number", check=text)
CONFIGURATION = argument(
    "2d, 3d_fullres, 3d_lowres or 3d_cascade_fullres, if the plans have it; the cascade "
    "needs all folds of 3d_lowres trained first"
)
TRUST = option("import whatever classes plans and checkpoints name; only for files that you trust")
PATCH_SIZE = option(
    "voxels along each axis, for the configurations with as many axes (default: those of the "
    "plans); each must be divisible by the product of the strides along its axis, and the error "
    "message for any other size names one that fits",
    nargs="+",
    check=number_list,
    metavar="N",
)
VALIDATION_TTA = option(
    "average the predictions of mirrored images when the validation cases are predicted: on, as "
    "nnU-Net does, or off, which is 4 to 8x faster (default: on)",
    choices=("on", "off"),
)
VALIDATION_CASES = option(
    "validate on only so many of a fold's validation cases, those that come first by the SHA-256 "
    "of their names: a quick look, as the others are left out (default: all)",
    check=positive,
    metavar="N",
)
TENSORBOARD = option(
    "also log loss, pseudo Dice, learning rate and time of each epoch for TensorBoard, into "
    "`tensorboard` in the fold's folder; needs umamba[tensorboard]"
)
STAGE = option(
    "folder on a disk of the machine that trains, such as '$TMPDIR': preprocessed data are copied "
    "there once, for all its trainings, and read from there (default: read where they are)",
    check=folder_elsewhere,
    metavar="DIR",
)
BATCH_SIZE = option("patches in a batch (default: the plans')", check=positive, metavar="N")
TRAINER = option(
    "trainer that the model is, or was, trained by; that of --recipe adamw is "
    "nnUNetTrainerUMambaAdamW, that of mednext ...MedNeXt (default: nnUNetTrainerUMamba)",
    "-tr",
    metavar="TRAINER",
)

RECIPE = option(
    "optimiser and learning rates: nnunet, its SGD; adamw, AdamW with warm-up as for Primus; or "
    "mednext, AdamW as for MedNeXt. Each is a trainer of its own, which predict and export take "
    "as -tr: nnUNetTrainerUMamba, ...AdamW and ...MedNeXt (default: nnunet)",
    choices=tuple(RECIPES),
)


def _named_by(one_of: OneOf) -> tuple[Mapping[str, Option], Mapping[str, Option]]:
    """Return the options that name plans: directly, or by the model."""
    return (
        option("name of the plans", "-p", metavar="PLANS", one_of=one_of),
        option(
            "the model's default plans, as `umamba plan` wrote them; `umamba models` lists models",
            check=model_name,
            metavar="NAME",
            one_of=one_of,
        ),
    )


PLANS, MODEL = _named_by(OneOf(required=True))
KNOWN_PLANS, KNOWN_MODEL = _named_by(OneOf())


@dataclass(frozen=True, kw_only=True)
class PlanRequest(Request):
    """Plans to derive for a network from nnU-Net's plans."""

    dataset: str | int = field(metadata=DATASET)
    model: str = field(
        metadata=option(
            "name of the network, such as umamba_bot, unetpp or nnunet; `umamba models` lists all",
            check=model_name,
            metavar="NAME",
        )
    )
    source: str | None = field(
        default=None,
        metadata=option(
            "plans to derive from (default: nnUNetPlans; for nnU-Net's own networks, which need no "
            "derived plans without further options, those of nnU-Net's planner)",
            "--from",
            metavar="PLANS",
        ),
    )
    plans_name: str | None = field(
        default=None,
        metadata=option(
            "name of the new plans (default: the model's, such as nnUNetUMambaBotPlans; nnU-Net's "
            "own networks need one if anything changes, as with --gpu-memory)",
            metavar="P",
        ),
    )
    variant: str | None = field(
        default=None,
        metadata=option(
            "paper: the network of the paper; official: the authors' code (U-Mamba only; default: "
            "as the model's name says)",
            choices=("paper", "official"),
        ),
    )
    mixer: str | None = field(
        default=None,
        metadata=option(
            "layer that replaces Mamba in U-Mamba (default: as the model's name says); with "
            "--variant and --scan another way to name a model",
            choices=("mamba", "mamba2", "none", "attention", "lti"),
        ),
    )
    scan: str | None = field(
        default=None,
        metadata=option(
            "orders in which Mamba sees the voxels (default: as the model's name says)",
            choices=("forward", "bidirectional", "axes"),
        ),
    )
    features: Sequence[int] | None = field(
        default=None,
        metadata=option(
            "channels per stage, the last also for further stages (default: the source plans'); "
            "fewer need less memory and time",
            check=numbers,
            metavar="8,16,...",
        ),
    )
    patch_size: Sequence[int] | None = field(default=None, metadata=PATCH_SIZE)
    batch_size: int | None = field(default=None, metadata=BATCH_SIZE)
    gpu_memory: float | str | None = field(
        default=None,
        metadata=option(
            "choose patch and batch for a GPU with so much memory, or `auto` for the one here, by "
            "nnU-Net's rules and this network's own needs (default: those of the source plans)",
            check=gibibytes,
            metavar="GIB",
        ),
    )
    activation_checkpointing: str | None = field(
        default=None,
        metadata=option(
            "activations that training computes again instead of keeping: norms (with those of "
            "mixers) costs little time, blocks more, mamba is the mixers alone (default: norms, "
            "where the network has it)",
            choices=("none", "norms", "mamba", "blocks"),
        ),
    )
    configurations: Sequence[str] | None = field(
        default=None,
        metadata=option(
            "configurations to which features, patch and batch size apply (default: all); the "
            "others stay as in existing plans of ours of the same name",
            nargs="+",
            check=texts,
            metavar="C",
        ),
    )
    overwrite: bool = field(
        default=False, metadata=option("replace existing plans of ours of the same name")
    )
    trust_plans: bool = field(default=False, metadata=TRUST)
    paths: Paths = field(default=Paths(), metadata=path_options())


@dataclass(frozen=True, kw_only=True)
class TrainingRequest(ExecutorRequest):
    """One fold to train."""

    dataset: str | int = field(metadata=DATASET)
    configuration: str = field(metadata=CONFIGURATION)
    fold: str | int = field(
        metadata=argument(
            "fold whose cases are used for validation: 0 to 4; or all, to train on all cases; or "
            "several, such as 0-4 or 0,2, each of which goes on from where it is",
            check=text,
        )
    )
    plans_name: str | None = field(default=None, metadata=PLANS)
    model: str | None = field(default=None, metadata=MODEL)
    trainer: str = field(default=RECIPES["nnunet"].trainer, metadata=TRAINER)
    recipe: str | None = field(default=None, metadata=RECIPE)
    epochs: int | None = field(
        default=None,
        metadata=option("default: 1000, of 250 iterations", check=positive, metavar="N"),
    )
    iterations: int | None = field(
        default=None,
        metadata=option(
            "training iterations in all, spread evenly over the epochs and rounded up to the same "
            "number in each; without --epochs, an epoch has at most 250 (default: 250 per epoch)",
            check=positive,
            metavar="N",
        ),
    )
    stage: Folder | None = field(default=None, metadata=STAGE)
    num_gpus: int = field(
        default=1,
        metadata=option(
            "GPUs that share each batch, as in nnU-Net; with -device cpu, processes that share the "
            "cores (default: 1)",
            "-num_gpus",
            check=positive,
            metavar="N",
        ),
    )
    seed: int | None = field(
        default=None,
        metadata=option(
            "make the training repeatable (default: it differs every time)",
            check=natural,
            metavar="N",
        ),
    )
    hours: float | None = field(
        default=None,
        metadata=option(
            "save and exit with 75 after so many hours, as when a file `stop` in the fold's "
            "folder, Ctrl-C or a scheduler's signal asks for it; --resume continues",
            check=positive_hours,
            metavar="H",
        ),
    )
    tensorboard: bool = field(default=False, metadata=TENSORBOARD)
    save_probabilities: bool = field(
        default=False, metadata=option("also save validation probabilities", "--npz")
    )
    validation_tta: str = field(default="on", metadata=VALIDATION_TTA)
    validation_cases: int | None = field(default=None, metadata=VALIDATION_CASES)
    pretrained_weights: Folder | None = field(
        default=None,
        metadata=option(
            "checkpoint to start from",
            "-pretrained_weights",
            check=folder_or_file,
            metavar="FILE",
            one_of=_BEGINNING,
        ),
    )
    resume: bool = field(
        default=False,
        metadata=option(
            "continue from the newest checkpoint, with the original length and seed",
            "--resume",
            "--c",
            one_of=_BEGINNING,
        ),
    )
    only_validate: bool = field(
        default=False,
        metadata=option("only validate a finished training", "--val", one_of=_BEGINNING),
    )
    overwrite: bool = field(
        default=False,
        metadata=option("begin a fold anew; the old one is kept", one_of=_BEGINNING),
    )
    trust_plans: bool = field(default=False, metadata=TRUST)
    paths: Paths = field(default=Paths(), metadata=path_options())

    def __post_init__(self) -> None:
        """Check every value, and take the trainer that follows the recipe.

        Raises:
            UMambaError: If a value is not allowed, or the trainer follows another recipe.
        """
        super().__post_init__()
        if self.recipe is None:
            return
        trainer = RECIPES[self.recipe].trainer
        if self.trainer not in (RECIPES["nnunet"].trainer, trainer):
            msg = f"recipe {self.recipe} is that of {trainer}, not {self.trainer}; give one of them"
            raise UMambaError(msg)
        object.__setattr__(self, "trainer", trainer)

    @property
    def folds(self) -> tuple[str, ...]:
        """Return the folds, of which there may be several.

        Raises:
            UMambaError: If what looks like a list of folds is not one.
        """
        fold = str(self.fold)
        return tuple(map(str, fold_numbers(fold))) if re.search("[,-]", fold) else (fold,)

    @property
    def is_spread(self) -> bool:
        """Return whether there are several folds, or an executor that runs them in jobs."""
        return self.executor is not None or len(self.folds) > 1

    @property
    def plans(self) -> str:
        """Return the name of the plans, given as such or by the model."""
        return str(plans_of(self.plans_name, self.model))


def plans_of(plans_name: str | None, model: str | None) -> str | None:
    """Return the name of plans, given as such or by the model."""
    return plans_name if model is None else find_architecture(model).plans_name
