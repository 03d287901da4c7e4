"""Find the cases of an nnU-Net raw data set, and read what its `dataset.json` says of them."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umamba.errors import DatasetError
from umamba.nnunet.dataset_cases import FileNaming, find_cases
from umamba.nnunet.dataset_checks import Case, Problem
from umamba.nnunet.dataset_labels import LabelRules
from umamba.nnunet.file_names import ENDINGS
from umamba.nnunet.json_files import load_json
from umamba.nnunet.prediction_inputs import channel_names

__all__ = ["RawDataset", "open_raw_dataset"]

_NUMBER = re.compile(r"_\d{4}$")


@dataclass(frozen=True)
class RawDataset:
    """A raw data set as it lies there.

    Attributes:
        path: Its folder.
        channels: The names of the channels.
        rules: What the values in the masks mean; `None` if `dataset.json` contradicts itself.
        reorients: Whether its reader brings all images into one orientation.
        cases: The complete cases for training.
        test_cases: The cases in `imagesTs`, without masks.
        problems: What is wrong with `dataset.json`, and what keeps cases from being complete.
    """

    path: Path
    channels: tuple[str, ...]
    rules: LabelRules | None
    reorients: bool
    cases: tuple[Case, ...]
    test_cases: tuple[Case, ...]
    problems: tuple[Problem, ...]


def open_raw_dataset(path: Path) -> RawDataset:
    """Read `dataset.json`, and pair images and masks by their names; no image is opened.

    Args:
        path: The folder of the data set in `nnUNet_raw`.

    Returns:
        The data set.

    Raises:
        DatasetError: If so much is missing that nothing can be checked.
        UMambaError: If `dataset.json` is missing or no JSON object.
    """
    file = path / "dataset.json"
    description = load_json(file)
    channels, ending = _channels(file, description), _ending(file, description)
    rules, problems = _label_rules(file, description.get("labels"))
    if "dataset" in description:
        cases, found = _listed_cases(path, file, description["dataset"])
    else:
        cases, found = _found_cases(path, ending)
    problems += found
    n_cases = description.get("numTraining")
    if n_cases != len(cases) and not found:
        text = f"numTraining is {n_cases}, but there are {len(cases)} cases"
        problems.append(Problem("", file, text, f"write {len(cases)}, or add the missing ones"))
    return RawDataset(
        path=path,
        channels=channels,
        rules=rules,
        reorients=description.get("overwrite_image_reader_writer") == "NibabelIOWithReorient",
        cases=tuple(cases),
        test_cases=_test_cases(path / "imagesTs", ending),
        problems=tuple(problems),
    )


def _channels(file: Path, description: Mapping[str, Any]) -> tuple[str, ...]:
    named = description.get("channel_names") or description.get("modality")
    if not isinstance(named, dict) or sorted(named) != sorted(map(str, range(len(named)))):
        msg = (
            f"{file}: channel_names is {named!r}; nnU-Net needs the name of every channel by its "
            'number, e.g. {"0": "T1", "1": "T2"}'
        )
        raise DatasetError(msg)
    return tuple(map(str, channel_names(description)))


def _ending(file: Path, description: Mapping[str, Any]) -> str:
    ending = description.get("file_ending")
    if ending in ENDINGS:
        return str(ending)
    msg = f"{file}: file_ending is {ending!r}; these can be checked: {' '.join(ENDINGS)}"
    raise DatasetError(msg)


def _label_rules(file: Path, labels: Any) -> tuple[LabelRules | None, list[Problem]]:
    """Take regions apart into their values: a mask holds values, not regions."""
    names = _names_of_values(file, labels)
    ignore = next((value for value in names if names[value] == ["ignore"]), None)
    used = sorted({0, *names})
    if used != list(range(len(used))) or (ignore is not None and ignore != used[-1]):
        text = f"the values of the labels are {', '.join(map(str, used))}"
        fix = "nnU-Net needs 0, 1, 2, ... without gaps, and the highest one for ignore"
        return None, [Problem("", file, text, fix)]
    labelled = sorted(names.keys() - {0, ignore})
    joined = {value: "+".join(names[value]) for value in labelled}
    shared = Counter(joined.values())
    flat = {f"{n}({v})" if shared[n] > 1 else n: v for v, n in joined.items()}
    return LabelRules(names=flat, ignore=ignore, described=True), []


def _names_of_values(file: Path, labels: Any) -> dict[int, list[str]]:
    """Return the names of the labels or regions in which each value is."""
    if not isinstance(labels, dict) or labels.get("background") != 0 or len(labels) < 2:
        msg = (
            f"{file}: labels is {labels!r}; nnU-Net needs the value of every name, and background, "
            'e.g. {"background": 0, "tumour": 1}'
        )
        raise DatasetError(msg)
    names: dict[int, list[str]] = defaultdict(list)
    for name, values in labels.items():
        for value in values if isinstance(values, list) and values else [values]:
            if type(value) is not int:
                msg = f"{file}: label {name} is {values!r}; give an integer, or a list of them"
                raise DatasetError(msg)
            names[value].append(name)
    return names


def _found_cases(path: Path, ending: str) -> tuple[list[Case], list[Problem]]:
    """Pair `imagesTr` and `labelsTr` by name, as nnU-Net does, and name what it would not see."""
    images, masks = path / "imagesTr", path / "labelsTr"
    for folder in (images, masks):
        if not folder.is_dir():
            msg = f"{folder} does not exist; nnU-Net looks for images and masks there"
            raise DatasetError(msg)
    problems = _misnamed(images, ending, numbered=True) + _misnamed(masks, ending, numbered=False)
    if problems:  # whatever is paired now is paired wrongly
        return [], problems
    stems = [_stem(file, ending) for file in _visible(images, ending)]
    if not {_NUMBER.sub("", stem) for stem in stems} & {
        _stem(file, ending) for file in _visible(masks, ending)
    }:
        msg = (
            f"no mask in {masks} belongs to an image in {images}; nnU-Net needs imagesTr/CASE_0000"
            f"{ending} and labelsTr/CASE{ending}"
        )
        raise DatasetError(msg)
    suffixes = sorted({stem[-5:] for stem in stems})
    naming = FileNaming(channels=tuple((suffix, suffix) for suffix in suffixes))
    found = find_cases(images, masks, naming)
    return list(found.cases), list(found.problems)


def _misnamed(folder: Path, ending: str, *, numbered: bool) -> list[Problem]:
    """Find images that nnU-Net overlooks or takes for something else."""
    problems = []
    wanted = f"CASE_0000{ending}" if numbered else f"CASE{ending}"
    for file in sorted(folder.rglob("*")):
        if not file.name.lower().endswith(ENDINGS) or file.name.startswith("."):
            continue
        text = ""
        if file.parent != folder:
            text = f"nnU-Net does not look into subfolders of {folder.name}"
        elif not file.name.endswith(ending):
            text = f"file_ending in dataset.json is {ending}"
        elif numbered and not _NUMBER.search(_stem(file, ending)):
            text = "its name does not end in the number of a channel"
        if text:
            fix = f"save it as {folder.name}/{wanted}, or take it away"
            problems.append(Problem("", file, text, fix))
    return problems


def _visible(folder: Path, ending: str) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.name.endswith(ending) and not file.name.startswith(".")
    )


def _stem(file: Path, ending: str) -> str:
    return file.name.removesuffix(ending)


def _listed_cases(path: Path, file: Path, listed: Any) -> tuple[list[Case], list[Problem]]:
    """Take the cases that `dataset.json` lists itself, as nnU-Net does if it has `dataset`."""
    if not isinstance(listed, dict):
        msg = f"{file}: dataset is no object with an entry for every case; correct it or remove it"
        raise DatasetError(msg)
    cases, problems = [], []
    for case_id, entry in listed.items():
        try:
            images = [_absolute(path, name) for name in entry["images"]]
            case = Case(case_id, tuple(images), _absolute(path, entry["label"]))
        except (KeyError, TypeError):
            msg = (
                f"{file}: case {case_id} under dataset is {entry!r}; give its files as "
                '{"images": [...], "label": "..."}'
            )
            raise DatasetError(msg) from None
        missing = [name for name in _files(case) if not name.is_file()]
        for name in missing:
            text, fix = "the file does not exist", "put it there, or correct dataset.json"
            problems.append(Problem(case_id, name, text, fix))
        if not missing:
            cases.append(case)
    return cases, problems


def _files(case: Case) -> Iterable[Path]:
    return (*case.images, *([case.mask] if case.mask else []))


def _absolute(path: Path, name: str) -> Path:
    return path / os.path.expandvars(name)


def _test_cases(folder: Path, ending: str) -> tuple[Case, ...]:
    if not folder.is_dir():
        return ()
    files: dict[str, list[Path]] = defaultdict(list)
    for file in _visible(folder, ending):
        files[_NUMBER.sub("", _stem(file, ending))].append(file)
    return tuple(Case(case_id, tuple(paths), None) for case_id, paths in files.items())
