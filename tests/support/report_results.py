"""Results of a comparison that nobody trained, with images to go with them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from skimage.io import imsave

from umamba.comparison.results import Results, from_plain, save_results
from umamba.comparison.statistics.analysis import analyse
from umamba.evaluation.cases import evaluate_case
from umamba.evaluation.labels import labels_from_dataset_json
from umamba.evaluation.settings import EvaluationSettings
from umamba.nnunet.paths import Paths

NAME = "Dataset902_Drawn"
SPACING = (1.0, 1.0, 2.5)  # x, y, z
MODELS = {"nnunet": None, "umamba_bot": None, "umamba_bot_nomamba": "umamba_bot"}
SEEDS, FOLDS = (0, 1), (0, 1)
CUTS = {"big": (4.0, 9.0), "small": (3.0,)}


def _shapes(is_3d: bool, rng: np.random.Generator) -> np.ndarray:
    """A large ball, with a small one inside."""
    shape = (14, 40, 30) if is_3d else (40, 60)
    centre = [n * rng.uniform(0.45, 0.55) for n in shape]
    grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    steps = (2.5, 1.0, 1.0) if is_3d else (1.0, 1.0)
    squares = [((g - c) * s) ** 2 for g, c, s in zip(grid, centre, steps, strict=True)]
    radius = np.sqrt(sum(squares))
    return np.select([radius < 4, radius < 11], [2, 1], 0).astype(np.uint8)


def _write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        imsave(path, array, check_contrast=False)
        return
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    SimpleITK.WriteImage(image, str(path))


def write_comparison(root: Path, *, is_3d: bool = False, n_cases: int = 8) -> tuple[Path, Paths]:
    """Write a folder of results, the raw data and the predictions.

    Returns:
        The folder with `results.json`, and nnU-Net's folders.
    """
    rng = np.random.default_rng(0)
    raw, results = root / "raw" / NAME, root / "results" / NAME
    ending = ".nii.gz" if is_3d else ".png"
    description = {
        "channel_names": {"0": "CT"} if is_3d else {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "big": 1, "small": 2},
        "numTraining": n_cases,
        "file_ending": ending,
    }
    raw.mkdir(parents=True)
    (raw / "dataset.json").write_text(json.dumps(description))
    references = {f"case_{i}": _shapes(is_3d, rng) for i in range(n_cases)}
    for case, mask in references.items():
        image = (mask * 90 + rng.integers(0, 40, mask.shape)).astype(np.uint8)
        image = image if is_3d else np.stack([image, image // 2, 255 - image], axis=-1)
        _write(raw / "imagesTr" / f"{case}_0000{ending}", image)
        _write(raw / "labelsTr" / f"{case}{ending}", mask)
    labels, _ = labels_from_dataset_json(raw / "dataset.json")
    settings = EvaluationSettings(size_cut_points=CUTS)
    spacing = SPACING[::-1] if is_3d else (1.0, 1.0)
    rows: dict[str, list[Any]] = {"trainings": [], "cases": [], "instances": [], "curves": []}
    for strength, model in enumerate(MODELS):
        for fold in FOLDS:
            for seed in SEEDS:
                head = {"model": model, "fold": fold, "seed": seed}
                folder = results / f"{model}_s{seed}" / f"fold_{fold}"
                rows["trainings"].append(_training(head, folder))
                rows["curves"].append(head | _curve(strength, rng))
                for case in list(references)[fold :: len(FOLDS)]:
                    moved = np.roll(references[case], 3 - strength + int(rng.integers(2)), axis=-1)
                    _write(folder / "validation" / f"{case}{ending}", moved)
                    found = evaluate_case(moved, references[case], spacing, labels, settings)
                    rows["cases"] += [head | {"case": case} | r for r in found.case_records()]
                    rows["instances"] += [
                        head | {"case": case} | r for r in found.instance_records(settings)
                    ]
    output = root / "umamba-compare"
    output.mkdir()
    content = {
        "dataset": {
            "name": NAME,
            "configuration": "3d_fullres" if is_3d else "2d",
            "labels": description["labels"],
            "n_cases": n_cases,
            "spacing_unit": "mm" if is_3d else "px",
        },
        "settings": {
            "models": list(MODELS),
            "baseline": "nnunet",
            "folds": list(FOLDS),
            "seeds": list(SEEDS),
            "budget": {"epochs": 20},
            "features": None,
            "patch_size": None,
            "batch_size": None,
            "evaluation": settings.to_dict(),
        },
        "models": [_model(name) for name in MODELS],
        **rows,
        "cost": {name: _cost(strength) for strength, name in enumerate(MODELS)},
    }
    save_results(output / "results.json", analyse(from_plain(content, Results)))
    return output, Paths(raw=root / "raw", results=root / "results")


def write_content(output: Path, content: dict[str, Any]) -> None:
    """Write results, whatever their form."""
    (output / "results.json").write_text(json.dumps(content, allow_nan=False))


def read_content(output: Path) -> dict[str, Any]:
    """Read results as plain data."""
    content: dict[str, Any] = json.loads((output / "results.json").read_text())
    return content


def _training(head: dict[str, Any], folder: Path) -> dict[str, Any]:
    return head | {
        "status": "done",
        "reason": None,
        "seeds": "independent",
        "folder": str(folder),
        "source": "compare",
        "train_hours": 0.5,
        "epochs": 20,
        "compared": True,
    }


def _model(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "plans_name": name,
        "control_of": MODELS[name],
        "paper": "none",
        "epochs": 20,
        "iterations": 5000,
    }


def _curve(strength: int, rng: np.random.Generator) -> dict[str, Sequence[float]]:
    epochs = np.arange(1, 21)
    dice = 0.8 + 0.02 * strength - 0.6 * np.exp(-epochs / 5) + rng.normal(0, 0.01, 20)
    return {
        "epoch": epochs.tolist(),
        "hours": (epochs * 0.02 * (1 + strength)).tolist(),
        "dice": dice.tolist(),
        "train_loss": (-dice).tolist(),
        "val_loss": (-dice).tolist(),
    }


def _cost(strength: int) -> dict[str, Any]:
    return {
        "n_parameters": 1_000_000 * (1 + strength),
        "multiply_adds": 2_000_000_000,
        "memory_bytes": 2**30 * (2 + strength),
        "peak_memory_bytes": 2**30 * (3 + strength),
        "seconds_per_iteration": 0.25 * (1 + strength),
        "seconds_per_case": 1.5,
        "problem": None,
    }
