"""A model folder from anywhere: read, checked and built in one way for all commands."""

import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from umamba.datasets.description import channel_names, check_trained_regions
from umamba.errors import CheckpointError, PlansError, UMambaError, quoted, unknown_name
from umamba.nnunet.checkpoints.contents import check_finite
from umamba.nnunet.checkpoints.files import read_checkpoint
from umamba.nnunet.fold_folders import fold_folder, fold_name, folders_of_folds
from umamba.nnunet.plans.derivation import Plans, resolve
from umamba.nnunet.plans.networks import building
from umamba.nnunet.plans.values import check_configuration_values
from umamba.nnunet.training.folds import find_trainer, our_trainers
from umamba.nnunet.trust import check_resampling_options, check_trainer, read_model_description
from umamba.system.terminal import hidden_stdout

__all__ = ["TrainedModel", "find_folds", "read_model"]

# A weight is made inside layers, and a network may make some that it does not keep.
_MADE_PER_WEIGHT = 16
_SPARE = 1000
_MOST_FOLDS = 100


@dataclass(frozen=True)
class TrainedModel:
    """The parts of a trained model, checked to fit together.

    Attributes:
        plans: nnU-Net's manager of its plans.
        configuration: nnU-Net's manager of the configuration.
        dataset_json: Its `dataset.json`.
        trainer: Name of the trainer that builds its network.
        mirroring_axes: Axes along which predictions may be mirrored.
        weights: For each fold, the weights in the types of the network.
    """

    plans: Any
    configuration: Any
    dataset_json: dict[str, Any]
    trainer: str
    mirroring_axes: tuple[int, ...] | None
    weights: Sequence[Mapping[str, Tensor]]

    @property
    def input_channels(self) -> int:
        """The channels that the network takes: those of images, and in a cascade of labels."""
        from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels

        channels: int = determine_num_input_channels(
            self.plans, self.configuration, self.dataset_json
        )
        return channels

    def build(self) -> nn.Module:
        """Return the network as its trainer builds it for prediction, with initial weights."""
        network: nn.Module = find_trainer(self.trainer).build_network_architecture(
            self.plans,
            self.configuration,
            self.input_channels,
            self.plans.get_label_manager(self.dataset_json).num_segmentation_heads,
            enable_deep_supervision=False,
        )
        return network


def read_model(
    folder: Path,
    folds: Sequence[str],
    checkpoint_name: str,
    *,
    trust_plans: bool = False,
    described: tuple[dict[str, Any], Plans] | None = None,
) -> TrainedModel:
    """Read a model folder of nnU-Net, the authors' fork, or ours, and check that it can predict.

    No code in it is run, and the network that it describes is first built without memory.

    Args:
        folder: Folder with `plans.json`, `dataset.json` and `fold_*`.
        folds: The folds; empty means all that exist.
        checkpoint_name: File in each fold.
        trust_plans: Whether plans and checkpoints may name any code to import.
        described: Checked `dataset.json` and plans to use instead of those in the folder.

    Returns:
        The model.

    Raises:
        UMambaError: If the folder is not a model, or its parts do not fit together.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    if not folder.is_dir():
        msg = f"model folder {folder} does not exist; train first, or check -d, -p, -tr, -c"
        raise UMambaError(msg)
    dataset_json, plans = described or read_model_description(folder, trusted=trust_plans)
    for fold in folds:
        _check_fold(folder, fold, checkpoint_name)
    files = [
        fold_folder(folder, fold) / checkpoint_name
        for fold in folds or find_folds(folder, checkpoint_name)
    ]
    checkpoints = [read_checkpoint(file) for file in files]
    first = checkpoints[0]
    try:
        trainer, name = first["trainer_name"], first["init_args"]["configuration"]
    except KeyError as error:
        msg = f"a checkpoint in {folder} lacks {error}; it was not written by nnU-Net v2"
        raise CheckpointError(msg) from None
    check_trainer(trainer, folder, our_trainers(), trusted=trust_plans)
    resolved = resolve(plans, name)
    check_configuration_values(
        plans, name, resolved, len(channel_names(dataset_json)), folder / "plans.json"
    )
    if note := check_trained_regions(dataset_json, folder / "dataset.json"):
        sys.stderr.write(f"warning: {note}\n")
    check_resampling_options(resolved, f"configurations.{name}", folder / "plans.json")
    with building(folder / "plans.json"):
        manager = PlansManager(plans)
        configuration = manager.get_configuration(name)
        _check_ending(dataset_json["file_ending"], manager.image_reader_writer_class, folder)
    model = TrainedModel(
        plans=manager,
        configuration=configuration,
        dataset_json=dataset_json,
        trainer=trainer,
        mirroring_axes=_mirroring_axes(first, len(resolved["patch_size"]), files[0]),
        weights=[checkpoint["network_weights"] for checkpoint in checkpoints],
    )
    network = _build_without_memory(model, folder)
    for weights, file in zip(model.weights, files, strict=True):
        _check_weights(weights, network, file)
    types = {name: weight.dtype for name, weight in network.state_dict().items()}
    typed = [
        {name: weight.to(types.get(name, weight.dtype)) for name, weight in weights.items()}
        for weights in model.weights
    ]
    return replace(model, weights=typed)


def find_folds(model_folder: Path, checkpoint_name: str) -> list[str]:
    """Return the trained folds; `all` only if it is the only one, as nnU-Net does."""
    there = [fold_name(folder) for folder in folders_of_folds(model_folder, checkpoint_name)]
    numbered = sorted(fold for fold in there if re.fullmatch("[0-9]+", fold))
    if not there:
        folders = folders_of_folds(model_folder)
        others = sorted({p.name for folder in folders for p in folder.glob("checkpoint_*.pth")})
        remedy = _remedy(others) or "; train first, or give -chk"
        msg = f"{model_folder} has no fold with a {checkpoint_name}{remedy}"
        raise CheckpointError(msg)
    if len(there) > _MOST_FOLDS:
        msg = f"{model_folder} has {len(there)} folds, more than {_MOST_FOLDS}; name some with -f"
        raise CheckpointError(msg)
    return numbered or there


def _check_fold(model_folder: Path, fold: str, checkpoint_name: str) -> None:
    """Check that a fold exists and has that checkpoint.

    Raises:
        CheckpointError: If not; the message names those that exist.
    """
    folder = fold_folder(model_folder, fold)
    if (folder / checkpoint_name).is_file():
        return
    there = {fold_name(other) for other in folders_of_folds(model_folder, "*.pth")}
    if there and fold not in there:
        raise CheckpointError(unknown_name(f"in {model_folder} the fold", fold, sorted(there)))
    if remedy := _remedy(sorted(p.name for p in folder.glob("checkpoint_*.pth"))):
        msg = f"{folder} has no {checkpoint_name}{remedy}"
        raise CheckpointError(msg)


def _remedy(others: Sequence[str]) -> str:
    """Name other checkpoints, perhaps of an unfinished training; "" if there are none."""
    if not others:
        return ""
    return (
        f", but {', '.join(others)}: finish the training (`umamba train` with --resume), or "
        f"give -chk {others[0]}"
    )


def _check_ending(ending: str, reader: Any, folder: Path) -> None:
    """Check that the reader of the plans writes files with the ending of `dataset.json`."""
    if ending not in reader.supported_file_endings:
        msg = (
            f"{folder / 'dataset.json'}: file_ending is {quoted(ending)}, but {reader.__name__}, "
            f"which the plans name, writes only {' '.join(reader.supported_file_endings)}; one of "
            "the two files is not this model's"
        )
        raise PlansError(msg)


def _mirroring_axes(
    checkpoint: Mapping[str, Any], n_axes: int, file: Path
) -> tuple[int, ...] | None:
    axes = checkpoint.get("inference_allowed_mirroring_axes")
    if axes and max(axes) >= n_axes:
        msg = (
            f"{file}: inference_allowed_mirroring_axes is {quoted(axes)}, but the patches have "
            f"{n_axes} axes; use another copy"
        )
        raise CheckpointError(msg)
    return tuple(axes or ()) or None  # of no axes, nnU-Net would look for the last one


def _build_without_memory(model: TrainedModel, folder: Path) -> nn.Module:
    """Build the network on the meta device, which knows shapes and types only.

    It may have no more weights than the checkpoint: plans that describe a giant are refused early.
    """
    most = _MADE_PER_WEIGHT * max(map(len, model.weights)) + _SPARE
    with (
        building(folder / "plans.json", most),
        warnings.catch_warnings(),
        hidden_stdout(),
        torch.device("meta"),
    ):
        warnings.simplefilter("ignore")  # about weights without memory
        return model.build()


def _check_weights(weights: Mapping[str, Tensor], network: nn.Module, file: Path) -> None:
    wanted = network.state_dict()
    for name, weight in weights.items():
        if name not in wanted:  # perhaps a copy that the network leaves out when it loads
            continue
        if weight.shape != wanted[name].shape:
            shapes = f"is {tuple(weight.shape)}, not {tuple(wanted[name].shape)}"
            _refuse(file, f"{name} {shapes}")
        if weight.is_floating_point() != wanted[name].is_floating_point():
            _refuse(file, f"{name} is {weight.dtype}, not {wanted[name].dtype}")
    without_memory = {name: weight.to("meta") for name, weight in weights.items()}
    missing, extra = network.load_state_dict(without_memory, strict=False)
    if missing:
        _refuse(file, f"they lack {missing[0]}")
    if extra:
        _refuse(file, f"the network has no {quoted(extra[0])}")
    check_finite(weights, file)


def _refuse(file: Path, detail: str) -> NoReturn:
    msg = f"the weights in {file} do not fit the network that its plans describe: {detail}"
    raise CheckpointError(msg)
