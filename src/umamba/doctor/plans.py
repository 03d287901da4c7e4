"""The section on plans: whether the networks they name can be imported here."""

import inspect
import pydoc
from collections import defaultdict
from pathlib import Path

from torch import nn

from umamba.doctor.section import Section
from umamba.errors import PlansError
from umamba.nnunet.paths import Paths
from umamba.nnunet.plans.files import read_plans

__all__ = ["examine_plans"]

_REMEDIES = {
    "umamba": "`pip install --upgrade umamba`",
    "dynamic_network_architectures": "`pip install --upgrade dynamic-network-architectures`",
}


def examine_plans(paths: Paths) -> Section:
    """Locate every network class named by plans in the preprocessed folder, as nnU-Net does.

    Args:
        paths: nnU-Net's folders.
    """
    folder = paths.preprocessed
    files = sorted(folder.glob("Dataset*/*Plans*.json")) if folder and folder.is_dir() else []
    users: dict[str, list[str]] = defaultdict(list)
    problems = []
    for file in files:
        try:
            names = _class_names(file)
        except PlansError as error:
            number = file.parent.name[7:10]
            problems.append(
                f"{error}; `nnUNetv2_plan_experiment -d {number}` makes nnU-Net's plans again"
            )
            continue
        for configuration, name in names.items():
            users[name].append(f"{file.parent.name}/{file.name}, {configuration}")
    lines = {"plans": f"{len(files)} in {len({file.parent for file in files})} data sets"}
    for name, places in sorted(users.items()):
        reason = _why_not(name)
        lines[name] = reason or f"found; {len(places)} configuration{'s' if places[1:] else ''}"
        if reason:
            shown = f"{places[0]}{f' and {len(places) - 1} more' if places[1:] else ''}"
            problems.append(f"{shown} name the network {name}: {reason}; {_remedy(name)}")
    return Section("Plans", lines, tuple(problems))


def _class_names(file: Path) -> dict[str, str]:
    """Return the classes by configuration; old plans and inherited configurations name none."""
    configurations = read_plans(file.parent, file.stem)["configurations"]
    architectures = {name: entry.get("architecture") for name, entry in configurations.items()}
    return {
        name: str(architecture["network_class_name"])
        for name, architecture in architectures.items()
        if isinstance(architecture, dict) and "network_class_name" in architecture
    }


def _why_not(name: str) -> str | None:
    """Return why a name cannot be resolved to its class.

    In that case nnU-Net takes any class of the same name in dynamic_network_architectures, if there
    is one, which would be another network.
    """
    try:
        found = pydoc.locate(name)
    except pydoc.ErrorDuringImport as error:
        return f"its module cannot be imported ({error.value})"
    if found is None:
        return "there is no such class"
    is_network = inspect.isclass(found) and issubclass(found, nn.Module)
    if not is_network or getattr(found, "__name__", "") != name.rpartition(".")[2]:
        return f"it resolves to {found!r}, which is not that network"
    return None


def _remedy(name: str) -> str:
    package = name.partition(".")[0]
    other = f"`export PYTHONPATH=/folder/with/{package}`, or install the package that contains it"
    return _REMEDIES.get(package, other)
