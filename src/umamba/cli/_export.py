"""`umamba export`: write a trained model to a folder or zip file that can be shared."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from umamba.cli.output import print_line
from umamba.nnunet.paths import Paths, path_options
from umamba.nnunet.requests import DATASET, MODEL, PLANS, TRAINER, TRUST, plans_of
from umamba.option_checks import texts
from umamba.options import Request, add_options, argument, from_namespace, option

__all__ = ["add_parser", "run"]


@dataclass(frozen=True, kw_only=True)
class _Request(Request):
    """A trained model, and where it goes."""

    dataset: str = field(metadata=DATASET)
    configuration: str = field(metadata=argument("2d, 3d_fullres, 3d_lowres, 3d_cascade_fullres"))
    plans_name: str | None = field(default=None, metadata=PLANS)
    model: str | None = field(default=None, metadata=MODEL)
    trainer: str = field(default="nnUNetTrainerUMamba", metadata=TRAINER)
    folds: Sequence[str] = field(
        default=(),
        metadata=option(
            "folds to export (default: all trained folds)",
            "-f",
            nargs="+",
            check=texts,
            metavar="FOLD",
        ),
    )
    checkpoint: str = field(
        default="checkpoint_final.pth",
        metadata=option(
            "which file in the folds' folders (default: checkpoint_final.pth)",
            "-chk",
            metavar="FILE",
        ),
    )
    output: str = field(
        metadata=option("a new folder, or a new file that ends in .zip", "-o", metavar="OUT")
    )
    hub_card: bool = field(
        default=False,
        metadata=option(
            "refuse to export without what the card needs on the Hugging Face hub: a licence in "
            "dataset.json, and a validation"
        ),
    )
    onnx: bool = field(
        default=False,
        metadata=option(
            "write every fold as an ONNX file, too, compared with torch, and pipeline.json for "
            "umamba.runtime",
            "--onnx",
        ),
    )
    check_image: Sequence[str] = field(
        default=(),
        metadata=option(
            "an image, a file for each channel, whose labels the ONNX files must find (default: "
            "the smallest case of the data set that is at hand, or else random numbers)",
            nargs="+",
            check=texts,
            metavar="FILE",
        ),
    )
    pt2: bool = field(
        default=False,
        metadata=option("write every fold as a program of torch.export, too, compared with torch"),
    )
    aotinductor: bool = field(
        default=False,
        metadata=option(
            "compile every fold with AOTInductor, too, compared with torch: machine code for "
            "processors like this one, which names folders of this machine; needs a C++ compiler"
        ),
    )
    trust_plans: bool = field(default=False, metadata=TRUST)
    paths: Paths = field(default=Paths(), metadata=path_options())


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba export`."""
    parser = subparsers.add_parser(
        "export",
        help="write a trained model as a folder or zip file to share",
        description=(
            "Write the weights of a trained model as safetensors, with plans, dataset.json, "
            "checksums, and a model card to complete. No paths or case names are included."
        ),
        epilog="example: umamba export 4 3d_fullres --model umamba_bot -o hippocampus.zip",
    )
    add_options(parser, _Request)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export the model, and say what is left to fill in."""
    from umamba.nnunet.sharing.export import ExportRequest, export_model

    asked = from_namespace(_Request, args)
    output = Path(asked.output)
    request = ExportRequest(
        dataset=asked.dataset,
        configuration=asked.configuration,
        plans_name=str(plans_of(asked.plans_name, asked.model)),
        trainer=asked.trainer,
        folds=tuple(asked.folds),
        checkpoint_name=asked.checkpoint,
        trust_plans=asked.trust_plans,
        for_hub=asked.hub_card,
        onnx=asked.onnx,
        check_image=tuple(map(Path, asked.check_image)),
        pt2=asked.pt2,
        aotinductor=asked.aotinductor,
    )
    manifest = export_model(request, output, asked.paths)
    if args.json:
        shown = {"output": str(output), "model": manifest.folder_name}
        print_line(shown | {"folds": list(manifest.folds)})
    else:
        folds = f"fold{'s' * (len(manifest.folds) > 1)} {', '.join(manifest.folds)}"
        sys.stdout.write(f"wrote {output} ({folds}); complete README.md in it\n")
    return 0
