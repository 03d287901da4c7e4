"""`umamba evaluate`: measure how well one folder of masks agrees with another."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from umamba.cli.output import print_json, progress_bar
from umamba.errors import UMambaError
from umamba.evaluation.requests import EvaluationRequest
from umamba.options import add_options, from_namespace
from umamba.reporting.credit import CREDIT
from umamba.system.terminal import one_line

if TYPE_CHECKING:
    from umamba.evaluation.folders import FolderEvaluation

__all__ = ["add_parser", "run"]

# Files that nnU-Net writes with --save_probabilities.
_PROBABILITIES = (".npz", ".pkl")

_DESCRIPTION = """\
Compare predicted masks with their references: files of the same name in two folders (NIfTI,
NRRD, MHA, PNG, TIFF), or RTSTRUCT and SEG, paired by the series that they refer to. For each
case and label or region this gives Dice, IoU, normalised surface distance (NSD), 95th percentile of
the Hausdorff distance (HD95), average symmetric surface distance (ASSD), absolute and signed
volume error as a share of the reference, sensitivity, precision, panoptic quality, the share
of lesions found and the number of false ones; and for single objects (connected components, or
objects numbered in the masks) F1 by object size and the Dice of those found.

Lengths are in mm, or in pixels for files without a voxel size. Values that are undefined because
a mask is empty are counted and left out of averages.
"""

_EPILOG = """\
examples:
  umamba evaluate predictions labelsTs --dataset-json dataset.json
  umamba evaluate predictions labelsTs --labels liver=1 tumour=2 organ=1,2 --tolerance 2 tumour=1
  umamba evaluate predictions masks --instances --size-cuts 8 16 --csv scores.csv
  umamba evaluate predictions labelsTs --report report.html --images imagesTs
  umamba evaluate segs contours --study study --labels tumour=1 --rois 'tumour=GTV*'

exit codes: 0 done, 1 some cases failed or have no prediction, 2 the input is at fault
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba evaluate`."""
    parser = subparsers.add_parser(
        "evaluate",
        help="compare predicted masks with their references",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser, EvaluationRequest)
    parser.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="write a row per case and label; objects go to FILE_objects.csv next to it",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE.html",
        help="write a page for the browser, which works offline",
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="images of the cases, to be shown in the page: named like the masks, or as nnU-Net "
        "names them (CASE_0000 for channel 0)",
    )
    parser.add_argument("--credit", metavar="TEXT", default="", help=f"{CREDIT} (default: none)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate the folders, and print and write the scores."""
    from umamba.api import run_evaluation
    from umamba.evaluation.page import check_page
    from umamba.evaluation.summary import (
        check_tables,
        evaluation_data,
        evaluation_text,
        write_tables,
    )
    from umamba.system.path_names import check_writable

    try:
        if args.csv is not None:
            check_writable(args.csv.expanduser().parent, "--csv")
            check_tables(args.csv.expanduser())
        if args.report is not None:
            check_writable(args.report.expanduser().parent, "--report")
            check_page(args.report.expanduser())
        _check_shown(args)
        request = from_namespace(EvaluationRequest, args)
        evaluation = run_evaluation(request, progress_bar).evaluation
    except UMambaError as error:
        if args.json:
            print_json({"error": str(error)})
        raise
    _report(evaluation)
    if args.csv is not None and evaluation.cases:
        write_tables(evaluation, args.csv.expanduser())
    if args.json:
        print_json(evaluation_data(evaluation))
    else:
        sys.stdout.write(evaluation_text(evaluation))
    if args.report is not None and evaluation.cases:
        _write_page(evaluation, request, args)
    return 1 if evaluation.failed or evaluation.missing else 0


def _check_shown(args: argparse.Namespace) -> None:
    """Check what is only for the page.

    Raises:
        UMambaError: If there is no page or no folder of images, or it cannot show the references.
    """
    from umamba.evaluation.dicom_masks import are_dicom

    for option, given in (("--images", args.images), ("--credit", args.credit)):
        if given and args.report is None:
            msg = f"{option} is for the page; add --report FILE.html, or leave it out"
            raise UMambaError(msg)
    if args.images is not None and not args.images.expanduser().is_dir():
        msg = f"--images {args.images} is not a folder; give the folder of the images"
        raise UMambaError(msg)
    one, other = args.predictions.expanduser(), args.references.expanduser()
    if args.report is not None and (are_dicom(one, other) or are_dicom(other, one)):
        msg = "--report cannot show masks as DICOM; convert them to NIfTI, or leave it out"
        raise UMambaError(msg)


def _write_page(
    evaluation: "FolderEvaluation", request: EvaluationRequest, args: argparse.Namespace
) -> None:
    from umamba.evaluation.case_images import find_images
    from umamba.evaluation.page import evaluation_page
    from umamba.reporting.page.writing import write_page
    from umamba.system.atomic_files import make_folder

    file = args.report.expanduser()
    images = None if args.images is None else args.images.expanduser()
    if images is not None and not find_images(images, evaluation.cases):
        case = next(iter(evaluation.cases))
        text = f"note: no file in {images} is named like a case, such as {case} or {case}_0000"
        sys.stderr.write(one_line(f"{text}; the page shows masks alone") + "\n")
    make_folder(file.parent)
    page = evaluation_page(
        evaluation,
        Path(request.predictions),
        Path(request.references),
        images=images,
        credit=args.credit,
    )
    write_page(page, file)


def _report(evaluation: "FolderEvaluation") -> None:
    from umamba.images.file_names import COMPANIONS
    from umamba.system.path_names import listed

    for case, reason in evaluation.failed.items():
        sys.stderr.write(one_line(f"case {case} was left out: {reason}") + "\n")
    for cases, text in (
        (evaluation.missing, "references without prediction"),
        (evaluation.extra, "predictions without reference, left out"),
    ):
        if cases:
            sys.stderr.write(f"{text}: {len(cases)} ({one_line(', '.join(cases))})\n")
    strangers = [
        name
        for name in evaluation.unused
        if Path(name).name not in COMPANIONS and Path(name).suffix not in _PROBABILITIES
    ]
    if strangers:
        sys.stderr.write(f"note: these files are not masks: {listed(strangers)}\n")
    for note in evaluation.notes:
        sys.stderr.write(f"note: {note}\n")
    if evaluation.unnamed:
        values = " ".join(map(str, evaluation.unnamed[:10]))
        sys.stderr.write(f"the masks hold values that belong to no label: {values}\n")
        named = list((evaluation.labels or {}).values())
        if len(named) == 1 and len(evaluation.unnamed) == 1:
            both = ",".join(str(value) for value in sorted((*named, *evaluation.unnamed)))
            sys.stderr.write(
                f"if they mean the same, as 1 and 255 often do, give --labels NAME={both}\n"
            )
    held = {
        label.label
        for case in evaluation.cases.values()
        for label in case.labels
        if label.empty not in ("reference", "both")
    }
    absent = [name for name in evaluation.labels or () if name not in held]
    if absent and evaluation.cases:
        unseen = one_line(", ".join(absent))
        sys.stderr.write(f"no reference contains {unseen}: check the labels\n")
