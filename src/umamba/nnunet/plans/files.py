"""Read and write files of plans; those that are not ours are never replaced."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from umamba.errors import PlansError, closest
from umamba.nnunet.plans.derivation import Plans
from umamba.system.publishing import publication

__all__ = ["is_ours", "keep_existing", "keep_others", "read_plans", "write_plans"]


def is_ours(plans: Plans) -> bool:
    """Return whether plans were derived here, or any configuration names one of our networks."""
    if plans.get("planned_by") == "umamba":
        return True
    classes = (
        configuration.get("architecture", {}).get("network_class_name", "")
        for configuration in plans.get("configurations", {}).values()
    )
    return any(str(name).startswith("umamba.") for name in classes)


def keep_others(folder: Path, plans: Plans, changed: Sequence[str]) -> Plans:
    """Return derived plans, with the other configurations as in an existing file of ours.

    This way configurations can be changed one after the other.

    Args:
        folder: The data set's preprocessed folder.
        plans: Derived plans. Not changed.
        changed: The configurations that are taken as they are derived.

    Returns:
        The plans; those given if there is no file of ours of that name.

    Raises:
        PlansError: If the file cannot be read.
    """
    if not (folder / f"{plans['plans_name']}.json").is_file():
        return plans
    existing = read_plans(folder, plans["plans_name"])
    if not is_ours(existing):
        return plans
    configurations = {
        name: entry if name in changed else existing["configurations"].get(name, entry)
        for name, entry in plans["configurations"].items()
    }
    return plans | {"configurations": configurations}


def keep_existing(folder: Path, plans: Plans) -> Plans:
    """Return existing plans of the same name if they train the same networks, else those given.

    Whether activations are kept or computed again changes no number, and plans from before it had
    today's default stay as they are.

    Args:
        folder: The data set's preprocessed folder.
        plans: Derived plans.

    Raises:
        PlansError: If the file cannot be read.
    """
    if not (folder / f"{plans['plans_name']}.json").is_file():
        return plans
    existing = read_plans(folder, plans["plans_name"])
    return existing if _numbers_of(existing) == _numbers_of(plans) else plans


def _numbers_of(plans: Plans) -> Any:
    """Return plans without what changes no number, as they come back from JSON."""
    copied = json.loads(json.dumps(plans))
    for configuration in copied["configurations"].values():
        keywords = configuration.get("architecture", {}).get("arch_kwargs", {})
        keywords.pop("activation_checkpointing", None)
    return copied


def read_plans(folder: Path, plans_name: str) -> Plans:
    """Read plans from a data set's preprocessed folder.

    Raises:
        PlansError: If there is no file of that name, or it holds no plans.
    """
    path = folder / f"{plans_name}.json"
    if not path.is_file():
        found = sorted(p.stem for p in folder.glob("*Plans*.json"))
        there = f"there are {', '.join(found)}" if found else "there are no plans yet"
        msg = (
            f"plans {plans_name!r} do not exist in {folder}; {closest(plans_name, found)}{there}. "
            "`umamba plan` makes ours, and nnUNetv2_plan_experiment makes nnU-Net's"
        )
        raise PlansError(msg)
    try:
        plans: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        msg = f"cannot read the plans {path}: {error}"
        raise PlansError(msg) from error
    configurations = plans.get("configurations") if isinstance(plans, dict) else None
    entries = configurations.values() if isinstance(configurations, dict) else ()
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        msg = f"{path} holds no plans: they need `configurations`, by name; plan the data set again"
        raise PlansError(msg)
    checked: Plans = plans
    return checked


def write_plans(folder: Path, plans: Plans, *, overwrite: bool = False) -> Path:
    """Write plans under their own name, atomically.

    Args:
        folder: The data set's preprocessed folder.
        plans: The plans.
        overwrite: Whether plans of ours with other contents are replaced; those of others
            never are.

    Returns:
        The file.

    Raises:
        PlansError: If other plans of that name exist.
        UMambaError: If the file cannot be written, or another program makes or changes it.
    """
    path = folder / f"{plans['plans_name']}.json"
    if path.exists() and read_plans(folder, plans["plans_name"]) == plans:
        return path
    with publication(path, "give another --plans-name", overwrite=True) as work:
        if work.replaces:
            _check_replaceable(read_plans(folder, plans["plans_name"]), path, overwrite=overwrite)
        work.new.write_text(json.dumps(plans, indent=4) + "\n", encoding="utf-8")
        work.publish()
    return path


def _check_replaceable(existing: Plans, path: Path, *, overwrite: bool) -> None:
    if not is_ours(existing):
        msg = f"{path} holds plans that umamba did not make; give another --plans-name"
        raise PlansError(msg)
    if not overwrite:
        msg = (
            f"{path} exists with other contents, and networks may have been trained with it; "
            "give another --plans-name, or --overwrite"
        )
        raise PlansError(msg)
