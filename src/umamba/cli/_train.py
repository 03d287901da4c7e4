"""`umamba train`: train one fold of any plans with our recipe."""

import argparse
import sys
from math import isnan

from umamba.cli.output import print_line
from umamba.nnunet.requests import TrainingRequest
from umamba.options import add_options, from_namespace

__all__ = ["add_parser", "run"]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba train`."""
    parser = subparsers.add_parser(
        "train",
        help="train one fold",
        description="Train one fold; missing preprocessed data are made first.",
        epilog="example: umamba train 4 3d_fullres 0 --model umamba_bot --epochs 100 --seed 1",
    )
    add_options(parser, TrainingRequest)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train the fold, and print its validation Dice."""
    from umamba.api import run_training

    result = run_training(from_namespace(TrainingRequest, args))
    mean = result.mean_dice
    if args.json:
        # Dice is NaN for a label that occurs in no validation case; JSON has no NaN.
        known = {label: None if isnan(dice) else dice for label, dice in result.dice.items()}
        shown = {"folder": str(result.folder), "mean_dice": None if isnan(mean) else mean}
        print_line(shown | {"dice": known})
    else:
        per_label = ", ".join(f"{label}: {dice:.4f}" for label, dice in result.dice.items())
        sys.stdout.write(f"{result.folder}\nvalidation Dice {mean:.4f} ({per_label})\n")
    return 0
