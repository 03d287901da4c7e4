"""Requests of `umamba benchmark receptive-field` and `long-range`: the options of the commands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from umamba.errors import UMambaError
from umamba.nnunet.requests import TRUST
from umamba.option_checks import (
    folder_or_file,
    folders_or_files,
    natural,
    number_list,
    numbers,
    positive,
    text,
    texts,
)
from umamba.options import Option, Request, argument, option
from umamba.registry import find_architecture
from umamba.system.numerals import whole_number

__all__ = ["LongRangeRequest", "NetworkName", "ReceptiveFieldRequest"]

_FIELD_MODELS = (
    "nnunet",
    "umamba_bot_nomamba",
    "umamba_bot",
    "umamba_bot_attention",
    "umamba_bot_lti",
    "umamba_enc",
    "umamba_enc_lti",
)
_RANGE_MODELS = (
    *("nnunet:2", "nnunet", "nnunet:4", "nnunet:5"),
    *("umamba_bot_nomamba", "umamba_bot", "umamba_bot_bidirectional"),
    *("umamba_bot_attention", "umamba_bot_lti", "umamba_enc", "umamba_enc_lti"),
)


class NetworkName(NamedTuple):
    """A model of the registry with a number of stages; `None` is the number that all have."""

    model: str
    n_stages: int | None = None

    @classmethod
    def parse(cls, given: str) -> "NetworkName":
        """Read `NAME` or `NAME:STAGES`.

        Raises:
            UMambaError: If there is no such model, or it is not a number of stages.
        """
        model, colon, stages = given.partition(":")
        number = whole_number(stages) if colon else None
        if colon and (number is None or number < 2):
            msg = f"{given!r} does not end in a number of stages of at least 2, such as nnunet:5"
            raise UMambaError(msg)
        return cls(find_architecture(model).name, number)


def _registered(given: Sequence[str] | str) -> tuple[str, ...]:
    """Return names of models, without repetitions."""
    return tuple(dict.fromkeys(find_architecture(name).name for name in texts(given)))


def _with_stages(given: Sequence[str] | str) -> tuple[str, ...]:
    """Return names of models with or without stages, without repetitions."""
    names = tuple(dict.fromkeys(texts(given)))
    for name in names:
        NetworkName.parse(name)
    return names


def _image_axes(given: Sequence[str] | Sequence[int]) -> tuple[int, ...]:
    """Return numbers of image axes, 2 or 3."""
    axes = tuple(sorted(set(number_list(given))))
    if not {2, 3}.issuperset(axes):
        msg = f"{list(axes)} are not numbers of image axes; give 2, 3 or both"
        raise UMambaError(msg)
    return axes


def _patch(given: Sequence[str] | Sequence[int]) -> tuple[int, ...]:
    patch = number_list(given)
    if len(patch) not in (2, 3):
        msg = f"{list(patch)} is not a patch of two or three axes"
        raise UMambaError(msg)
    return patch


def _folder(purpose: str) -> Mapping[str, Option]:
    return option(purpose, check=folder_or_file, metavar="DIR")


@dataclass(frozen=True, kw_only=True)
class ReceptiveFieldRequest(Request):
    """Networks whose effective receptive field is measured."""

    models: Sequence[str] = field(
        default=(),
        metadata=argument(
            "models to measure with initial weights (default: nnunet, umamba_bot and umamba_enc "
            "with some of their controls, unless -m is given); `umamba models` lists all",
            nargs="*",
            check=_registered,
            metavar="MODEL",
        ),
    )
    all: bool = field(
        default=False,
        metadata=option("measure every different network of the registry that is for such patches"),
    )
    trained: Sequence[str | Path] = field(
        default=(),
        metadata=option(
            "trained models, each a model folder, exported folder or zip file: measured before "
            "and after training, on patches of the size that it was trained with",
            "-m",
            nargs="+",
            check=folders_or_files,
            metavar="FOLDER",
        ),
    )
    fold: str | int | None = field(
        default=None,
        metadata=option(
            "fold of the trained models (default: the first that is there)",
            "-f",
            check=text,
            metavar="FOLD",
        ),
    )
    checkpoint: str = field(
        default="checkpoint_final.pth",
        metadata=option(
            "file in the fold's folder (default: checkpoint_final.pth)", "-chk", metavar="FILE"
        ),
    )
    images: str | Path | None = field(
        default=None,
        metadata=option(
            "folder of images, named as for `umamba predict`, out of which the patches for the "
            "trained models are cut at random places (default: patches of normal noise)",
            check=folder_or_file,
            metavar="DIR",
        ),
    )
    number: int = field(
        default=8,
        metadata=option("patches to average over (default: 8)", check=positive, metavar="N"),
    )
    patch_size: Sequence[int] = field(
        default=(256, 256),
        metadata=option(
            "voxels of a patch along each of two or three axes, for which nnU-Net's rules choose "
            "the stages of the models (default: 256 256)",
            nargs="+",
            check=_patch,
            metavar="N",
        ),
    )
    features: Sequence[int] | None = field(
        default=None,
        metadata=option(
            "channels per stage, the last also for further stages (default: those of nnU-Net's "
            "plans)",
            check=numbers,
            metavar="8,16,...",
        ),
    )
    constant_norms: bool = field(
        default=False,
        metadata=option(
            "leave out what reaches a voxel through mean and variance of instance and group norms, "
            "which are those of the whole patch: what convolutions and mixers alone see"
        ),
    )
    seed: int = field(
        default=0,
        metadata=option(
            "seed of initial weights, noise and places (default: 0)", check=natural, metavar="N"
        ),
    )
    output: str | Path = field(
        default=Path("umamba-receptive-field"),
        metadata=_folder(
            "folder for table, data, maps and plots (default: ./umamba-receptive-field)"
        ),
    )
    trust_plans: bool = field(default=False, metadata=TRUST)

    def __post_init__(self) -> None:
        """Check the values, and that they go together.

        Raises:
            UMambaError: If not.
        """
        super().__post_init__()
        if self.images is not None and not self.trained:
            msg = (
                "--images need a trained model, -m FOLDER, which says how they are normalised; "
                "leave them out"
            )
            raise UMambaError(msg)
        if self.all and self.models:
            msg = f"--all includes {self.models[0]}; leave out one of them"
            raise UMambaError(msg)

    @property
    def chosen_models(self) -> tuple[str, ...]:
        """The models to measure by name; those that cannot be built are left out with `all`."""
        return tuple(self.models or (() if self.trained else _FIELD_MODELS))


@dataclass(frozen=True, kw_only=True)
class LongRangeRequest(Request):
    """Networks that are trained on pictures in which a far marker decides a label."""

    models: Sequence[str] = field(
        default=_RANGE_MODELS,
        metadata=argument(
            "models to train, each as NAME or NAME:STAGES (default: nnunet with 2 to 5 stages, "
            "umamba_bot and umamba_enc, and some of their controls)",
            nargs="*",
            check=_with_stages,
            metavar="MODEL",
        ),
    )
    dims: Sequence[int] = field(
        default=(2,),
        metadata=option(
            "numbers of axes of the pictures; 3D takes four times as long as 2D (default: 2)",
            nargs="+",
            check=_image_axes,
            metavar="N",
        ),
    )
    stages: int = field(
        default=3,
        metadata=option(
            "stages of the models whose names do not say (default: 3)", check=positive, metavar="N"
        ),
    )
    seeds: int = field(
        default=2,
        metadata=option(
            "trainings of each model, with seeds 0, 1, ... (default: 2)",
            check=positive,
            metavar="N",
        ),
    )
    distances: Sequence[int] = field(
        default=(8, 12, 16, 24, 32, 48),
        metadata=option(
            "voxels between an object and its markers; those that do not fit into the pictures are "
            "named and left out (default: 8 12 16 24 32 48)",
            nargs="+",
            check=number_list,
            metavar="N",
        ),
    )
    steps: int = field(
        default=300,
        metadata=option("steps of each training (default: 300)", check=positive, metavar="N"),
    )
    output: str | Path = field(
        default=Path("umamba-long-range"),
        metadata=_folder(
            "folder for results, table and plots; trainings that are finished there are not "
            "repeated (default: ./umamba-long-range)"
        ),
    )
