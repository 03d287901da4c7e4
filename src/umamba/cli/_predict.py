"""`umamba predict`: a folder of images to a folder of segmentations."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from umamba.cli.arguments import (
    add_device_argument,
    add_model_arguments,
    add_trust_argument,
    part,
    plans_name,
    positive,
)
from umamba.nnunet.paths import Paths, add_path_arguments, set_default_workers
from umamba.terminal import one_line

if TYPE_CHECKING:
    from umamba.nnunet.prediction import PredictionOptions, PredictionReport

__all__ = ["add_parser", "run"]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba predict`."""
    parser = subparsers.add_parser(
        "predict",
        help="segment a folder of images",
        description=(
            "Segment a folder of images with a trained model: of ours, of stock nnU-Net, or of "
            "the authors' fork. Cases that cannot be read are reported and left out (exit code 1). "
            "An interrupted run (exit code 75) goes on with the same command."
        ),
        epilog="example: umamba predict -d 4 -c 3d_fullres --model umamba_bot -i imagesTs -o out",
    )
    parser.add_argument(
        "-i",
        dest="images",
        type=Path,
        required=True,
        metavar="DIR",
        help="images, named case_0000.nii.gz, case_0001.nii.gz, ... by channel; a model of one "
        "channel takes case.nii.gz, too",
    )
    parser.add_argument(
        "-o",
        dest="output",
        type=Path,
        required=True,
        metavar="DIR",
        help="where segmentations go: a folder of its own for each model",
    )
    parser.add_argument(
        "-m",
        dest="model_folder",
        type=Path,
        metavar="MODEL",
        help="model folder, or exported folder or zip file; or name it by -d -c -p -tr",
    )
    parser.add_argument("-d", dest="dataset", help="DatasetXXX_Name, or its number")
    parser.add_argument("-c", dest="configuration", help="2d, 3d_fullres, ..., as it was trained")
    add_model_arguments(parser, required=False)
    add_device_argument(parser)
    parser.add_argument(
        "-f",
        dest="folds",
        nargs="+",
        default=(),
        metavar="FOLD",
        help="folds to ensemble (default: all that are trained)",
    )
    parser.add_argument(
        "-chk",
        dest="checkpoint",
        default="checkpoint_final.pth",
        metavar="FILE",
        help="which file in the folds' folders: checkpoint_best.pth or checkpoint_latest.pth of a "
        "training that is not finished (default: checkpoint_final.pth)",
    )
    parser.add_argument(
        "-step_size",
        type=part,
        default=0.5,
        metavar="PART",
        help="step from patch to patch, as a part of the patch, above 0 and at most 1: smaller is "
        "slower and perhaps better (default: 0.5)",
    )
    parser.add_argument("--disable_tta", action="store_true", help="no mirroring; 4 to 8x faster")
    parser.add_argument(
        "--save_probabilities",
        action="store_true",
        help="write the probabilities of all classes, too, as nnU-Net's ensembling reads them",
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--overwrite", action="store_true", help="predict cases that have an output anew"
    )
    existing.add_argument(
        "--continue_prediction",
        action="store_true",
        help="leave cases that have an output: the default, here as nnU-Net has this option",
    )
    parser.add_argument(
        "-prev_stage_predictions",
        type=Path,
        metavar="DIR",
        help="output folder of predicting with 3d_lowres, for a model of 3d_cascade_fullres",
    )
    parser.add_argument(
        "--prune-to",
        type=positive,
        metavar="DEPTH",
        help="compute only so many poolings of a unetpp_nested: faster, and perhaps as good "
        "(default: all)",
    )
    parser.add_argument(
        "--attention-maps",
        type=Path,
        metavar="DIR",
        help="draw what the gates of an attention_unet let through, a picture per case",
    )
    add_trust_argument(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_path_arguments(parser)
    parser.set_defaults(run=run, go_on="the same command does the rest")


def run(args: argparse.Namespace) -> int:
    """Predict, and say what was done."""
    paths = Paths.from_arguments(args)
    model_folder = args.model_folder or _model_folder(args, paths)
    from umamba.nnunet.installation import opened_model
    from umamba.nnunet.prediction import PredictionOptions
    from umamba.nnunet.training import pick_device

    device = pick_device(args.device)
    set_default_workers(device)
    options = PredictionOptions(
        folds=tuple(args.folds),
        checkpoint_name=args.checkpoint,
        prune_to=args.prune_to,
        step_size=args.step_size,
        mirroring=not args.disable_tta,
        save_probabilities=args.save_probabilities,
        device=device,
        previous_stage=args.prev_stage_predictions,
        overwrite=args.overwrite,
        trust_plans=args.trust_plans,
    )
    with opened_model(model_folder, trust_plans=args.trust_plans) as opened:
        report = _predict(args, opened, options)
    for case_id, reason in report.failed.items():
        sys.stderr.write(one_line(f"case {case_id} was left out: {reason}") + "\n")
    if args.json:
        sys.stdout.write(json.dumps({"output": str(args.output), **vars(report)}) + "\n")
    else:
        counts = f"{len(report.predicted)} predicted, {len(report.skipped)} already there"
        sys.stdout.write(f"{args.output}: {counts}, {len(report.failed)} left out\n")
    return 1 if report.failed else 0


def _predict(
    args: argparse.Namespace, model_folder: Path, options: "PredictionOptions"
) -> "PredictionReport":
    from umamba.nnunet.prediction import predict

    attention = None
    if args.attention_maps is not None:
        from umamba.nnunet.attention_maps import draw_attention, load_attention

        attention = load_attention(model_folder, args.attention_maps, options)
    report = predict(model_folder, args.images, args.output, options)
    if attention is not None:
        draw_attention(attention, args.images, args.attention_maps, options, report)
    return report


def _model_folder(args: argparse.Namespace, paths: Paths) -> Path:
    from umamba.errors import UMambaError, unknown_name
    from umamba.nnunet.preparation import find_dataset

    plans = plans_name(args)
    if args.dataset is None or args.configuration is None or plans is None:
        msg = "name the model by its folder (-m), or by -d, -c and -p or --model"
        raise UMambaError(msg)
    name = f"{args.trainer}__{plans}__{args.configuration}"
    models = paths.require("results") / find_dataset(args.dataset, paths)
    trained = sorted(path.parent.name for path in models.glob("*__*__*/plans.json"))
    if trained and not (models / name).is_dir():
        raise UMambaError(unknown_name(f"in {models} the model", name, trained))
    return models / name
