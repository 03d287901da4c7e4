"""`umamba train`: train folds of any plans with our recipe."""

import argparse
import sys
from math import isnan
from typing import TYPE_CHECKING

from umamba.cli.management import add_management
from umamba.cli.output import print_line
from umamba.nnunet.requests import TrainingRequest
from umamba.options import add_options, from_namespace
from umamba.system.terminal import one_line

if TYPE_CHECKING:
    from umamba.results import TrainingResult

__all__ = ["add_parser", "run"]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba train`."""
    parser = subparsers.add_parser(
        "train",
        help="train one fold, or several",
        description=(
            "Train one fold, or several one after another or in jobs; missing preprocessed data "
            "are made first. Of several folds each goes on from where it is: run the same command "
            "again to continue after a stop."
        ),
        epilog="example: umamba train 4 3d_fullres 0 --model umamba_bot --epochs 100 --seed 1",
    )
    add_options(parser, TrainingRequest)
    add_management(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train the fold or folds, and print their validation Dice."""
    from umamba.api import run_training
    from umamba.job_control import manage_training

    request = from_namespace(TrainingRequest, args)
    if args.managed is not None:
        sys.stdout.write(manage_training(request, args.managed))
        return 0
    result = run_training(request)
    folds, failed = getattr(result, "folds", {}), getattr(result, "failed", {})
    if args.json:
        of_folds = {fold: _shown(one) for fold, one in folds.items()}
        several = {"folds": of_folds, "failed": dict(failed)} if request.is_spread else {}
        print_line(_shown(result) | several)
    else:
        for fold, reason in failed.items():
            sys.stderr.write(one_line(f"fold {fold} failed: {reason}") + "\n")
        for fold, one in folds.items():
            sys.stdout.write(f"fold {fold}: validation Dice {one.mean_dice:.4f}\n")
        per_label = ", ".join(f"{label}: {dice:.4f}" for label, dice in result.dice.items())
        of = f" of {len(folds)} folds" if request.is_spread else ""
        sys.stdout.write(
            f"{result.folder}\nvalidation Dice{of} {result.mean_dice:.4f} ({per_label})\n"
        )
    return 1 if failed else 0


def _shown(result: "TrainingResult") -> dict[str, object]:
    """Return a result for JSON, which has no NaN: the Dice of a label in no validation case."""
    mean = result.mean_dice
    known = {label: None if isnan(dice) else dice for label, dice in result.dice.items()}
    shown = {"folder": str(result.folder), "mean_dice": None if isnan(mean) else mean}
    return shown | {"dice": known}
