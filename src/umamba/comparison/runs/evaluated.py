"""Evaluation of a training's validation cases against the references that nnU-Net keeps."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from umamba.errors import EvaluationError, UMambaError
from umamba.evaluation.cases import Labels, evaluate_case
from umamba.evaluation.instances import find_components, object_sizes, tercile_cut_points
from umamba.evaluation.mask_files import MaskPair, read_pair
from umamba.evaluation.metrics import needs_probabilities
from umamba.evaluation.probabilities import read_probabilities
from umamba.evaluation.settings import EvaluationSettings
from umamba.images.contents import UnreadableFileError
from umamba.images.file_names import visible_files

__all__ = ["evaluate_predictions", "size_cut_points"]


def evaluate_predictions(
    predictions: Path,
    references: Path,
    cases: Iterable[str],
    file_ending: str,
    labels: Labels,
    settings: EvaluationSettings,
) -> dict[str, list[dict[str, Any]]]:
    """Evaluate predictions of whole cases.

    Args:
        predictions: Folder of the predicted masks.
        references: Folder of the reference masks.
        cases: Names of the cases.
        file_ending: File ending of both.
        labels: Labels and regions.
        settings: Settings that the numbers depend on.

    Returns:
        `cases` and `instances`, a row per case and label (and size of objects).

    Raises:
        UMambaError: If a case cannot be evaluated.
    """
    rows: dict[str, list[dict[str, Any]]] = {"cases": [], "instances": []}
    for case in sorted(cases):
        pair = MaskPair(
            case, *(folder / f"{case}{file_ending}" for folder in (predictions, references))
        )
        try:
            masks = read_pair(pair)
            probabilities = None
            if needs_probabilities(settings):
                probabilities = read_probabilities(pair.prediction, masks[0].shape, labels)
            evaluation = evaluate_case(*masks, labels, settings, probabilities)
        except (UnreadableFileError, EvaluationError) as error:
            msg = f"{pair.prediction} cannot be evaluated: {error}"
            raise UMambaError(msg) from None
        rows["cases"] += [{"case": case, **row} for row in evaluation.case_records()]
        rows["instances"] += [
            {"case": case, **row} for row in evaluation.instance_records(settings)
        ]
    return rows


def size_cut_points(
    references: Path, file_ending: str, labels: Labels, settings: EvaluationSettings
) -> dict[str, tuple[float, ...]]:
    """Return the terciles of the sizes of all reference objects, by label.

    Args:
        references: Folder of all reference masks.
        file_ending: File ending of the masks.
        labels: Labels and regions.
        settings: Settings with the measure of sizes.

    Raises:
        UMambaError: If a mask cannot be read.
    """
    sizes: dict[str, list[float]] = {label: [] for label in labels}
    for path in (p for p in visible_files(references) if p.name.endswith(file_ending)):
        try:
            _, mask, spacing = read_pair(MaskPair(path.name, path, path))
        except UnreadableFileError as error:
            msg = f"{path} cannot be read: {error}"
            raise UMambaError(msg) from None
        if mask.ndim == 3 and 1 in mask.shape:  # a single slice has areas, as in `evaluate_case`
            axis = mask.shape.index(1)
            mask, spacing = mask.squeeze(axis), spacing[:axis] + spacing[axis + 1 :]
        for label, values in labels.items():
            components = find_components(np.isin(mask, values))
            volumes = np.bincount(components.ravel())[1:] * float(np.prod(spacing))
            sizes[label] += object_sizes(volumes, settings.size_measure, mask.ndim).tolist()
    return {label: tercile_cut_points(np.asarray(found)) for label, found in sizes.items()}
