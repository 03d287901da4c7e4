"""`umamba install`: a shared model into nnU-Net's results."""

import argparse
import json
import shlex
import sys
from pathlib import Path

from umamba.cli.arguments import add_trust_argument
from umamba.nnunet.paths import Paths, add_path_arguments

__all__ = ["add_parser", "run"]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba install`."""
    parser = subparsers.add_parser(
        "install",
        help="install a model that was shared",
        description=(
            "Verify a model that `umamba export` or nnUNetv2_export_model_to_zip wrote, and "
            "install it, so that `umamba predict` and nnUNetv2_predict find it. Nothing in the "
            "file is run, and nothing is overwritten."
        ),
        epilog="example: umamba install hippocampus.zip --results data/results",
    )
    parser.add_argument(
        "source",
        type=Path,
        metavar="FILE_OR_FOLDER",
        help="zip file or folder that holds an exported model",
    )
    add_trust_argument(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_path_arguments(parser, "results")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Install, and print how to predict."""
    paths = Paths.from_arguments(args)
    from umamba.nnunet.installation import install_model

    folders = install_model(args.source, paths, trust_plans=args.trust_plans)
    if args.json:
        sys.stdout.write(json.dumps({"folders": [str(folder) for folder in folders]}) + "\n")
        return 0
    for folder in folders:
        trainer, plans, configuration = folder.name.split("__", 2)
        named = f"-d {folder.parent.name} -c {configuration} -p {plans} -tr {trainer}"
        if args.results is not None:
            named += f" --results {shlex.quote(str(args.results))}"
        sys.stdout.write(f"{folder}\n  umamba predict {named} -i IMAGES -o OUTPUT\n")
    return 0
