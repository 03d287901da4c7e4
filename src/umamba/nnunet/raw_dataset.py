"""Find the cases of an nnU-Net raw data set, and read its `dataset.json`."""

import os
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from umamba.datasets.cases import FileNaming, find_cases, other_files
from umamba.datasets.checks import Case, CaseFacts, Problem
from umamba.datasets.description import (
    DescribedLabels,
    check_description,
    file_ending,
    named_channels,
    read_labels,
)
from umamba.datasets.labels import LabelRules
from umamba.errors import DatasetError
from umamba.images.file_names import split_ending, visible_files, why_no_case, why_no_name
from umamba.nnunet.image_readers import nnunet_reader
from umamba.system.json_files import load_json
from umamba.system.path_names import is_hidden, listed, shown

__all__ = ["RawDataset", "open_raw_dataset"]

_NUMBER = re.compile(r"_\d{4}\Z", re.ASCII)


@dataclass(frozen=True)
class RawDataset:
    """A raw data set as found on disk.

    Attributes:
        path: Its folder.
        channels: The names of the channels.
        labels: The labels that it names.
        rules: The meaning of values in the masks; `None` if `dataset.json` contradicts itself.
        reader: nnU-Net's reader for it, `None` if nnU-Net finds none.
        cases: The complete cases for training.
        test_cases: The cases in `imagesTs`, without masks.
        problems: The problems of `dataset.json`, and of incomplete cases.
        order: The value that nnU-Net writes for each region.
    """

    path: Path
    channels: tuple[str, ...]
    labels: DescribedLabels
    rules: LabelRules | None
    reader: str | None
    cases: tuple[Case, ...]
    test_cases: tuple[Case, ...]
    problems: tuple[Problem, ...]
    order: tuple[int, ...] = ()

    def check_labels(self, facts: Sequence[CaseFacts]) -> list[Problem]:
        """Compare the values in all masks with the labels of `dataset.json`."""
        if self.rules is None:
            return []
        found = {value for fact in facts for value in fact.values}
        merged = self.labels.merged(self.order, found & set(self.labels.values))
        texts = [
            f"the regions do not distinguish {value} from {back}: predictions hold {back} for both"
            for value, back in merged.items()
        ]
        fix = "give it a region of its own, unless both mean the same"
        file = self.path / "dataset.json"
        warnings = [Problem("", file, text, fix, "warning") for text in texts if self.order]
        return [*self.rules.check(facts), *warnings]


def open_raw_dataset(path: Path) -> RawDataset:
    """Read `dataset.json`, and pair images and masks by their names; only one image is opened.

    Args:
        path: The folder of the data set in `nnUNet_raw`.

    Returns:
        The data set.

    Raises:
        DatasetError: If so much is missing that nothing can be checked.
        UMambaError: If `dataset.json` is missing or not a JSON object.
    """
    file = path / "dataset.json"
    description = load_json(file)
    problems = check_description(description, file)
    labels, ending = read_labels(description, file), file_ending(description, file)
    contradictory = bool(problems)
    if "dataset" in description:
        cases, found = _listed_cases(path, file, description["dataset"])
    else:
        cases, found = _found_cases(path, ending)
    problems += found
    reader = nnunet_reader(description, cases[0].images[0] if cases else None)
    problems += _check_fallback(file, description, reader)
    n_cases = description.get("numTraining")
    incomplete = any(problem.severity == "error" for problem in found)
    if n_cases != len(cases) and not incomplete:
        text = f"numTraining is {n_cases}, but there are {len(cases)} cases"
        problems.append(Problem("", file, text, f"write {len(cases)}, or add the missing ones"))
    test_cases, found = _test_cases(path / "imagesTs", ending)
    return RawDataset(
        path=path,
        channels=named_channels(description, file),
        labels=labels,
        rules=None
        if contradictory
        else LabelRules(names=labels.flat(), ignore=labels.ignore, described=True),
        reader=reader,
        cases=tuple(cases),
        test_cases=tuple(test_cases),
        problems=(*problems, *found),
        order=() if contradictory else tuple(description.get("regions_class_order") or ()),
    )


def _check_fallback(file: Path, description: dict[str, Any], reader: str | None) -> list[Problem]:
    """Warn where nnU-Net takes another reader only because its usual one fails."""
    if reader is None or "Nibabel" not in reader or nnunet_reader(description, None) == reader:
        return []
    text = f"nnU-Net's SimpleITKIO cannot open the first image, so {reader} is used for all cases"
    fix = f'name it: "overwrite_image_reader_writer": "{reader}"'
    return [Problem("", file, text, fix, "warning")]


def _found_cases(path: Path, ending: str) -> tuple[list[Case], list[Problem]]:
    """Pair `imagesTr` and `labelsTr` by name as nnU-Net does, and report what it would not see."""
    images, masks = path / "imagesTr", path / "labelsTr"
    for folder in (images, masks):
        if not folder.is_dir():
            msg = f"{folder} does not exist; nnU-Net looks for images and masks there"
            raise DatasetError(msg)
    hidden = _hidden_cases(images, ending)
    problems = _misnamed(images, ending, numbered=True) + _misnamed(masks, ending, numbered=False)
    if problems:  # whatever is paired now is paired wrongly
        return [], hidden + problems
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
    others = [file for file in found.others if not _tells_voxel_size(file, ending)]
    return list(found.cases), [*hidden, *found.problems, *other_files(others)]


def _tells_voxel_size(file: Path, ending: str) -> bool:
    """Return whether nnU-Net may look for the voxel size of a TIFF stack there."""
    return ending.lower() in (".tif", ".tiff") and file.suffix == ".json"


def _hidden_cases(folder: Path, ending: str) -> list[Problem]:
    """Find hidden files, which nnU-Net takes for cases."""
    files = sorted(
        file for file in folder.iterdir() if is_hidden(file) and file.name.endswith(ending)
    )
    if not files:
        return []
    start = "._" if all(file.name.startswith("._") for file in files) else "."
    command = shlex.join(["find", str(folder), "-name", f"{start}*{ending}", "-delete"])
    text = f"nnU-Net takes hidden files for cases: {listed(file.name for file in files)}"
    return [Problem("", folder, text, f"delete them: {command}")]


def _misnamed(folder: Path, ending: str, *, numbered: bool) -> list[Problem]:
    """Find images that nnU-Net overlooks or takes for something else."""
    problems = []
    wanted = f"CASE_0000{ending}" if numbered else f"CASE{ending}"
    for file in visible_files(folder, deep=True):
        if not split_ending(file)[1]:
            continue
        text, fix = "", f"save it as {folder.name}/{wanted}, or remove it"
        if file.parent != folder:
            text = f"nnU-Net does not look into subfolders of {folder.name}"
        elif file.name.lower().endswith(ending.lower()) and not file.name.endswith(ending):
            text = f"nnU-Net overlooks it: file_ending in dataset.json is {ending}"
            fix = f"rename it: {_rename(file, file.name[: -len(ending)] + ending)}"
        elif not file.name.endswith(ending):
            text = f"file_ending in dataset.json is {ending}"
        elif numbered and not _NUMBER.search(_stem(file, ending)):
            text = "its name does not end in the number of a channel"
        elif reason := why_no_name(file.name):
            text, fix = reason, "rename it"
        if text:
            problems.append(Problem("", file, text, fix))
    return problems


def _rename(file: Path, name: str) -> str:
    return shown(shlex.join(["mv", str(file), str(file.with_name(name))]))


def _visible(folder: Path, ending: str) -> list[Path]:
    return [file for file in visible_files(folder) if file.name.endswith(ending)]


def _stem(file: Path, ending: str) -> str:
    return file.name.removesuffix(ending)


def _listed_cases(path: Path, file: Path, listing: Any) -> tuple[list[Case], list[Problem]]:
    """Return the cases that `dataset.json` lists under `dataset`, as nnU-Net does."""
    if not isinstance(listing, dict):
        msg = (
            f"{file}: `dataset` is not an object with an entry for every case; correct or remove it"
        )
        raise DatasetError(msg)
    cases, problems = [], []
    for case_id, entry in listing.items():
        case = _listed_case(path, file, case_id, entry)
        missing = [name for name in _files(case) if not name.is_file()]
        for name in missing:
            text, fix = "the file does not exist", "put it there, or correct dataset.json"
            problems.append(Problem(case_id, name, text, fix))
        reason = "it cannot be the name of a file" if "/" in case_id else why_no_case(case_id)
        if reason:
            problems.append(Problem(shown(case_id), file, reason, "rename the case"))
        elif not missing:
            cases.append(case)
    return cases, problems


def _listed_case(path: Path, file: Path, case_id: str, entry: Any) -> Case:
    names = entry.get("images") if isinstance(entry, dict) else None
    mask = entry.get("label") if isinstance(entry, dict) else None
    parts: list[Any] = [*names, mask] if isinstance(names, list) and names else [None]
    if not all(isinstance(part, str) for part in parts):
        msg = (
            f"{file}: case {case_id} under dataset is {entry!r}; give its files as "
            '{"images": [...], "label": "..."}'
        )
        raise DatasetError(msg)
    *images, label = (_absolute(path, part) for part in parts)
    return Case(case_id, tuple(images), label)


def _files(case: Case) -> Iterable[Path]:
    return (*case.images, *([case.mask] if case.mask else []))


def _absolute(path: Path, name: str) -> Path:
    return path / os.path.expandvars(name)


def _test_cases(folder: Path, ending: str) -> tuple[list[Case], list[Problem]]:
    if not folder.is_dir():
        return [], []
    files: dict[str, list[Path]] = defaultdict(list)
    for file in _visible(folder, ending):
        files[_NUMBER.sub("", _stem(file, ending))].append(file)
    cases = [Case(shown(case_id), tuple(paths), None) for case_id, paths in files.items()]
    overlooked = [*_hidden_cases(folder, ending), *_misnamed(folder, ending, numbered=True)]
    return cases, [replace(problem, severity="warning") for problem in overlooked]
