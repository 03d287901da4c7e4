"""`umamba install`: install a shared model into nnU-Net's results folder."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from umamba.cli.output import print_line
from umamba.errors import UMambaError, unknown_name
from umamba.nnunet.paths import Paths, path_options
from umamba.nnunet.requests import TRUST
from umamba.options import Request, add_options, argument, from_namespace, option

__all__ = ["add_parser", "run"]


_LAYOUTS = ("slicer",)


def _layout(given: Sequence[str]) -> tuple[str, ...]:
    """Return the name of a layout, and its folder."""
    if given[0] not in _LAYOUTS:
        raise UMambaError(unknown_name("layout", given[0], _LAYOUTS))
    return tuple(given)


@dataclass(frozen=True, kw_only=True)
class _Request(Request):
    """A model to install."""

    source: str = field(
        metadata=argument(
            "zip file or folder that holds an exported model", metavar="FILE_OR_FOLDER"
        )
    )
    layout: Sequence[str] | None = field(
        default=None,
        metadata=option(
            "slicer DIR: lay the model out in a new folder, as 3D Slicer's extension NNUNet takes "
            "it (default: in nnU-Net's results)",
            nargs=2,
            check=_layout,
            metavar=("slicer", "DIR"),
        ),
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
        epilog=(
            "examples: umamba install hippocampus.zip --results data/results; "
            "umamba install hippocampus.zip --layout slicer slicer-models/hippocampus"
        ),
    )
    add_options(parser, _Request)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Install the model, and print how to predict with it."""
    from umamba.nnunet.sharing.installation import install_model

    asked = from_namespace(_Request, args)
    slicer = Path(asked.layout[1]).expanduser().absolute() if asked.layout else None
    folders = install_model(
        Path(asked.source), asked.paths, trust_plans=asked.trust_plans, slicer=slicer
    )
    if args.json:
        print_line({"folders": [str(folder) for folder in folders]})
        return 0
    if slicer is not None:
        folds = sorted(path.name.removeprefix("fold_") for path in folders[0].glob("fold_*"))
        sys.stdout.write(
            f"{folders[0]}\n  in Slicer: Model path {slicer}, Folds {','.join(folds)}\n"
        )
        return 0
    for folder in folders:
        trainer, plans, configuration = folder.name.split("__", 2)
        named = f"-d {folder.parent.name} -c {configuration} -p {plans} -tr {trainer}"
        if args.results is not None:
            named += f" --results {shlex.quote(str(args.results))}"
        sys.stdout.write(f"{folder}\n  umamba predict {named} -i IMAGES -o OUTPUT\n")
    return 0
