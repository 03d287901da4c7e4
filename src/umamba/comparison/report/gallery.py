"""The gallery: cases with image, reference and every model's segmentation side by side.

As in figure 2 of the U-Mamba paper (arXiv:2401.04722), with contours and Dice.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from umamba.comparison.report.gallery_drawing import Block, draw_blocks
from umamba.comparison.report.gallery_views import cut_views, label_values, read_case
from umamba.comparison.results import Results
from umamba.comparison.rows import TrainingRow
from umamba.comparison.statistics.analysis import compared_scores
from umamba.comparison.statistics.scores import ScoreTable
from umamba.datasets.checks import Case
from umamba.errors import UMambaError
from umamba.images.contents import UnreadableFileError
from umamba.images.file_names import split_ending
from umamba.nnunet.paths import Paths
from umamba.nnunet.raw_dataset import open_raw_dataset
from umamba.reporting.tables import plain

__all__ = ["Gallery", "choose_cases", "draw_gallery"]

_ROLES = ("best", "median", "worst", "most disputed")
_TOGETHER = "cases.png"  # the only picture in 2D; in 3D there is a picture for each case


@dataclass(frozen=True)
class Gallery:
    """The pictures of a gallery.

    Attributes:
        pictures: Names of PNG files, each with a caption.
        notes: Missing pictures, with reasons.
    """

    pictures: Mapping[str, str]
    notes: tuple[str, ...]


def choose_cases(results: Results) -> dict[str, str]:
    """Choose the best, median, worst and most disputed case.

    Best, median and worst are chosen by the mean Dice of all compared models; the most disputed
    case has the largest spread between the models' means over trainings. Cases for which a model
    has no Dice are left out.

    Args:
        results: Results of the comparison.

    Returns:
        The role of each chosen case, such as `worst and most disputed`.
    """
    scores = compared_scores(results, "dice")
    if not scores:
        return {}
    table = ScoreTable.from_scores(scores)
    values = np.array([table.case_means(model) for model in table.models])
    scored = np.flatnonzero(np.isfinite(values).all(axis=0))
    if not scored.size:
        return {}
    order = scored[np.argsort(-values[:, scored].mean(axis=0), kind="stable")]
    best, median, worst, disputed = _ROLES
    chosen = {best: order[0], median: order[len(order) // 2], worst: order[-1]}
    if len(table.models) > 1:
        chosen[disputed] = scored[np.argmax(np.ptp(values[:, scored], axis=0))]
    roles: dict[str, list[str]] = {}
    for role, index in chosen.items():
        roles.setdefault(table.cases[index], []).append(role)
    return {case: " and ".join(names) for case, names in roles.items()}


def draw_gallery(results: Results, folder: Path, paths: Paths) -> Gallery:
    """Draw the chosen cases, and remove pictures of other cases from earlier calls.

    Args:
        results: Results of the comparison.
        folder: Folder for the pictures, made if missing.
        paths: nnU-Net's folders; images and references come from the raw data set.

    Returns:
        The pictures drawn, and notes on those missing.
    """
    gallery = _draw(results, folder, paths)
    for name in _names() - gallery.pictures.keys():
        (folder / name).unlink(missing_ok=True)
    return gallery


def _names() -> set[str]:
    """Return the names that pictures can have; other files in the folder are not ours."""
    roles = (" and ".join(some) for n in (1, 2, 3, 4) for some in combinations(_ROLES, n))
    return {_TOGETHER, *map(_name_of, roles)}


def _name_of(role: str) -> str:
    return f"{role.replace(' ', '_')}.png"


def _kept(chosen: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the pictures that an earlier call drew of the same cases, as its summary says."""
    try:
        text = (folder.parent / "summary.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    same = [f"{role}: {case}" for case, role in chosen.items()]
    named = {written: text for text in same for written in (text, plain(text))}
    found = re.findall(r"^!\[(.*)\]\(gallery/([a-z_]+\.png)\)$", text, re.MULTILINE)
    return {
        name: "; ".join(named[part] for part in caption.split("; "))
        for caption, name in found
        if named.keys() >= {*caption.split("; ")} and (folder / name).is_file()
    }


def _draw(results: Results, folder: Path, paths: Paths) -> Gallery:
    chosen = choose_cases(results)
    if not chosen:
        return Gallery({}, ("no case has a Dice of every model",))
    try:
        raw = open_raw_dataset(paths.require("raw") / results.dataset.name)
    except UMambaError as error:
        kept = _kept(chosen, folder)
        return Gallery(kept, () if kept else (f"the images are missing: {error}",))
    files = {case.case_id: case for case in raw.cases}
    drawn = [_try_block(results, role, name, files) for name, role in chosen.items()]
    blocks = [block for block in drawn if isinstance(block, Block)]
    notes = tuple(note for note in drawn if isinstance(note, str))
    folder.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, str] = {}
    flat = [block for block in blocks if len(block.views) == 1]
    deep = [[block] for block in blocks if len(block.views) > 1]
    for group in [flat, *deep]:
        if group:
            name = _TOGETHER if group is flat else _name_of(group[0].role)
            draw_blocks(group, _labels(results), folder / name)
            pictures[name] = "; ".join(f"{block.role}: {block.case}" for block in group)
    return Gallery(pictures, notes)


def _try_block(results: Results, role: str, name: str, files: Mapping[str, Case]) -> Block | str:
    """Return a case to be drawn, or the reason why it cannot be."""
    if name not in files:
        return f"{name} ({role}) is not in the raw data set"
    try:
        return _block(results, role, files[name])
    except UnreadableFileError as error:
        return f"{name} ({role}) cannot be drawn: {error}"


def _labels(results: Results) -> dict[str, tuple[int, ...]]:
    return label_values(results.dataset.labels)


def _block(results: Results, role: str, case: Case) -> Block:
    shown = _shown_trainings(results, case.case_id)
    ending = split_ending(case.images[0])[1]
    predictions = {
        model: Path(training.folder) / "validation" / f"{case.case_id}{ending}"
        for model, training in shown.items()
    }
    dice = {
        (score.model, score.seed): score.value
        for score in compared_scores(results, "dice")
        if score.case == case.case_id
    }
    images = read_case(case, predictions, results.settings.evaluation.ignore)
    return Block(
        role=role,
        case=case.case_id,
        views=cut_views(images),
        dice={model: dice.get((model, training.seed)) for model, training in shown.items()},
        seed=_seed_text({training.seed for training in shown.values()}),
        unit=results.dataset.spacing_unit,
    )


def _seed_text(seeds: set[int | None]) -> str:
    named = ["no seed" if seed is None else f"seed {seed}" for seed in seeds]
    return " or ".join(sorted(named))


def _shown_trainings(results: Results, case: str) -> dict[str, TrainingRow]:
    """Return the compared training of each model with the lowest seed that has the case."""
    scored = {row.training for row in results.cases if row.case == case}
    found: dict[str, TrainingRow] = {}
    # A training without a seed is shown only if there is no other.
    for result in sorted(
        (t for t in results.trainings if t.compared and t.training in scored),
        key=lambda t: math.inf if t.seed is None else t.seed,
    ):
        found.setdefault(result.model, result)
    return {model: found[model] for model in results.model_names if model in found}
