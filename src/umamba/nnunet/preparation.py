"""Find a data set and its files, and have nnU-Net plan and preprocess what is missing."""

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from umamba.datasets.checks import DatasetProblemsError, Problem, errors_of, inspect_case
from umamba.datasets.description import check_description
from umamba.errors import DatasetError, PlansError, closest
from umamba.images.checked_files import CheckedFiles, Reading, remembered_note
from umamba.images.file_names import ENDINGS
from umamba.nnunet.paths import Paths
from umamba.nnunet.plans.architectures import check_patch
from umamba.nnunet.plans.derivation import Plans, resolve
from umamba.nnunet.plans.files import read_plans
from umamba.nnunet.raw_dataset import open_raw_dataset
from umamba.nnunet.splits import require_splits
from umamba.registry import find_planner
from umamba.system.environment import environment
from umamba.system.interruption import resumable, run_again
from umamba.system.json_files import load_json, load_json_list
from umamba.system.numerals import whole_number
from umamba.system.path_names import check_writable
from umamba.system.run_lock import only_process
from umamba.system.terminal import talk_to_stderr

__all__ = [
    "ensure_plans",
    "ensure_preprocessed",
    "find_dataset",
]

_DATASET = re.compile(r"Dataset\d{3}_", re.ASCII)


def find_dataset(dataset: str, paths: Paths) -> str:
    """Return the full name of a data set given by name or number.

    Raises:
        DatasetError: If no data set has it, or more than one.
    """
    folders = [folder for folder in (paths.raw, paths.preprocessed, paths.results) if folder]
    there = {
        path.name
        for folder in folders
        for path in folder.glob("Dataset*_*")
        if _DATASET.match(path.name) and path.is_dir()
    }
    number = whole_number(dataset)
    prefix = None if number is None else f"Dataset{number:03d}_"
    found = sorted(n for n in there if n == dataset or (prefix and n.startswith(prefix)))
    if len(found) == 1:
        return found[0]
    looked = ", ".join(str(folder) for folder in folders) or "no folder at all"
    if found:
        msg = f"{dataset} names more than one data set: {', '.join(found)}; give the full name"
        raise DatasetError(msg)
    listing = f"there are {', '.join(sorted(there))}" if there else "there are no data sets yet"
    msg = f"data set {dataset!r} was not found in {looked}; {closest(dataset, there)}{listing}"
    raise DatasetError(msg)


def ensure_plans(dataset: str, plans_name: str, paths: Paths) -> bool:
    """Run nnU-Net's fingerprint extraction and planning if the plans are missing.

    Args:
        dataset: Full name of the data set.
        plans_name: The plans that are needed; those of nnU-Net's planners can be made here:
            `nnUNetPlans`, and `nnUNetResEncUNetMPlans` and its like.
        paths: nnU-Net's folders.

    Returns:
        Whether anything was planned.

    Raises:
        PlansError: If plans are missing that none of nnU-Net's planners makes.
        DatasetError: If a file is damaged, or nnU-Net refuses the data set.
        UMambaError: If a folder is not known.
    """
    folder = paths.require("preprocessed") / dataset
    planner = find_planner(plans_name)
    path = folder / f"{plans_name}.json"
    if planner is None or _is_whole(path):
        read_plans(folder, plans_name)  # raises where there are none, naming what is there
        return False
    raw = paths.require("raw") / dataset
    if not (raw / "dataset.json").is_file():
        msg = f"{dataset} has neither plans {plans_name!r} in {folder} nor raw data in {raw}"
        raise PlansError(msg)
    check_writable(folder, "--preprocessed")
    # nnU-Net writes both in place, so that a kill leaves them torn, and takes what is there.
    fingerprint = folder / "dataset_fingerprint.json"
    for torn in (p for p in (path, fingerprint) if p.is_file() and not _is_whole(p)):
        sys.stderr.write(f"{torn} is damaged, and is made again\n")
        torn.unlink()
    # Other plans came from a fingerprint of checked images.
    planned = any(folder.glob("*Plans*.json")) and fingerprint.is_file()
    with resumable(lambda: run_again("plan")):
        if not planned:
            _check_raw(raw)
        with paths.in_use():
            _plan(dataset, raw, str(planner), keeps_fingerprint=planned)
    return True


def _is_whole(path: Path) -> bool:
    """Return whether a JSON file exists and is complete."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return True


def _plan(dataset: str, raw: Path, planner: str, *, keeps_fingerprint: bool) -> None:
    """Run nnU-Net's fingerprint extraction, unless one is kept, and one of its planners."""
    import nnunetv2
    from nnunetv2.configuration import default_num_processes
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprint_dataset,
        plan_experiment_dataset,
    )
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    what = planner if keeps_fingerprint else "fingerprint and planning"
    sys.stderr.write(f"{dataset} has no such plans yet: running nnU-Net's {what}\n")
    number = int(dataset[7:10])
    # nnU-Net's planner takes torch's threads from this variable, and fails on its legal zero.
    with talk_to_stderr(), environment(nnUNet_n_proc_DA="1"):
        try:
            if not keeps_fingerprint:
                extract_fingerprint_dataset(
                    number,
                    num_processes=default_num_processes,
                    check_dataset_integrity=True,
                    verbose=False,
                )
            folder = os.fspath(Path(nnunetv2.__path__[0]) / "experiment_planning")
            planner_class = recursive_find_python_class(
                folder, planner, "nnunetv2.experiment_planning"
            )
            plan_experiment_dataset(number, planner_class)
        except (RuntimeError, AssertionError, ValueError, OSError) as error:
            first = next((line for line in str(error).splitlines() if line.strip()), "")
            msg = (
                f"nnU-Net refuses {raw}: {first.strip() or type(error).__name__}. What it printed "
                f"above says more; `umamba check {raw.name}` lists problems of images and masks"
            )
            raise DatasetError(msg) from error


def ensure_preprocessed(
    dataset: str,
    plans_name: str,
    configuration: str,
    paths: Paths,
    *,
    plans: Plans | None = None,
    with_splits: bool = True,
) -> None:
    """Run nnU-Net's preprocessing if it is missing or unfinished.

    Args:
        dataset: Full name of the data set.
        plans_name: Name of the plans.
        configuration: The configuration to train.
        paths: nnU-Net's folders.
        plans: The contents of their file when it was checked; `None` reads it.
        with_splits: Whether the training that follows needs the folds of `splits_final.json`.

    Raises:
        PlansError: If the plans lack the configuration, or their file has changed since.
        DatasetError: If raw data are needed but missing or damaged, or if labels or folds cannot
            be used for training.
    """
    folder = paths.require("preprocessed") / dataset
    plans = read_plans(folder, plans_name) if plans is None else plans
    resolved = resolve(plans, configuration)
    check_patch(configuration, resolved)
    file = folder / "dataset.json"
    description = load_json(file)
    _refuse(check_description(description, file))
    data = folder / resolved["data_identifier"]
    if done := _preprocessed(data):
        n_cases = description.get("numTraining")
        if not isinstance(n_cases, int) or len(done) < n_cases:
            _check_complete(folder, data, done, n_cases)
        elif with_splits:
            require_splits(folder, done)
        return
    raw = _find_raw(dataset, data, paths)
    check_writable(folder, "--preprocessed")
    advice = resumable(lambda: run_again(f"preprocess {configuration} of {dataset}"))
    with only_process(data, "start again when it has ended"), advice:
        if not _preprocessed(data):  # another process may have come first
            cases = _check_raw(raw)
            if with_splits and cases:
                require_splits(folder, cases)
            _check_unchanged(folder, plans_name, plans)
            with paths.in_use():
                _preprocess(dataset, plans_name, configuration, _mark_of(data))


def _check_unchanged(folder: Path, plans_name: str, plans: Plans) -> None:
    """Check the file of plans again, as nnU-Net's preprocessing reads it itself."""
    if read_plans(folder, plans_name) != plans:
        msg = f"{folder / plans_name}.json was changed in the meantime; run the command again"
        raise PlansError(msg)


def _preprocessed(data: Path) -> set[str]:
    """Return the preprocessed cases; none if preprocessing was not finished.

    Others may train on finished data, so it is never made again unasked.
    """
    finished = data.is_dir() and not _mark_of(data).exists()
    return {path.stem for path in data.glob("*.pkl")} if finished else set()


def _mark_of(data: Path) -> Path:
    """Return the file that exists until preprocessing has finished."""
    return data.with_name(f".{data.name}.umamba-unfinished")


def _check_complete(folder: Path, data: Path, done: set[str], n_cases: object) -> None:
    """Check that data preprocessed by other programs is complete: a kill may leave only a part.

    Without splits, nnU-Net would make them from that part, for good.

    Raises:
        DatasetError: If cases are missing.
    """
    splits = folder / "splits_final.json"
    if splits.is_file():
        folds = [fold for fold in load_json_list(splits) if isinstance(fold, dict)]
        cases = {str(c) for fold in folds for part in ("train", "val") for c in fold.get(part, ())}
        n_missing = len(cases - done)
        wanted = f"the splits name {len(cases)}"
    else:
        n_missing = n_cases - len(done) if isinstance(n_cases, int) else 0
        wanted = f"dataset.json says {n_cases}"
    if n_missing > 0:
        msg = (
            f"{data} holds {len(done)} cases, but {wanted}: nnU-Net's preprocessing may have been "
            "interrupted. Run nnUNetv2_preprocess again, or remove that folder so that this "
            "command makes it anew"
        )
        raise DatasetError(msg)


def _find_raw(dataset: str, data: Path, paths: Paths) -> Path:
    raw = None if paths.raw is None else paths.raw / dataset
    if raw is None or not (raw / "dataset.json").is_file():
        msg = (
            f"{data} holds no finished preprocessed data, and the raw data to make it from was not "
            f"found; give --raw DIR with {dataset} in it"
        )
        raise DatasetError(msg)
    return raw


def _check_raw(raw: Path) -> list[str]:
    """Refuse what `umamba check` calls an error, unless nnU-Net's own check accepts it.

    Every file is read: of a truncated one ITK, and so nnU-Net, takes missing bytes for zeros.
    As in nnU-Net's own check, origins and directions may differ.

    Returns:
        The cases.
    """
    file = raw / "dataset.json"
    description = load_json(file)
    ending = description.get("file_ending")
    if isinstance(ending, str) and ending.lower() not in ENDINGS:
        _refuse(check_description(description, file))
        return []  # nnU-Net reads formats that we do not
    dataset = open_raw_dataset(raw)
    _refuse(dataset.problems)
    sys.stderr.write(f"checking the {len(dataset.cases)} cases of {raw}\n")
    memory = CheckedFiles(raw)
    reading = Reading(dataset.reader, as_it_is=True, memory=memory)
    problems = []
    facts = []
    for case in dataset.cases:
        fact, found = inspect_case(case, dataset.channels, ("origin", "direction"), reading)
        facts.append(fact)
        problems += found
    memory.save()
    if note := remembered_note(memory.n_remembered, memory.n_files):
        sys.stderr.write(f"checked{note}\n")
    _refuse([*problems, *dataset.check_labels(facts)])
    return [case.case_id for case in dataset.cases]


def _refuse(problems: Sequence[Problem]) -> None:
    if errors := errors_of(problems):
        raise DatasetProblemsError(errors, "nothing was written")


def _preprocess(dataset: str, plans_name: str, configuration: str, unfinished: Path) -> None:
    """Run nnU-Net's preprocessing, leaving a mark while it is not finished."""
    from nnunetv2.configuration import default_num_processes
    from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess_dataset

    unfinished.touch()
    sys.stderr.write(f"preprocessing {configuration} of {dataset}\n")
    with talk_to_stderr():
        preprocess_dataset(
            int(dataset[7:10]),
            plans_name,
            configurations=[configuration],
            num_processes=[default_num_processes],
            show_progress_bar=sys.stderr.isatty(),
        )
    unfinished.unlink()
