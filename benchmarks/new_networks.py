"""The newer networks, by their own recipe and by nnU-Net's, compared with PlainConvUNet.

Every training has the same split, patch, batch, iterations and seed, and is small: the table says
whether a network learns, not which one is better. In nnU-Net's folders hippocampi are data set 4
and nuclei data set 18, which `benchmarks.evidence.prepare` makes, both preprocessed.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

import umamba
from benchmarks.checkpointing import read_rows
from benchmarks.environment import environment
from umamba.recipes import RECIPES
from umamba.reporting.tables import markdown_table


class _Setting(NamedTuple):
    """One data set, and the small patch, batch and features of its networks."""

    name: str
    configuration: str
    patch_size: tuple[int, ...]
    batch_size: int
    features: tuple[int, ...]


_SETTINGS = {
    4: _Setting("hippocampus", "3d_fullres", (24, 32, 24), 2, (8, 16, 32, 64)),
    18: _Setting("nuclei", "2d", (128, 128), 2, (8, 16, 32, 64)),
}
_NETWORKS = (
    ("nnunet", "nnunet"),
    ("nnunet", "adamw"),
    ("umamba_bot_lean", "nnunet"),
    ("umamba_enc_lean", "nnunet"),
    ("umamba_bot_mamba2", "nnunet"),
    ("mednext_s", "mednext"),
    ("mednext_s", "nnunet"),
)
# Networks of patches in 3D, which have one width of their own.
_TRANSFORMERS = (
    ("primus_v2_s", "adamw"),
    ("primus_v2_s", "nnunet"),
    ("primus_v2_s_identity", "adamw"),
    ("primus_v3_s", "adamw"),
)
_WIDTH = (72,)
_ITERATIONS, _EPOCHS, _VALIDATION_CASES = 600, 10, 8


def main() -> None:
    """Train what the output does not have yet, and write a table of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="holds nnUNet_raw, _preprocessed and _results")
    parser.add_argument("--datasets", type=int, nargs="+", default=[*_SETTINGS], choices=_SETTINGS)
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results/new-networks.jsonl")
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    done = {(row["dataset"], row["model"], row["recipe"]) for row in read_rows(args.output)}
    for dataset in args.datasets:
        for model, recipe in _trainings(dataset):
            if (_SETTINGS[dataset].name, model, recipe) in done:
                continue
            sys.stderr.write(f"{_SETTINGS[dataset].name}: {model} by {recipe}\n")
            row = _train(dataset, model, recipe, umamba.Paths(root=args.root))
            with args.output.open("a") as file:
                file.write(json.dumps(row) + "\n")
    table = _to_markdown(read_rows(args.output))
    args.output.with_suffix(".md").write_text(table)
    sys.stdout.write(table)


def _trainings(dataset: int) -> Iterator[tuple[str, str]]:
    yield from _NETWORKS
    if len(_SETTINGS[dataset].patch_size) == 3:
        yield from _TRANSFORMERS


def _train(dataset: int, model: str, recipe: str, paths: umamba.Paths) -> dict[str, Any]:
    """Plan and train; a training that was interrupted goes on."""
    setting = _SETTINGS[dataset]
    own_width = (model, recipe) in _TRANSFORMERS
    plans_name = f"new_{model}"
    umamba.plan(
        dataset=dataset,
        model=model,
        source="nnUNetPlans",
        configurations=[setting.configuration],
        features=_WIDTH if own_width else setting.features,
        patch_size=setting.patch_size,
        batch_size=setting.batch_size,
        plans_name=plans_name,
        overwrite=True,
        paths=paths,
    )
    name = f"{RECIPES[recipe].trainer}__{plans_name}__{setting.configuration}"
    begun = paths.require("results").glob(f"Dataset{dataset:03d}_*/{name}/fold_0/*.pth")
    length = {"iterations": _ITERATIONS, "epochs": _EPOCHS, "seed": 1}
    trained = umamba.train(
        dataset=dataset,
        configuration=setting.configuration,
        fold=0,
        plans_name=plans_name,
        recipe=recipe,
        device="cpu",
        validation_tta="off",
        validation_cases=_VALIDATION_CASES,
        paths=paths,
        **({"resume": True} if any(begun) else length),
    )
    return {
        "dataset": setting.name,
        "model": model,
        "recipe": recipe,
        "dice": trained.mean_dice,
    } | environment()


def _to_markdown(rows: list[dict[str, Any]]) -> str:
    first = rows[0]
    sizes = "; ".join(
        f"{s.name}: patch {' x '.join(map(str, s.patch_size))}, batch {s.batch_size}, features "
        f"{', '.join(map(str, s.features))}"
        for s in _SETTINGS.values()
    )
    conditions = (
        f"{_ITERATIONS} iterations, fold 0, seed 1, {_VALIDATION_CASES} validation cases without "
        f"mirroring; {sizes} ({_WIDTH[0]} where the network has one width). 1 thread, "
        f"{first['cpu']}, torch {first['torch']}, umamba {first['umamba']}, {first['date']}. Dice: "
        "mean over the labels, as nnU-Net scores them. One short training each: whether a network "
        "learns, not which is better."
    )
    dice = {(row["model"], row["recipe"], row["dataset"]): row["dice"] for row in rows}
    names = [s.name for s in _SETTINGS.values()]
    body = [["model", "recipe", *(f"Dice, {name}" for name in names)]]
    for model, recipe in dict.fromkeys((row["model"], row["recipe"]) for row in rows):
        found = [dice.get((model, recipe, name)) for name in names]
        body.append([model, recipe, *("-" if x is None else f"{x:.3f}" for x in found)])
    lines = ["# New networks", "", conditions, "", *markdown_table(body, [0, 1])]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
