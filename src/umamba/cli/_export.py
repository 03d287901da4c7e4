"""`umamba export`: a trained model to a folder or zip file that can be shared."""

import argparse
import json
import sys
from pathlib import Path

from umamba.cli.arguments import add_model_arguments, add_trust_argument, plans_name
from umamba.nnunet.paths import Paths, add_path_arguments

__all__ = ["add_parser", "run"]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba export`."""
    parser = subparsers.add_parser(
        "export",
        help="write a trained model as a folder or zip file to share",
        description=(
            "Write the weights of a trained model as safetensors, with plans, dataset.json, "
            "checksums, and a model card to complete. No path and no case name goes with it."
        ),
        epilog="example: umamba export 4 3d_fullres --model umamba_bot -o hippocampus.zip",
    )
    parser.add_argument("dataset", help="DatasetXXX_Name, or its number")
    parser.add_argument("configuration", help="2d, 3d_fullres, 3d_lowres, 3d_cascade_fullres")
    add_model_arguments(parser, required=True)
    parser.add_argument(
        "-f",
        dest="folds",
        nargs="+",
        default=(),
        metavar="FOLD",
        help="folds to export (default: all that are trained)",
    )
    parser.add_argument(
        "-chk",
        dest="checkpoint",
        default="checkpoint_final.pth",
        metavar="FILE",
        help="which file in the folds' folders (default: checkpoint_final.pth)",
    )
    parser.add_argument(
        "-o",
        dest="output",
        type=Path,
        required=True,
        metavar="OUT",
        help="a new folder, or a new file that ends in .zip",
    )
    add_trust_argument(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_path_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export, and say what to complete."""
    paths = Paths.from_arguments(args)
    from umamba.nnunet.export import ExportRequest, export_model

    request = ExportRequest(
        dataset=args.dataset,
        configuration=args.configuration,
        plans_name=str(plans_name(args)),
        trainer=args.trainer,
        folds=tuple(args.folds),
        checkpoint_name=args.checkpoint,
        trust_plans=args.trust_plans,
    )
    manifest = export_model(request, args.output, paths)
    if args.json:
        result = {"output": str(args.output), "model": manifest.folder_name}
        sys.stdout.write(json.dumps(result | {"folds": list(manifest.folds)}) + "\n")
    else:
        folds = f"fold{'s' * (len(manifest.folds) > 1)} {', '.join(manifest.folds)}"
        sys.stdout.write(f"wrote {args.output} ({folds}); complete README.md in it\n")
    return 0
