"""`umamba install`: install a shared model into nnU-Net's results folder."""

import argparse
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

from umamba.cli.output import print_line
from umamba.nnunet.paths import Paths, path_options
from umamba.nnunet.requests import TRUST
from umamba.options import Request, add_options, argument, from_namespace

__all__ = ["add_parser", "run"]


@dataclass(frozen=True, kw_only=True)
class _Request(Request):
    """A model to install."""

    source: str = field(
        metadata=argument(
            "zip file or folder that holds an exported model", metavar="FILE_OR_FOLDER"
        )
    )
    trust_plans: bool = field(default=False, metadata=TRUST)
    paths: Paths = field(default=Paths(), metadata=path_options("results"))


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba install`."""
    parser = subparsers.add_parser(
        "install",
        help="install a model that was shared",
        description=(
            "Verify a model that `umamba export` or nnUNetv2_export_model_to_zip wrote, and "
            "install it so that `umamba predict` and nnUNetv2_predict find it. No code from the "
            "file is run, and nothing is overwritten."
        ),
        epilog="example: umamba install hippocampus.zip --results data/results",
    )
    add_options(parser, _Request)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Install the model, and print how to predict with it."""
    from umamba.nnunet.sharing.installation import install_model

    asked = from_namespace(_Request, args)
    folders = install_model(Path(asked.source), asked.paths, trust_plans=asked.trust_plans)
    if args.json:
        print_line({"folders": [str(folder) for folder in folders]})
        return 0
    for folder in folders:
        trainer, plans, configuration = folder.name.split("__", 2)
        named = f"-d {folder.parent.name} -c {configuration} -p {plans} -tr {trainer}"
        if args.results is not None:
            named += f" --results {shlex.quote(str(args.results))}"
        sys.stdout.write(f"{folder}\n  umamba predict {named} -i IMAGES -o OUTPUT\n")
    return 0
