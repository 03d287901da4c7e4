"""`umamba predict`: segment a folder of images into a folder of segmentations."""

import argparse
import sys

from umamba.cli.management import add_management
from umamba.cli.output import print_line
from umamba.nnunet.prediction_request import PredictionRequest
from umamba.options import add_options, from_namespace
from umamba.system.interruption import run_again
from umamba.system.terminal import one_line

__all__ = ["add_parser", "run"]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba predict`."""
    parser = subparsers.add_parser(
        "predict",
        help="segment a folder of images",
        description=(
            "Segment a folder of images with a trained model: one of ours, of stock nnU-Net, or of "
            "the authors' fork. Cases that cannot be read are reported and left out (exit code 1). "
            "After an interruption (exit code 75), run the same command to continue."
        ),
        epilog="example: umamba predict -d 4 -c 3d_fullres --model umamba_bot -i imagesTs -o out",
    )
    add_options(parser, PredictionRequest)
    add_management(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run, go_on=run_again("predict the rest"))


def run(args: argparse.Namespace) -> int:
    """Predict the cases, and print how many were done."""
    from umamba.api import run_prediction
    from umamba.job_control import manage_prediction

    request = from_namespace(PredictionRequest, args)
    if args.managed is not None:
        sys.stdout.write(manage_prediction(request, args.managed))
        return 0
    result = run_prediction(request)
    for case_id, reason in result.failed.items():
        sys.stderr.write(one_line(f"case {case_id} was left out: {reason}") + "\n")
    if args.json:
        print_line(vars(result) | {"output": str(result.output)})
    else:
        counts = f"{len(result.predicted)} predicted, {len(result.skipped)} already there"
        sys.stdout.write(f"{result.output}: {counts}, {len(result.failed)} left out\n")
    return 1 if result.failed else 0
