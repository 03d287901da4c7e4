"""`python -m umamba.runtime`: segment a folder of images with an exported model."""

import argparse
import logging
import sys
from pathlib import Path

from umamba.errors import ResumableInterruptError, UMambaError
from umamba.runtime.engine_names import ENGINES
from umamba.runtime.folders import FolderReport, predict_folder
from umamba.runtime.predictor import Predictor
from umamba.system.terminal import filter_streams, one_line


def main(arguments: list[str] | None = None) -> int:
    """Predict the cases of a folder, and return the exit code."""
    filter_streams()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    args = build_parser().parse_args(arguments)
    report = FolderReport()
    try:
        with Predictor(
            args.model,
            engine=args.engine,
            folds=args.folds,
            step_size=args.step_size,
            mirroring=not args.disable_tta,
            skip_background_patches=args.skip_background_patches,
            postprocessing=args.postprocessing,
        ) as predictor:
            predict_folder(
                predictor, args.images, args.output, overwrite=args.overwrite, report=report
            )
    except UMambaError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.EXIT_CODE
    except OSError as error:
        reason = error.strerror or str(error)
        sys.stderr.write(one_line(f"error: {error.filename or args.images}: {reason}") + "\n")
        return UMambaError.EXIT_CODE
    except KeyboardInterrupt:
        sys.stderr.write(
            f"interrupted, {len(report.predicted)} predicted; run the same command to predict the "
            "rest, without --overwrite\n"
        )
        return ResumableInterruptError.EXIT_CODE
    for case_id, reason in report.failed.items():
        sys.stderr.write(one_line(f"case {case_id} was left out: {reason}") + "\n")
    counts = f"{len(report.predicted)} predicted, {len(report.skipped)} already there"
    sys.stdout.write(f"{args.output}: {counts}, {len(report.failed)} left out\n")
    return 1 if report.failed else 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m umamba.runtime`."""
    parser = argparse.ArgumentParser(
        prog="python -m umamba.runtime",
        description="Segment a folder of images with an exported model, without torch.",
        epilog="example: python -m umamba.runtime hippocampus -i new_images -o predictions",
    )
    parser.add_argument("model", type=Path, help="folder that `umamba export --onnx` wrote")
    parser.add_argument(
        *("-i", "--images"),
        type=Path,
        required=True,
        metavar="DIR",
        help="images, named case_0000.nii.gz, case_0001.nii.gz, ... by channel",
    )
    parser.add_argument(
        *("-o", "--output"),
        type=Path,
        required=True,
        metavar="DIR",
        help="output folder for segmentations; use one for each model",
    )
    parser.add_argument(
        "--engine",
        choices=("auto", *ENGINES),
        default="auto",
        help="default: of those installed, the fastest that gave torch's logits when the model was "
        "exported; one that did not is taken only by its name, with a warning",
    )
    parser.add_argument(
        *("-f", "--folds"), nargs="+", default=(), metavar="FOLD", help="default: all"
    )
    parser.add_argument(
        *("-step_size", "--step-size"),
        type=float,
        metavar="PART",
        help="step from patch to patch as a fraction of the patch (default: the model's)",
    )
    parser.add_argument("--disable_tta", action="store_true", help="no mirroring; 4 to 8x faster")
    parser.add_argument(
        "--skip-background-patches",
        action="store_true",
        help="first predict without overlap and mirroring, and compute again only patches in which "
        "anything but background had a probability of 0.01 or more: faster, but small objects "
        "that the first pass misses are lost",
    )
    parser.add_argument(
        "--postprocessing",
        action="store_true",
        help="keep only the largest components of the labels for which nnU-Net found that better",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="predict cases again that have an output"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
