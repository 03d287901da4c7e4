"""`umamba train`: one fold of any plans, by our recipe."""

import argparse
import json
import sys
from math import isnan
from pathlib import Path
from typing import Any

from umamba.cli.arguments import (
    add_device_argument,
    add_model_arguments,
    add_trust_argument,
    natural,
    plans_name,
    positive,
    positive_hours,
)
from umamba.nnunet.paths import Paths, add_path_arguments, set_default_workers

__all__ = ["add_parser", "run"]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba train`."""
    parser = subparsers.add_parser(
        "train",
        help="train one fold",
        description="Train one fold; missing preprocessed data are made first.",
        epilog="example: umamba train 4 3d_fullres 0 --model umamba_bot --epochs 100 --seed 1",
    )
    parser.add_argument("dataset", help="DatasetXXX_Name, or its number")
    parser.add_argument(
        "configuration",
        help="2d, 3d_fullres, 3d_lowres or 3d_cascade_fullres, as far as the plans have it; the "
        "cascade needs all folds of 3d_lowres trained first",
    )
    parser.add_argument(
        "fold",
        help="which part of the cases validates: 0 to 4; or all, to train on all cases",
    )
    add_model_arguments(parser, required=True)
    add_device_argument(parser)
    parser.add_argument(
        "--epochs", type=positive, metavar="N", help="default: 1000, of 250 iterations"
    )
    parser.add_argument(
        "--iterations",
        type=positive,
        metavar="N",
        help="training iterations in all, spread evenly over the epochs and rounded up to the same "
        "number in each; without --epochs, an epoch has at most 250 (default: 250 per epoch)",
    )
    parser.add_argument(
        "--seed",
        type=natural,
        metavar="N",
        help="make the training repeatable (default: it differs every time)",
    )
    parser.add_argument(
        "--hours",
        type=positive_hours,
        metavar="H",
        help="after so many hours save and exit with 75, as when a file `stop` in the fold's "
        "folder, Ctrl-C or a scheduler's signal asks for it; --resume continues",
    )
    parser.add_argument("--npz", action="store_true", help="save validation probabilities, too")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "-pretrained_weights", type=Path, metavar="FILE", help="checkpoint to start from"
    )
    how.add_argument(
        "--resume",
        "--c",
        dest="continue_training",
        action="store_true",
        help="continue from the newest checkpoint, with the length and seed it was begun with",
    )
    how.add_argument("--val", action="store_true", help="only validate a finished training")
    how.add_argument(
        "--overwrite", action="store_true", help="begin a fold anew; the old one is kept"
    )
    add_trust_argument(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_path_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, and print the validation Dice."""
    paths = Paths.from_arguments(args)
    from umamba.nnunet.json_files import load_json
    from umamba.nnunet.training import TrainingRequest, pick_device, train

    device = pick_device(args.device)
    set_default_workers(device)
    request = TrainingRequest(
        dataset=args.dataset,
        configuration=args.configuration,
        fold=args.fold,
        plans_name=str(plans_name(args)),
        trainer=args.trainer,
        device=device,
        epochs=args.epochs,
        iterations=args.iterations,
        seed=args.seed,
        hours=args.hours,
        continue_training=args.continue_training,
        only_validate=args.val,
        overwrite=args.overwrite,
        pretrained_weights=args.pretrained_weights,
        save_probabilities=args.npz,
        trust_plans=args.trust_plans,
    )
    folder = train(request, paths)
    summary = load_json(folder / "validation" / "summary.json")
    names = _label_names(load_json(folder.parent / "dataset.json"))
    dice = {names.get(key, key): values["Dice"] for key, values in summary["mean"].items()}
    mean = summary["foreground_mean"]["Dice"]
    if args.json:
        # Dice is NaN for a label that is in no validation case; JSON has no NaN.
        known = {label: None if isnan(value) else value for label, value in dice.items()}
        result = {"folder": str(folder), "mean_dice": None if isnan(mean) else mean, "dice": known}
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        per_label = ", ".join(f"{label}: {value:.4f}" for label, value in dice.items())
        sys.stdout.write(f"{folder}\nvalidation Dice {mean:.4f} ({per_label})\n")
    return 0


def _label_names(dataset_json: dict[str, Any]) -> dict[str, str]:
    """Return the names of labels and regions by the keys that nnU-Net's summary gives them."""
    return {
        str(tuple(value) if isinstance(value, list) else value): name
        for name, value in dataset_json["labels"].items()
    }
