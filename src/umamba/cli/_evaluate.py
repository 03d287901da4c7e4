"""`umamba evaluate`: how well a folder of masks agrees with another one."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umamba.cli.arguments import positive
from umamba.cli.output import print_json, progress_bar
from umamba.errors import EvaluationError, UMambaError
from umamba.numerals import integer
from umamba.terminal import one_line

if TYPE_CHECKING:
    from umamba.evaluation.cases import Labels
    from umamba.evaluation.folders import FolderEvaluation, FolderRequest

__all__ = ["add_metric_arguments", "add_parser", "metric_settings", "run"]

# Names of the metrics that are not standard; a test compares them with the list of all.
_EXTRA = ("cldice", "boundary_iou", "lesion_dice", "lesion_hd95", "ece")

# What nnU-Net writes with --save_probabilities.
_PROBABILITIES = (".npz", ".pkl")

_DESCRIPTION = """\
Compare predicted masks with their references, files of the same name in two folders (NIfTI,
NRRD, MHA, PNG, TIFF). Per case and label or region: Dice, IoU, normalised surface distance
(NSD), 95th percentile of the Hausdorff distance (HD95), average symmetric surface distance
(ASSD), absolute and signed volume error as a share of the reference, sensitivity, precision,
panoptic quality, lesions found and false ones; and for connected components, or numbered objects,
F1 by object size and the Dice of those found.

Lengths are in mm, for files without voxel size in pixels. What is undefined because a mask is
empty is left out of averages and counted.
"""

_EPILOG = """\
examples:
  umamba evaluate predictions labelsTs --dataset-json dataset.json
  umamba evaluate predictions labelsTs --labels liver=1 tumour=2 organ=1,2 --tolerance 2 tumour=1
  umamba evaluate predictions masks --instances --size-cuts 8 16 --csv scores.csv

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
    parser.add_argument("predictions", type=Path, metavar="PRED", help="folder of masks")
    parser.add_argument("references", type=Path, metavar="REF", help="folder of masks")
    _add_label_arguments(parser)
    _add_metric_arguments(parser)
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="cases at a time (default: one per core)"
    )
    parser.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="write a row per case and label, and beside it FILE_objects.csv",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def _add_label_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("labels (default: every value in the references)")
    kind = group.add_mutually_exclusive_group()
    kind.add_argument(
        "--labels",
        nargs="+",
        metavar="NAME=VALUE",
        help="labels; regions have several values: whole=1,2",
    )
    kind.add_argument(
        "--dataset-json", type=Path, metavar="FILE", help="take them from nnU-Net's dataset.json"
    )
    kind.add_argument(
        "--instances",
        action="store_true",
        help="both folders number objects of one kind; a network's masks do not",
    )
    group.add_argument(
        "--ignore",
        type=integer,
        metavar="VALUE",
        help="leave out voxels that have this value in the reference",
    )


def add_metric_arguments(parser: argparse.ArgumentParser) -> "argparse._ArgumentGroup":
    """Add what decides on metrics; `metric_settings` reads it."""
    group = parser.add_argument_group("metrics")
    group.add_argument(
        "--metrics",
        nargs="+",
        default=(),
        metavar="NAME",
        help=f"measure these, too, which takes longer: {', '.join(_EXTRA)}, or all of them; ece "
        "needs the probabilities (.npz) beside the masks, and FROC comes with it",
    )
    group.add_argument(
        "--surface",
        choices=("surface-distance", "voxels"),
        default="surface-distance",
        help="what a surface is in NSD, HD95 and ASSD: elements between voxels, weighted by their "
        "area, as in DeepMind's surface-distance, or the voxels at the border of a mask, as in "
        "MONAI (default: surface-distance)",
    )
    group.add_argument(
        "--tolerance",
        nargs="+",
        default=(),
        metavar="[NAME=]DISTANCE",
        help="up to which surfaces agree in NSD: of all labels, or of one (default: 1)",
    )
    group.add_argument(
        "--lesion-dilation",
        type=integer,
        default=3,
        metavar="VOXELS",
        help="in lesion-wise metrics: by how much reference lesions grow before they are joined "
        "and looked for; BraTS 2023 has 1 for meningiomas and metastases (default: 3)",
    )
    group.add_argument(
        "--lesion-penalty",
        type=float,
        default=374.0,
        metavar="DISTANCE",
        help="HD95 of a lesion that is missed, or falsely predicted (default: 374)",
    )
    group.add_argument(
        "--lesion-volume",
        type=float,
        default=0.0,
        metavar="VOLUME",
        help="leave out reference lesions that are not larger; BraTS 2023 has 50, for metastases 2 "
        "(default: 0)",
    )
    return group


def metric_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what `EvaluationSettings` takes of the options of `add_metric_arguments`."""
    tolerance, tolerances = _parse_tolerances(args.tolerance)
    return {
        "nsd_tolerance": tolerance,
        "nsd_tolerances": tolerances,
        "surface": args.surface,
        "metrics": tuple(args.metrics),
        "lesion_dilation": args.lesion_dilation,
        "lesion_penalty": args.lesion_penalty,
        "lesion_volume": args.lesion_volume,
    }


def _add_metric_arguments(parser: argparse.ArgumentParser) -> None:
    group = add_metric_arguments(parser)
    group.add_argument(
        "--size-measure",
        choices=("diameter", "volume"),
        default="diameter",
        help="of objects: equivalent diameter, or volume, in 2D area (default: diameter)",
    )
    group.add_argument(
        "--size-cuts",
        type=float,
        nargs="+",
        metavar="SIZE",
        help="between small and large objects (default: terciles of each label's references)",
    )
    group.add_argument(
        "--matching-iou",
        type=float,
        default=0.5,
        metavar="IOU",
        help="above which two objects match (default: 0.5)",
    )
    group.add_argument(
        "--spacing",
        type=float,
        nargs="+",
        metavar="MM",
        help="voxel size of PNG and TIFF, which carry none, in the order z y x",
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate, print, and write."""
    from umamba.evaluation.folders import evaluate_folders
    from umamba.evaluation.summary import (
        check_tables,
        evaluation_data,
        evaluation_text,
        write_tables,
    )
    from umamba.nnunet.paths import check_writable

    try:
        if args.csv is not None:
            check_writable(args.csv.expanduser().parent, "--csv")
            check_tables(args.csv.expanduser())
        evaluation = evaluate_folders(_request(args), progress_bar)
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
    return 1 if evaluation.failed or evaluation.missing else 0


def _report(evaluation: "FolderEvaluation") -> None:
    from umamba.nnunet.file_names import COMPANIONS, listed

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
        sys.stderr.write(f"masks hold values that belong to no label: {values}\n")
        named = list((evaluation.labels or {}).values())
        if len(named) == 1 and len(evaluation.unnamed) == 1:
            both = ",".join(str(value) for value in sorted((*named, *evaluation.unnamed)))
            sys.stderr.write(f"if they mean the same, as 1 and 255 do, say --labels NAME={both}\n")
    held = {
        label.label
        for case in evaluation.cases.values()
        for label in case.labels
        if label.empty not in ("reference", "both")
    }
    absent = [name for name in evaluation.labels or () if name not in held]
    if absent and evaluation.cases:
        unseen = one_line(", ".join(absent))
        sys.stderr.write(f"no reference holds {unseen}: look at the labels\n")


def _request(args: argparse.Namespace) -> "FolderRequest":
    from umamba.evaluation.folders import FolderRequest
    from umamba.evaluation.labels import labels_from_dataset_json
    from umamba.evaluation.settings import EvaluationSettings
    from umamba.system.limits import available_cores

    labels, ignore = None, args.ignore
    if args.labels is not None:
        labels = _parse_labels(args.labels)
    elif args.dataset_json is not None:
        labels, own_ignore = labels_from_dataset_json(args.dataset_json.expanduser())
        ignore = own_ignore if ignore is None else ignore
    settings = EvaluationSettings(
        **metric_settings(args),
        size_measure=args.size_measure,
        matching_iou=args.matching_iou,
        ignore=ignore,
    )
    return FolderRequest(
        predictions=args.predictions.expanduser(),
        references=args.references.expanduser(),
        labels=labels,
        instances=args.instances,
        settings=settings,
        cut_points=args.size_cuts and tuple(args.size_cuts),
        spacing=args.spacing and tuple(args.spacing),
        n_workers=args.workers or available_cores(),
    )


def _parse_labels(texts: Sequence[str]) -> "Labels":
    labels: dict[str, int | tuple[int, ...]] = {}
    for text in texts:
        name, _, right = text.rpartition("=")
        try:
            values = tuple(integer(part.strip()) for part in right.split(","))
        except ValueError:
            values = ()
        if not name or not values or name in labels:
            msg = f"--labels {text}: give each once, as NAME=VALUE or NAME=VALUE,VALUE"
            raise EvaluationError(msg)
        labels[name] = values[0] if len(values) == 1 else values
    return labels


def _parse_tolerances(texts: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Return the tolerance of all labels, and those of single ones."""
    tolerances: dict[str, float] = {}
    for text in texts:
        name, _, distance = text.rpartition("=")
        try:
            value = float(distance)
        except ValueError:
            value = -1.0
        if value < 0 or name in tolerances:
            msg = f"--tolerance {text}: give each once, as DISTANCE or NAME=DISTANCE, e.g. liver=2"
            raise EvaluationError(msg)
        tolerances[name] = value
    return tolerances.pop("", 1.0), tolerances
