"""`umamba demo`: run everything once on an average brain MRI, in minutes."""

import argparse
import json
import sys
from pathlib import Path

from umamba.option_checks import natural
from umamba.options import parsed

__all__ = ["add_parser", "run"]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba demo`."""
    parser = subparsers.add_parser(
        "demo",
        help="train and predict on an average brain MRI in a few minutes; nothing is downloaded",
        description=(
            "Train a small U-Mamba on the MNI152 template that comes with the package nilearn, "
            "segment a part of the brain that it has not seen, and draw the result. This takes a "
            "few minutes on two CPU cores. Your own nnU-Net folders are neither read nor changed."
        ),
        epilog="example: umamba demo --output umamba-demo",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("umamba-demo"),
        metavar="DIR",
        help="folder for all files (default: ./umamba-demo)",
    )
    parser.add_argument(
        "--seed",
        type=parsed(natural),
        default=0,
        metavar="N",
        help="seed of the scans and of the training (default: 0)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a finished demonstration")
    parser.add_argument(
        "-device", choices=("cpu", "cuda", "mps"), help="default: cuda if there is a GPU"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demonstration, and print the Dice."""
    from umamba.demo.run import DemoRequest, run_demo

    result = run_demo(
        DemoRequest(
            output=args.output, seed=args.seed, overwrite=args.overwrite, device=args.device
        )
    )
    sys.stdout.write(json.dumps(result.to_dict()) + "\n" if args.json else result.to_table())
    return 0
