"""Check every name that plans, dataset.json and checkpoints give to import, before it is imported.

nnU-Net imports what they name. Only what nnU-Net, dynamic_network_architectures, torch.nn and
this package contain is allowed, unless the user trusts the file.
"""

import inspect
import os
import pydoc
import re
from collections.abc import Collection, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from umamba.errors import PlansError, quoted
from umamba.nnunet.plans.derivation import Plans
from umamba.nnunet.plans.files import read_plans
from umamba.nnunet.plans.values import check_description_values, check_plan_values
from umamba.system.json_files import load_json
from umamba.system.terminal import talk_to_stderr

__all__ = [
    "check_dataset_json",
    "check_file_name",
    "check_plans",
    "check_resampling_options",
    "check_trainer",
    "find_network",
    "read_model_description",
    "read_trusted_plans",
]

# For each name, the package that nnU-Net searches, and the class that it must derive from.
_RESAMPLING = "nnunetv2.preprocessing.resampling"
_RESAMPLING_SLOTS = ("resampling_fn_data", "resampling_fn_seg", "resampling_fn_probabilities")
_READER = ("nnunetv2.imageio", "base_reader_writer.BaseReaderWriter")
_PREPROCESSOR = ("nnunetv2.preprocessing", "preprocessors.default_preprocessor.DefaultPreprocessor")
_NORMALIZATION = (
    "nnunetv2.preprocessing.normalization",
    "default_normalization_schemes.ImageNormalization",
)
_LABELS = ("nnunetv2.utilities.label_handling", "label_handling.LabelManager")
_PLANNER = (
    "nnunetv2.experiment_planning",
    "experiment_planners.default_experiment_planner.ExperimentPlanner",
)
_TRAINER = ("nnunetv2.training.nnUNetTrainer", "nnUNetTrainer.nnUNetTrainer")

_ARCHITECTURES = "dynamic_network_architectures.architectures"
_NETWORKS = ("umamba.networks", _ARCHITECTURES)
_MODULES = ("torch.nn", "dynamic_network_architectures.building_blocks")
_LONGEST_NAME = 200  # in bytes; file systems take 255, and something is added
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_ENDING = re.compile(r"(\.[A-Za-z0-9]+)+")


def check_plans(plans: Mapping[str, Any], file: Path, *, trusted: bool = False) -> None:
    """Check the names that plans give to import, and those that become part of paths.

    Args:
        plans: Contents of a plans file.
        file: The file, for messages.
        trusted: Whether the user says that anything may be imported.

    Raises:
        PlansError: If an entry names anything unknown, or is malformed.
    """
    for place in ("dataset_name", "plans_name"):
        if place in plans:
            check_file_name(plans[place], place, file)
    configurations = plans.get("configurations")
    if not isinstance(configurations, Mapping) or not configurations:
        msg = f"{file} holds no plans: they need `configurations`, by name"
        raise PlansError(msg)
    for name, configuration in configurations.items():
        check_file_name(name, "a name in configurations", file)
        if not isinstance(configuration, Mapping):
            msg = f"{file}: configurations.{name} is not a JSON object"
            raise PlansError(msg)
    check_plan_values(plans, file)
    if not trusted:
        _check_slot(plans, "image_reader_writer", _READER, file)
        _check_slot(plans, "label_manager", _LABELS, file)
        _check_slot(plans, "experiment_planner_used", _PLANNER, file)
    for name, configuration in configurations.items():
        _check_configuration(configuration, f"configurations.{name}", file, trusted=trusted)


def read_trusted_plans(folder: Path, plans_name: str, *, trusted: bool = False) -> Plans:
    """Read a data set's plans, and check them and the `dataset.json` beside them.

    Args:
        folder: The data set's preprocessed folder.
        plans_name: Name of the plans.
        trusted: Whether the user says that anything may be imported.

    Returns:
        The plans.

    Raises:
        UMambaError: If a file is missing or malformed, or names anything that is not known.
    """
    plans = read_plans(folder, plans_name)
    check_plans(plans, folder / f"{plans_name}.json", trusted=trusted)
    description = folder / "dataset.json"
    check_dataset_json(load_json(description), description, trusted=trusted)
    return plans


def read_model_description(folder: Path, *, trusted: bool = False) -> tuple[dict[str, Any], Plans]:
    """Read and check `dataset.json` and `plans.json` of a model folder.

    Args:
        folder: The model folder.
        trusted: Whether the user says that anything may be imported.

    Returns:
        Contents of `dataset.json` and of `plans.json`.

    Raises:
        UMambaError: If a file is missing or malformed, or names anything that is not known.
    """
    dataset_json, plans = (load_json(folder / name) for name in ("dataset.json", "plans.json"))
    check_dataset_json(dataset_json, folder / "dataset.json", trusted=trusted)
    check_plans(plans, folder / "plans.json", trusted=trusted)
    return dataset_json, plans


def _check_configuration(
    configuration: Mapping[str, Any], place: str, file: Path, *, trusted: bool
) -> None:
    for key in ("data_identifier", "previous_stage", "next_stage"):
        given = configuration.get(key)
        for name in given if isinstance(given, list) else [given]:
            if name is not None:
                check_file_name(name, f"{place}.{key}", file)
    if trusted:
        return
    _check_slot(configuration, "preprocessor_name", _PREPROCESSOR, file, place)
    schemes = configuration.get("normalization_schemes", [])
    for i, scheme in enumerate(schemes if isinstance(schemes, list) else [schemes]):
        if not _is_class_of_nnunet(scheme, *_NORMALIZATION):
            _refuse(scheme, f"{place}.normalization_schemes[{i}]", file, _NORMALIZATION[0])
    for key in _RESAMPLING_SLOTS:
        if key in configuration and not _resamples(configuration[key]):
            _refuse(configuration[key], f"{place}.{key}", file, _RESAMPLING)
    if "architecture" in configuration:
        _check_architecture(configuration["architecture"], f"{place}.architecture", file)


def _check_architecture(architecture: Any, place: str, file: Path) -> None:
    """Check the network's class, and every keyword that nnU-Net imports before it is passed."""
    keywords = architecture.get("arch_kwargs") if isinstance(architecture, Mapping) else None
    imported = architecture.get("_kw_requires_import") if keywords is not None else None
    if not isinstance(keywords, Mapping) or not isinstance(imported, list):
        msg = f"{file}: {place} needs `network_class_name`, `arch_kwargs`, `_kw_requires_import`"
        raise PlansError(msg)
    if not _is_network(architecture.get("network_class_name")):
        fits = " or ".join(_NETWORKS)
        _refuse(architecture.get("network_class_name"), f"{place}.network_class_name", file, fits)
    for key in imported:
        if not isinstance(key, str) or key not in keywords:
            msg = f"{file}: {place}._kw_requires_import lists {quoted(key)}, which arch_kwargs lack"
            raise PlansError(msg)
        if keywords[key] is not None and not _is_module(keywords[key], _MODULES):
            _refuse(keywords[key], f"{place}.arch_kwargs.{key}", file, " or ".join(_MODULES))


def check_dataset_json(
    dataset_json: Mapping[str, Any], file: Path, *, trusted: bool = False
) -> None:
    """Check the reader and the ending of files that a `dataset.json` names.

    Raises:
        PlansError: If the reader is not known, or the ending could lead out of a folder.
    """
    ending = dataset_json.get("file_ending")
    if not isinstance(ending, str) or not _ENDING.fullmatch(ending):
        msg = f"{file}: file_ending is {quoted(ending)}; it must be an ending such as .nii.gz"
        raise PlansError(msg)
    check_description_values(dataset_json, file)
    if not trusted and dataset_json.get("overwrite_image_reader_writer") != "None":
        _check_slot(dataset_json, "overwrite_image_reader_writer", _READER, file)


def check_trainer(name: Any, file: Path, ours: Collection[str], *, trusted: bool = False) -> None:
    """Check the trainer that a checkpoint names: one of ours, or one that comes with nnU-Net.

    Args:
        name: What the checkpoint names.
        file: Where the checkpoint is, for the message.
        ours: The names of our trainers.
        trusted: Whether the user takes any trainer.

    Raises:
        PlansError: If it is neither.
    """
    if trusted or name in ours or _is_class_of_nnunet(name, *_TRAINER):
        return
    _refuse(name, "trainer_name", file, f"{_TRAINER[0]} or {', '.join(ours)}")


def check_file_name(name: Any, place: str, file: Path) -> None:
    """Check that an entry, as part of a path, cannot lead out of a folder.

    Raises:
        PlansError: If it could.
    """
    text = name if isinstance(name, str) else ""
    long = len(text.encode("utf-8", "replace")) > _LONGEST_NAME
    separated = any(part in text for part in ("/", "\\", ":", "\0"))
    if (
        not isinstance(name, str)
        or separated
        or long
        or name.strip(". ") == ""
        or not name.isprintable()
    ):
        msg = (
            f"{file}: {place} is {quoted(name)}, but must be the name of a folder, without "
            "separators; the file is damaged, or crafted to write elsewhere: do not use it"
        )
        raise PlansError(msg)


def _check_slot(
    entries: Mapping[str, Any], key: str, slot: tuple[str, str], file: Path, place: str = ""
) -> None:
    if key in entries and not _is_class_of_nnunet(entries[key], *slot):
        _refuse(entries[key], f"{place}.{key}".lstrip("."), file, slot[0])


def _refuse(name: Any, place: str, file: Path, fits: str) -> None:
    msg = (
        f"{file}: {place} names {quoted(name)}, which is not in {fits}, and was not imported. If "
        "you know and trust that code and this file, add --trust-plans"
    )
    raise PlansError(msg)


def _is_network(path: Any) -> bool:
    """Return whether a class path leads to a network that we know, as nnU-Net resolves it."""
    if _is_module(path, _NETWORKS):
        return True
    if not isinstance(path, str) or not path.startswith(f"{_ARCHITECTURES}."):
        return False
    return pydoc.locate(path) is None and _is_module_class(find_network(path), _NETWORKS)


def find_network(path: Any) -> type | None:
    """Return the class of a network as nnU-Net finds it; only for names that were checked.

    Networks may have moved within their package: nnU-Net then takes the one of the same name.
    """
    if not isinstance(path, str) or not _DOTTED.fullmatch(path):
        return None
    found = pydoc.locate(path) or _find(_ARCHITECTURES, path.rsplit(".", 1)[-1])
    return found if isinstance(found, type) else None


def _is_module(path: Any, packages: tuple[str, ...]) -> bool:
    """Return whether a class path lies in these packages, and leads to a module class of theirs."""
    if not isinstance(path, str) or not _DOTTED.fullmatch(path):
        return False
    if not path.startswith(tuple(f"{package}." for package in packages)):
        return False
    try:
        found = pydoc.locate(path)
    except pydoc.ErrorDuringImport:
        return False
    return _is_module_class(found, packages)


def _is_module_class(found: Any, packages: tuple[str, ...]) -> bool:
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        return False
    return f"{found.__module__}.".startswith(tuple(f"{package}." for package in packages))


def _is_class_of_nnunet(name: Any, package: str, base: str) -> bool:
    """Return whether nnU-Net finds a class of its own under that name."""
    if not isinstance(name, str) or not name.isidentifier():
        return False
    found = _find(package, name)
    module, base_name = base.rsplit(".", 1)
    base_class = getattr(import_module(f"{package}.{module}"), base_name)
    return (
        isinstance(found, type)
        and issubclass(found, base_class)
        and found.__module__.startswith("nnunetv2.")
    )


def check_resampling_options(configuration: Mapping[str, Any], place: str, file: Path) -> None:
    """Check the keywords that plans give to nnU-Net's functions of resampling.

    Raises:
        PlansError: If a function does not take one.
    """
    for key in _RESAMPLING_SLOTS:
        name, options = configuration.get(key), configuration.get(f"{key}_kwargs")
        if not _resamples(name) or not isinstance(options, Mapping):
            continue
        known = inspect.signature(_find(_RESAMPLING, name)).parameters
        unknown = next((option for option in options if option not in known), None)
        if unknown is not None:
            msg = (
                f"{file}: {place}.{key}_kwargs has {quoted(unknown)}, which {name} does not take; "
                f"it takes {', '.join(known)}"
            )
            raise PlansError(msg)


def _resamples(name: Any) -> bool:
    """Return whether nnU-Net has a function for resampling of that name."""
    found = _find(_RESAMPLING, name) if isinstance(name, str) and name.isidentifier() else None
    if not inspect.isfunction(found) or not found.__module__.startswith(f"{_RESAMPLING}."):
        return False
    return "new_shape" in inspect.signature(found).parameters


@cache
def _find(package: str, name: str) -> Any:
    """Search a package as nnU-Net does; only that package is imported."""
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    folder = os.fspath(Path(str(import_module(package).__file__)).parent)
    with talk_to_stderr():
        return recursive_find_python_class(folder, name, package)
