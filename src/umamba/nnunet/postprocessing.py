"""The post-processing that `nnUNetv2_find_best_configuration` chose: read, applied and copied.

nnU-Net writes it twice: as a pickle, which is a program and is never read here, and as JSON.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from umamba.errors import UMambaError, quoted
from umamba.runtime.postprocessing import keep_largest
from umamba.system.json_files import load_json

__all__ = ["PostProcessing", "chosen_for", "copy_postprocessing", "read_postprocessing"]

_FILE = "postprocessing.json"
_OF_FOLDS = "crossval_results_folds_"
_KNOWN = "remove_all_but_largest_component_from_segmentation"
_MOST_STEPS = 10_000


@dataclass(frozen=True)
class PostProcessing:
    """Steps, in order; each keeps only the largest component of some labels together.

    Attributes:
        steps: The labels of each step.
    """

    steps: tuple[tuple[int, ...], ...] = ()

    def apply(self, labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the labels with smaller components set to background, as nnU-Net does it."""
        return keep_largest(labels, self.steps)


def read_postprocessing(file: Path, known_labels: Collection[int]) -> PostProcessing:
    """Read what nnU-Net found.

    Args:
        file: `postprocessing.json`, the `postprocessing.pkl` beside it, or their folder.
        known_labels: The labels of the model.

    Raises:
        UMambaError: If the file is missing or damaged, or asks for anything else than nnU-Net does.
    """
    path = file / _FILE if file.is_dir() else file
    if path.suffix == ".pkl":
        path = path.with_suffix(".json")
        if not path.is_file():
            msg = (
                f"{file} is a pickle, which could run any program, and is not read; give the "
                f"{_FILE} that nnU-Net writes beside it"
            )
            raise UMambaError(msg)
    content = load_json(path)
    names, options = (_list(content.get(f"postprocessing_{key}")) for key in ("fns", "kwargs"))
    if names is None or options is None or not len(names) == len(options) <= _MOST_STEPS:
        msg = (
            f"{path} holds no post-processing: it needs postprocessing_fns and "
            "postprocessing_kwargs of equal length; give the file that "
            "nnUNetv2_find_best_configuration wrote"
        )
        raise UMambaError(msg)
    steps = [_labels(*step, path) for step in zip(names, options, strict=True)]
    unknown = sorted({label for step in steps for label in step} - set(known_labels))
    if unknown:
        msg = f"{path} names the label {unknown[0]}, which the model does not have; it is another's"
        raise UMambaError(msg)
    return PostProcessing(tuple(steps))


def _list(given: Any) -> list[Any] | None:
    return given if isinstance(given, list) else None


def _labels(name: Any, options: Any, path: Path) -> tuple[int, ...]:
    """Return the labels of one step; several are a region, or all of the foreground."""
    if name != _KNOWN:
        msg = f"{path} asks for {quoted(name)}, which is not nnU-Net's {_KNOWN}; it was not run"
        raise UMambaError(msg)
    given = options.get("labels_or_regions") if isinstance(options, Mapping) else None
    labels = given if isinstance(given, list) else [given]
    is_known = isinstance(options, Mapping) and set(options) <= {"labels_or_regions"}
    if not is_known or not all(type(label) is int for label in labels):
        msg = f"{path} has {quoted(options)} for a step; it must name labels_or_regions, as numbers"
        raise UMambaError(msg)
    return tuple(labels)


def chosen_for(model_folders: Sequence[Path], folds: Sequence[str]) -> Path | None:
    """Return the post-processing that nnU-Net chose for a model, or an ensemble of two.

    Args:
        model_folders: Folders of the models, as nnU-Net has them in `nnUNet_results`.
        folds: The folds that predict, in any order; it was chosen for all of them together.
    """
    if len(model_folders) == 1:
        found = model_folders[0].glob(f"{_OF_FOLDS}*/{_FILE}")
        chosen = {path: path.parent.name.removeprefix(_OF_FOLDS) for path in found}
    else:
        names = {folder.name for folder in model_folders}
        parts = {
            path: path.parent.name.split("___")
            for path in model_folders[0].parent.glob(f"ensembles/ensemble___*/{_FILE}")
        }
        chosen = {path: part[-1] for path, part in parts.items() if set(part[1:-1]) == names}
    return next((path for path in sorted(chosen) if set(chosen[path].split("_")) == {*folds}), None)


def copy_postprocessing(
    source: Path, folds: Sequence[str], target: Path, known_labels: Collection[int]
) -> PostProcessing | None:
    """Copy what nnU-Net chose for folds of a model to where it is found for another folder.

    Only its steps are copied: nnU-Net's file also holds scores.

    Args:
        source: The model's folder.
        folds: The folds.
        target: The other folder.
        known_labels: The labels of the model.

    Returns:
        The post-processing; `None` if there is none for these folds.

    Raises:
        UMambaError: If the file is damaged, or asks for anything else than nnU-Net does.
    """
    chosen = chosen_for([source], folds)
    if chosen is None:
        return None
    steps = read_postprocessing(chosen, known_labels)
    content = {
        "postprocessing_fns": [_KNOWN] * len(steps.steps),
        "postprocessing_kwargs": [{"labels_or_regions": list(step)} for step in steps.steps],
    }
    file = target / f"{_OF_FOLDS}{'_'.join(folds)}" / _FILE
    file.parent.mkdir()
    file.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
    return steps
