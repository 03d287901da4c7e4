"""The request to predict: keywords of the Python API, and options of the command."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from umamba.errors import UMambaError
from umamba.executors.requests import JOBS, ExecutorRequest
from umamba.nnunet.paths import Paths, path_options
from umamba.nnunet.requests import (
    KNOWN_MODEL,
    KNOWN_PLANS,
    TRAINER,
    TRUST,
    plans_of,
)
from umamba.option_checks import (
    file_or_auto,
    folder_or_file,
    folders_or_files,
    natural,
    part,
    positive,
    text,
    texts,
)
from umamba.options import OneOf, Section, option
from umamba.runtime.engine_names import ENGINES

__all__ = ["PredictionRequest"]

Folder = str | Path


def _format_names(given: str | Sequence[str]) -> tuple[str, ...]:
    from umamba.dicom.output_formats import (
        format_names,
    )  # imports numpy, which a parser does not need

    return format_names(given)


_EXISTING = OneOf()
_DICOM = Section(
    "DICOM",
    "Every series of slices is a case; with several channels, every study is. Cases have random "
    "names, and a key file tells whose they are.",
)


@dataclass(frozen=True, kw_only=True)
class PredictionRequest(ExecutorRequest):
    """A folder of images to segment."""

    images: Folder = field(
        metadata=option(
            "images, named case_0000.nii.gz, case_0001.nii.gz, ... by channel; a model of one "
            "channel also takes case.nii.gz; or a folder of DICOM, in any nesting, or a file of it",
            "-i",
            check=folder_or_file,
            metavar="DIR",
        )
    )
    output: Folder = field(
        metadata=option(
            "output folder for segmentations; use one for each model",
            "-o",
            check=folder_or_file,
            metavar="DIR",
        )
    )
    model_folder: Folder | None = field(
        default=None,
        metadata=option(
            "model folder, or exported folder or zip file; or name it by -d -c -p -tr",
            "-m",
            check=folder_or_file,
            metavar="MODEL",
        ),
    )
    ensemble: Sequence[Folder] = field(
        default=(),
        metadata=option(
            "further models, as for -m, whose probabilities are averaged with those of the first",
            nargs="+",
            check=folders_or_files,
            metavar="MODEL",
        ),
    )
    postprocessing: Folder | None = field(
        default=None,
        metadata=option(
            "post-processing to apply: postprocessing.json of nnUNetv2_find_best_configuration, or "
            "auto for the one that it chose for these models and folds (default: none)",
            check=file_or_auto,
            metavar="FILE",
        ),
    )
    dataset: str | int | None = field(
        default=None, metadata=option("DatasetXXX_Name, or its number", "-d", check=text)
    )
    configuration: str | None = field(
        default=None, metadata=option("2d, 3d_fullres, ..., as it was trained", "-c")
    )
    plans_name: str | None = field(default=None, metadata=KNOWN_PLANS)
    model: str | None = field(default=None, metadata=KNOWN_MODEL)
    trainer: str = field(default="nnUNetTrainerUMamba", metadata=TRAINER)
    folds: Sequence[str | int] = field(
        default=(),
        metadata=option(
            "folds to ensemble (default: all trained ones)",
            "-f",
            nargs="+",
            check=texts,
            metavar="FOLD",
        ),
    )
    checkpoint: str = field(
        default="checkpoint_final.pth",
        metadata=option(
            "file in the folds' folders, such as checkpoint_best.pth or checkpoint_latest.pth of a "
            "training that is not finished (default: checkpoint_final.pth)",
            "-chk",
            metavar="FILE",
        ),
    )
    step_size: float = field(
        default=0.5,
        metadata=option(
            "step from patch to patch as a fraction of the patch, above 0 and at most 1: smaller "
            "is slower and perhaps better (default: 0.5)",
            "-step_size",
            check=part,
            metavar="PART",
        ),
    )
    disable_tta: bool = field(
        default=False, metadata=option("no mirroring; 4 to 8x faster", "--disable_tta")
    )
    skip_background_patches: bool = field(
        default=False,
        metadata=option(
            "first predict without overlap and mirroring, and compute again only patches in which "
            "anything but background had a probability of 0.01 or more: faster, but small objects "
            "that the first pass misses are lost"
        ),
    )
    save_probabilities: bool = field(
        default=False,
        metadata=option(
            "also write the probabilities of all classes, as nnU-Net's ensembling reads them",
            "--save_probabilities",
        ),
    )
    overwrite: bool = field(
        default=False,
        metadata=option("predict again the cases that already have an output", one_of=_EXISTING),
    )
    continue_prediction: bool = field(
        default=False,
        metadata=option(
            "skip cases that already have an output: the default, accepted because nnU-Net has it",
            "--continue_prediction",
            one_of=_EXISTING,
        ),
    )
    num_parts: int = field(
        default=1,
        metadata=option(
            "number of parts that the cases are divided into; commands for different parts may "
            "run at the same time, with one -o (default: 1)",
            "-num_parts",
            check=positive,
            metavar="N",
        ),
    )
    part_id: int = field(
        default=0,
        metadata=option(
            "part to predict, from 0: every N-th case, beginning with this one (default: 0)",
            "-part_id",
            check=natural,
            metavar="K",
        ),
    )
    previous_stage: Folder | None = field(
        default=None,
        metadata=option(
            "output folder of the prediction with 3d_lowres, for a model of 3d_cascade_fullres",
            "-prev_stage_predictions",
            check=folder_or_file,
            metavar="DIR",
        ),
    )
    engine: str = field(
        default="auto",
        metadata=option(
            "what runs the network: torch, or, for a model that `umamba export --onnx` wrote, "
            "openvino or onnxruntime, on the CPU; auto takes what was fastest on the CPU when the "
            "model was exported, of what is installed and gave torch's logits then, so that labels "
            "differ only where two classes nearly tie; one that did not is taken only by its name, "
            "with a warning (default: auto)",
            choices=("auto", "torch", *ENGINES),
        ),
    )
    prune_to: int | None = field(
        default=None,
        metadata=option(
            "compute only this many poolings of a unetpp_nested: faster, and perhaps as good "
            "(default: all)",
            check=positive,
            metavar="DEPTH",
        ),
    )
    attention_maps: Folder | None = field(
        default=None,
        metadata=option(
            "folder for pictures of what the gates of an attention_unet let through, one per case",
            check=folder_or_file,
            metavar="DIR",
        ),
    )
    series: Sequence[str] = field(
        default=(),
        metadata=option(
            "UID, description (with * for anything) or modality of the series to take (default: "
            "all); for several channels CHANNEL=... for each, or a JSON file of such pairs",
            nargs="+",
            check=texts,
            metavar="SERIES",
            section=_DICOM,
        ),
    )
    resample_irregular: bool = field(
        default=False,
        metadata=option(
            "resample slices of a tilted gantry or with unequal gaps, which are refused otherwise",
            section=_DICOM,
        ),
    )
    resample_channels: bool = field(
        default=False,
        metadata=option("resample the channels onto the grid of the first", section=_DICOM),
    )
    suv: bool = field(
        default=False,
        metadata=option("convert PET from Bq/ml to SUV by body weight", section=_DICOM),
    )
    key: Folder | None = field(
        default=None,
        metadata=option(
            "key file of the names, for the same ones in several folders (default: beside the "
            "output folder: its name and .key.json; of a cascade, that of the first stage)",
            check=folder_or_file,
            metavar="FILE",
            section=_DICOM,
        ),
    )
    output_format: Sequence[str] = field(
        default=("nifti",),
        metadata=option(
            "formats of the segmentations: nifti (the model's own format), seg, labelmap-seg, "
            "rtstruct (default: nifti)",
            nargs="+",
            check=_format_names,
            metavar="FORMAT",
            section=_DICOM,
        ),
    )
    codes: Folder | None = field(
        default=None,
        metadata=option(
            "JSON file with codes (SNOMED CT) and colours of the labels, for seg, labelmap-seg and "
            "rtstruct",
            check=folder_or_file,
            metavar="FILE",
            section=_DICOM,
        ),
    )
    parts: int | None = field(
        default=None,
        metadata=option(
            "jobs that the cases are divided among, with --executor; each loads the model once "
            "(default: 1)",
            check=positive,
            metavar="N",
            section=JOBS,
        ),
    )
    trust_plans: bool = field(default=False, metadata=TRUST)
    paths: Paths = field(default=Paths(), metadata=path_options())

    def __post_init__(self) -> None:
        """Check every value, and that parts go with what predicts them.

        Raises:
            UMambaError: If a value is not allowed, or does not go with another.
        """
        super().__post_init__()
        if self.parts is not None and self.executor is None:
            msg = (
                "--parts is for jobs of an executor; give --executor as well, or -num_parts and "
                "-part_id to predict one part here"
            )
            raise UMambaError(msg)
        if self.attention_maps is not None and self.ensemble:
            msg = "--attention-maps shows one model; leave it out, or --ensemble"
            raise UMambaError(msg)
        if self.executor is not None and self.num_parts > 1:
            msg = "-num_parts is for one part, predicted here; give --parts for jobs of an executor"
            raise UMambaError(msg)

    @property
    def plans(self) -> str | None:
        """Return the name of the plans, given as such or by the model."""
        return plans_of(self.plans_name, self.model)
