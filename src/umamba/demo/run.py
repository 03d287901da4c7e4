"""The demonstration: from scans to Dice with the functions of our commands, in its own folders."""

import json
import logging
import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from umamba.datasets.cases import FileNaming
from umamba.datasets.creation import DatasetRequest, create_dataset
from umamba.datasets.labels import LabelRules
from umamba.demo import data, pictures
from umamba.demo.quiet import quiet
from umamba.demo.scores import Thresholds, dice_per_label, fit_thresholds, mean_dice
from umamba.errors import UMambaError
from umamba.nnunet.checkpoints.files import read_checkpoint
from umamba.nnunet.paths import Paths
from umamba.nnunet.plans.derivation import PlanOptions, derive_plans
from umamba.nnunet.plans.files import read_plans, write_plans
from umamba.nnunet.prediction.folders import predict
from umamba.nnunet.prediction.loading import PredictionOptions
from umamba.nnunet.preparation import ensure_plans
from umamba.nnunet.requests import TrainingRequest
from umamba.nnunet.training.folds import pick_device, train
from umamba.nnunet.workers import default_workers
from umamba.registry import find_architecture
from umamba.system.atomic_files import write_whole
from umamba.system.environment import environment
from umamba.system.interruption import resumable, run_again

__all__ = ["DemoRequest", "DemoResult", "Recipe", "run_demo"]

log = logging.getLogger(__name__)

_DATASET = "Dataset001_Brain"
_MODEL = "umamba_bot"
_CONFIGURATION = "2d"
_FOLD = "4"  # the smallest that nnU-Net accepts: of 9 scans, 8 are left for training
_CHANNEL = "T1"

_STARTED, _RESULT = ".umamba-demo", "demo.json"
_COMMANDS, _LOG = "commands.sh", "log.txt"
_OVERLAY, _CURVE = "segmentation.png", "training.png"
# Everything that the demonstration puts into its folder, and the only things that it ever removes:
# users may have added data sets and models of their own.
_OWN_FOLDERS = (
    "training",
    "held_out",
    f"nnUNet_raw/{_DATASET}",
    f"nnUNet_preprocessed/{_DATASET}",
    f"nnUNet_results/{_DATASET}",
)
_OWN_FILES = (_RESULT, _COMMANDS, _LOG, _OVERLAY, _CURVE)


@dataclass(frozen=True)
class Recipe:
    """The amount of work of the demonstration; the default suits two CPU cores.

    Args:
        n_training: Number of training scans, each with its own bias field; nnU-Net validates on
            some of them.
        n_held_out: Number of scans of the held-out part.
        features: Channels per stage.
        patch_size: Patch size, not larger than a slice of either part, as padding would look
            different in the two.
        batch_size: Slices in a batch.
        epochs: Number of epochs.
        iterations: Total number of training iterations.
    """

    n_training: int = 9
    n_held_out: int = 3
    features: tuple[int, ...] = (16, 32, 64, 128)
    patch_size: tuple[int, ...] = (32, 80)
    batch_size: int = 6
    epochs: int = 8
    iterations: int = 640


@dataclass(frozen=True)
class DemoRequest:
    """Options of the demonstration.

    Args:
        output: Folder for all files; nothing outside is touched.
        seed: Seed of the scans and of the training.
        overwrite: Whether a finished demonstration in `output` is replaced.
        device: `cpu`, `cuda` or `mps`; `None` is CUDA if there is a GPU.
        recipe: Amount of work.
    """

    output: Path
    seed: int = 0
    overwrite: bool = False
    device: str | None = None
    recipe: Recipe = field(default_factory=Recipe)


@dataclass(frozen=True)
class DemoResult:
    """The result of the demonstration; Dice is the mean over the held-out scans."""

    output: Path
    dice: dict[str, float]
    dice_thresholds: dict[str, float]
    n_held_out: int
    seconds: float
    seed: int
    device: str

    @property
    def pictures(self) -> dict[str, Path]:
        """The pictures."""
        return {"segmentation": self.output / _OVERLAY, "training": self.output / _CURVE}

    def to_dict(self) -> dict[str, Any]:
        """Return the result in a form that JSON can hold."""
        packages = ("umamba", "nnunetv2", "torch", "nilearn")
        return {
            "model": _MODEL,
            "dice": self.dice,
            "dice_thresholds": self.dice_thresholds,
            "held_out_scans": self.n_held_out,
            "seconds": round(self.seconds, 1),
            "seed": self.seed,
            "device": self.device,
            "output": str(self.output),
            "pictures": {name: str(path) for name, path in self.pictures.items()},
            "commands": str(self.output / _COMMANDS),
            "versions": {package: version(package) for package in packages},
        }

    def to_table(self) -> str:
        """Return the result as text."""
        rows = [
            f"  {name.replace('_', ' '):14s}{self.dice[name]:10.3f}{thresholds:17.3f}"
            for name, thresholds in self.dice_thresholds.items()
        ]
        return "\n".join(
            [
                f"Dice on the held-out front of the brain ({self.n_held_out} simulated scans)",
                f"  {'':14s}{'U-Mamba Bot':>10s}{'best thresholds':>17s}",
                *rows,
                "",
                *(str(path) for path in self.pictures.values()),
                f"{self.output / _COMMANDS}: the same, command by command",
                "",
            ]
        )


def run_demo(request: DemoRequest) -> DemoResult:
    """Make scans, train, predict, score, and draw.

    Args:
        request: The options.

    Returns:
        The scores, and the folders and files.

    Raises:
        UMambaError: If the folder holds a finished demonstration or something else, or nilearn is
            not installed.
        ResumableInterruptError: If the user interrupts.
    """
    start = time.monotonic()
    device = pick_device(request.device)
    output, recipe = request.output.expanduser().resolve(), request.recipe
    brain = data.load_brain()
    _prepare_folder(output, overwrite=request.overwrite)
    commands = _command_lines(request, device)
    write_whole(output / _COMMANDS, _as_script(commands))
    _announce(output, commands)
    anew = resumable(lambda: run_again("start the demonstration anew"), as_a_whole=True)
    variables = {"nnUNet_compile": "false", **default_workers(device)}
    with anew, Paths(root=output).in_use() as paths, environment(**variables):
        _say(1, f"writing {recipe.n_training} + {recipe.n_held_out} scans")
        for slab, n_scans, name in (
            (data.TRAINING, recipe.n_training, "training"),
            (data.HELD_OUT, recipe.n_held_out, "held_out"),
        ):
            data.write_scans(brain, slab, n_scans, output / name, request.seed)
        _run_pipeline(request, device, output, paths, commands)
    _say(6, "scoring and drawing")
    dice, dice_thresholds = _score(brain, output)
    result = DemoResult(
        output=output,
        dice=dice,
        dice_thresholds=dice_thresholds,
        n_held_out=recipe.n_held_out,
        seconds=time.monotonic() - start,
        seed=request.seed,
        device=device,
    )
    write_whole(output / _RESULT, json.dumps(result.to_dict(), indent=2) + "\n")
    return result


def _prepare_folder(output: Path, *, overwrite: bool) -> None:
    """Make the folder, and remove an earlier demonstration from it."""
    if (output / _RESULT).is_file() and not overwrite:
        msg = f"{output} holds a finished demonstration; --overwrite replaces it"
        raise UMambaError(msg)
    try:
        is_strange = output.exists() and (
            not output.is_dir() or (any(output.iterdir()) and not (output / _STARTED).is_file())
        )
        if is_strange:
            msg = f"{output} exists and is not a demonstration; give another --output"
            raise UMambaError(msg)
        output.mkdir(parents=True, exist_ok=True)
        (output / _STARTED).touch()
        for name in _OWN_FILES:
            (output / name).unlink(missing_ok=True)
        for name in _OWN_FOLDERS:
            shutil.rmtree(output / name, ignore_errors=True)
    except OSError as error:
        msg = f"cannot use {output}: {error.strerror or error}; give another --output"
        raise UMambaError(msg) from error


def _command_lines(request: DemoRequest, device: str) -> list[list[str]]:
    """Return the commands that do the same as the demonstration, to be run in its folder."""
    recipe = request.recipe
    labels = [f"{name}={value}" for name, value in data.LABELS.items()]
    features = ",".join(map(str, recipe.features))
    patch_size = " ".join(map(str, recipe.patch_size))
    number = str(int(_DATASET[7:10]))
    lines = [
        f"dataset {_DATASET} --images training/images --masks training/masks "
        f"--channels {_CHANNEL} --labels {' '.join(labels)}",
        f"plan {number} --model {_MODEL} --configurations {_CONFIGURATION} "
        f"--features {features} --patch-size {patch_size} --batch-size {recipe.batch_size}",
        f"train {number} {_CONFIGURATION} {_FOLD} --model {_MODEL} --epochs {recipe.epochs} "
        f"--iterations {recipe.iterations} --seed {request.seed} --validation-tta off "
        f"-device {device}",
        f"predict -d {number} -c {_CONFIGURATION} --model {_MODEL} -device {device} "
        "-i held_out/images -o held_out/predictions",
    ]
    return [["umamba", *line.split()] for line in lines]


def _as_script(commands: Sequence[Sequence[str]]) -> str:
    return "\n".join(
        [
            "# The commands that `umamba demo` ran on the scans in training/ and held_out/.",
            "# To repeat them, run this file in a folder with copies of these two.",
            "set -e",
            'export nnUNet_raw="$PWD/nnUNet_raw"',
            'export nnUNet_preprocessed="$PWD/nnUNet_preprocessed"',
            'export nnUNet_results="$PWD/nnUNet_results"',
            "export nnUNet_compile=false",
            *(shlex.join(command) for command in commands),
            "",
        ]
    )


def _announce(output: Path, commands: Sequence[Sequence[str]]) -> None:
    log.info(
        "Grey and white matter in the MNI152 template: the mean MRI of 152 people, not a patient.\n"
        "U-Mamba learns the back of the brain (y = %d to %d mm) and segments the front (y = %d to\n"
        "%d mm); the %d mm between them are not used. Each scan has its own bias field and noise.\n"
        "Everything happens in %s,\n"
        "by %d commands that you can use on your own data:\n",
        data.TRAINING.first_mm,
        data.TRAINING.last_mm,
        data.HELD_OUT.first_mm,
        data.HELD_OUT.last_mm,
        data.gap_mm(),
        output,
        len(commands),
    )


def _say(step: int, text: str) -> None:
    log.info("[%d/6] %s", step, text)


def _run_pipeline(
    request: DemoRequest,
    device: str,
    output: Path,
    paths: Paths,
    commands: Sequence[Sequence[str]],
) -> None:
    shown = [shlex.join(command) for command in commands]
    _say(2, shown[0])
    _make_dataset(output, paths)
    _say(3, shown[1])
    with quiet(output / _LOG, shown="epoch "):
        _plan(request.recipe, paths)
    _say(4, shown[2])
    with quiet(output / _LOG, shown="epoch "):
        fold_folder = _train(request, device, paths)
    curves = read_checkpoint(fold_folder / "checkpoint_final.pth")["logging"]
    pictures.draw_training(output / _CURVE, curves)
    _say(5, shown[3])
    with quiet(output / _LOG, shown="epoch "):
        held_out = output / "held_out"
        predict(
            fold_folder.parent,
            held_out / "images",
            held_out / "predictions",
            PredictionOptions(device=device, overwrite=True),
        )


def _make_dataset(output: Path, paths: Paths) -> None:
    request = DatasetRequest(
        name=_DATASET,
        images=output / "training" / "images",
        masks=output / "training" / "masks",
        raw=paths.require("raw"),
        naming=FileNaming(channels=((_CHANNEL, ""),)),
        rules=LabelRules(names=data.LABELS),
    )
    create_dataset(request)


def _plan(recipe: Recipe, paths: Paths) -> None:
    ensure_plans(_DATASET, "nnUNetPlans", paths)
    folder = paths.require("preprocessed") / _DATASET
    options = PlanOptions(
        features=recipe.features,
        patch_size=recipe.patch_size,
        batch_size=recipe.batch_size,
        configurations=(_CONFIGURATION,),
    )
    source = read_plans(folder, "nnUNetPlans")
    write_plans(folder, derive_plans(source, find_architecture(_MODEL), options))


def _train(request: DemoRequest, device: str, paths: Paths) -> Path:
    training = TrainingRequest(
        dataset=_DATASET,
        configuration=_CONFIGURATION,
        fold=_FOLD,
        model=_MODEL,
        device=device,
        epochs=request.recipe.epochs,
        iterations=request.recipe.iterations,
        seed=request.seed,
        validation_tta="off",  # the held-out scans count; these would take four times as long
        paths=paths,
    )
    return train(training)


def _score(brain: data.Brain, output: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Score both segmentations of every held-out scan, and draw the first scan."""
    training, held_out = output / "training", output / "held_out"
    thresholds = fit_thresholds(_read_all(training / "images"), _read_all(training / "masks"))
    images, references, predictions = (
        _read_all(held_out / kind) for kind in ("images", "masks", "predictions")
    )
    by_thresholds = [thresholds.segment(image) for image in images]
    ours = [dice_per_label(*pair) for pair in zip(references, predictions, strict=True)]
    theirs = [dice_per_label(*pair) for pair in zip(references, by_thresholds, strict=True)]
    scan = data.Brain(images[0], references[0], brain.cut(data.HELD_OUT).affine)
    pictures.draw_segmentation(
        output / _OVERLAY,
        brain,
        scan,
        [
            pictures.Panel("Held-out scan"),
            pictures.Panel("Reference", references[0]),
            pictures.Panel(f"U-Mamba Bot: Dice {mean_dice(ours[:1])['mean']:.3f}", predictions[0]),
            pictures.Panel(
                f"Best thresholds: Dice {mean_dice(theirs[:1])['mean']:.3f}", by_thresholds[0]
            ),
        ],
        _caption(thresholds),
    )
    return mean_dice(ours), mean_dice(theirs)


def _caption(thresholds: Thresholds) -> str:
    return (
        "MNI152 template: average T1-weighted MRI of 152 people, not a patient. Coronal slices "
        "of one simulated scan; the left of the picture is the left of the brain.\n"
        f"Dice is the mean of grey and white matter in this scan. Thresholds: grey from "
        f"{thresholds.grey:.2f}, white from {thresholds.white:.2f}, the best on the training scans."
    )


def _read_all(folder: Path) -> list[Any]:
    return [data.read_volume(path) for path in sorted(folder.glob("*.nii.gz"))]
