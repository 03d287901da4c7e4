"""`umamba dataset`: turn a folder of images and a folder of masks into nnU-Net raw data."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umamba.cli.output import print_json, progress_bar
from umamba.errors import DatasetError, UMambaError
from umamba.nnunet.paths import Paths, add_path_arguments
from umamba.system.numerals import integer

if TYPE_CHECKING:
    from umamba.datasets.creation import CreatedDataset

__all__ = ["add_parser", "run"]

log = logging.getLogger(__name__)

_DESCRIPTION = """\
Check a folder of images and a folder of masks, and write them as nnU-Net raw data:
imagesTr, labelsTr and dataset.json in $nnUNet_raw/NAME. Every problem of every case is
listed before anything is written.

Formats: NIfTI, NRRD, MetaImage (.mha), PNG, TIFF. The images keep their format if nnU-Net
reads it, and the masks get the same format. An image and its mask have the same name; give
whatever follows the case name as a suffix. Subfolders are searched as well.

Or a folder of DICOM, in any nesting: each series of slices is a case, with several channels
each study, under a random name; NAME.key.json beside the data set tells whose it is. A mask
then has the name of a folder of its series, or its PatientID or SeriesInstanceUID.
"""

_EPILOG = """\
channels:
  Without --channels, files named case_0000, case_0001, ... are the channels of one case;
  otherwise each file is one case with all the channels it holds (colours, 4D NIfTI).
  nnU-Net chooses the normalisation by the channel's NAME: "CT" clips and scales using the
  statistics of all cases; "noNorm", "rescale_to_0_1" and "rgb_to_0_1" do what they say;
  any other name means z-score per image.

examples:
  umamba dataset Dataset101_Nuclei --images img/ --masks masks/ --instances
  umamba dataset Dataset102_Liver --images ct/ --masks seg/ --mask-suffix _seg \\
      --channels CT --labels liver=1 tumour=2
  umamba dataset Dataset103_Brain --images data/ --masks data/ --mask-suffix _seg \\
      --channels T1=_t1 FLAIR=_flair --map 4=3
  if folders name the cases (sts/STS_001/PET_image.nii.gz, sts/STS_001/PET_mask.nii.gz):
  umamba dataset Dataset104_Sarcoma --images sts/ --masks sts/ --channels PET=PET_image \\
      --mask-suffix PET_mask --labels tumour=1
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba dataset`."""
    parser = subparsers.add_parser(
        "dataset",
        help="make a checked nnU-Net data set from images and masks",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name", metavar="NAME", help="DatasetXXX_Name, where XXX is a number not yet in use"
    )
    parser.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="folder with the images"
    )
    parser.add_argument(
        "--masks", type=Path, required=True, metavar="DIR", help="folder with the masks"
    )
    _add_naming_arguments(parser)
    _add_label_arguments(parser)
    _add_dicom_arguments(parser)
    parser.add_argument(
        "--spacing",
        type=float,
        nargs=3,
        metavar=("Z", "Y", "X"),
        help="voxel size in mm of 3D TIFF stacks, which store none",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an existing NAME once the new one is complete",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_path_arguments(parser, "raw")
    parser.set_defaults(run=run)


def _add_naming_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("file names")
    group.add_argument(
        "--channels",
        nargs="+",
        default=[],
        metavar="NAME[=SUFFIX]",
        help="channel names, in order; add a suffix (T1=_t1) if files are named differently",
    )
    group.add_argument(
        "--image-suffix",
        default="",
        metavar="TEXT",
        help="_img for case7_img.nii.gz; write --image-suffix=-img if it begins with a dash",
    )
    group.add_argument(
        "--mask-suffix", default="", metavar="TEXT", help="_seg for case7_seg.nii.gz"
    )


def _add_label_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("labels")
    group.add_argument(
        "--labels",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="names of the labels 1, 2, ... (default: label_1, label_2, ... as found in the masks)",
    )
    group.add_argument(
        "--map",
        nargs="+",
        default=[],
        metavar="OLD=NEW",
        help="change values in the masks, e.g. 255=1",
    )
    group.add_argument(
        "--instances",
        action="store_true",
        help="masks number single objects: all of them become label 1",
    )
    group.add_argument(
        "--ignore",
        type=integer,
        metavar="VALUE",
        help="leave voxels with this value in the masks out of training",
    )


def _add_dicom_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("DICOM")
    group.add_argument(
        "--series",
        nargs="+",
        default=[],
        metavar="SERIES",
        help="UID, description (with * for anything) or modality of the series to take (default: "
        "all); for several channels CHANNEL=... for each, or a JSON file of such pairs",
    )
    group.add_argument(
        "--resample-irregular",
        action="store_true",
        help="resample slices of a tilted gantry or with unequal gaps, which are refused otherwise",
    )
    group.add_argument(
        "--resample-channels",
        action="store_true",
        help="resample the channels onto the grid of the first",
    )
    group.add_argument(
        "--suv", action="store_true", help="convert PET from Bq/ml to SUV by body weight"
    )
    group.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="key file of the names, for the same ones elsewhere (default: NAME.key.json beside "
        "the data set)",
    )
    group.add_argument(
        "--rois",
        nargs="+",
        default=[],
        metavar="LABEL=PATTERN",
        help="of masks as RTSTRUCT or SEG: names of the ROIs of a label, such as tumour=GTV*, or a "
        "JSON file of these (default: the name of the label)",
    )
    group.add_argument(
        "--rois-may-lack",
        action="store_true",
        help="a label without a ROI has no voxel in that case",
    )


def run(args: argparse.Namespace) -> int:
    """Check, convert and print."""
    try:
        created = _create(args)
    except UMambaError as error:
        if args.json:
            problems = [problem.to_dict() for problem in getattr(error, "problems", ())]
            print_json({"error": str(error).splitlines()[0], "problems": problems})
        raise
    for warning in created.warnings:
        log.warning("warning: %s", warning)
    if args.json:
        print_json(created.to_dict())
    else:
        labels = " ".join(f"{name}={value}" for name, value in created.labels.items())
        sys.stdout.write(
            f"{created.name}: {created.n_cases} cases, channels {' '.join(created.channels)}, "
            f"labels {labels}, files {created.file_ending}\n{created.path}\n"
        )
    return 0


def _create(args: argparse.Namespace) -> "CreatedDataset":
    from umamba.datasets.cases import FileNaming
    from umamba.datasets.creation import DatasetRequest, create_dataset
    from umamba.datasets.labels import LabelRules
    from umamba.dicom.roi_rules import roi_patterns
    from umamba.dicom.studies import StudyOptions

    channels = [text.partition("=") for text in args.channels]
    request = DatasetRequest(
        name=args.name,
        images=args.images.expanduser(),
        masks=args.masks.expanduser(),
        raw=Paths.from_arguments(args).require("raw"),
        naming=FileNaming(
            channels=tuple((name, suffix) for name, _, suffix in channels),
            image_suffix=args.image_suffix,
            mask_suffix=args.mask_suffix,
        ),
        rules=LabelRules(
            names=_parse_pairs("--labels", args.labels, key=str),
            mapping=_parse_pairs("--map", args.map, key=integer),
            instances=args.instances,
            ignore=args.ignore,
        ),
        spacing=tuple(args.spacing) if args.spacing else None,
        overwrite=args.overwrite,
        studies=StudyOptions(
            series=tuple(args.series),
            resample_irregular=args.resample_irregular,
            resample_channels=args.resample_channels,
            suv=args.suv,
            key=args.key,
        ),
        rois=roi_patterns(args.rois),
        rois_may_lack=args.rois_may_lack,
    )
    return create_dataset(request, progress_bar)


def _parse_pairs(option: str, texts: Sequence[str], *, key: Callable[[str], Any]) -> dict[Any, int]:
    pairs: dict[Any, int] = {}
    for text in texts:
        left, _, right = text.rpartition("=")
        form = "NAME=VALUE, e.g. nucleus=1" if key is str else "OLD=NEW, e.g. 255=1"
        try:
            name, value = key(left), integer(right)
        except ValueError:
            name, value = "", 0
        if name == "" or name in pairs:
            msg = f"{option} {text}: give each once, as {form}"
            raise DatasetError(msg)
        pairs[name] = value
    return pairs
