"""Draw pictures of what the gates of an Attention U-Net let through, one per case."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from umamba.datasets.checks import Case
from umamba.datasets.inputs import check_case, input_files
from umamba.datasets.studies import find_images_or_studies
from umamba.errors import UMambaError
from umamba.networks import UMambaAttentionUNet
from umamba.nnunet.prediction.folders import PredictionReport
from umamba.nnunet.prediction.loading import PredictionOptions, image_reader, load_model
from umamba.nnunet.prediction.record import model_identity
from umamba.system.atomic_files import whole_file
from umamba.system.interruption import StopRequest, resumable, run_again
from umamba.system.output_folders import OutputClaim, clear_stale
from umamba.system.path_names import check_writable
from umamba.system.progress import CaseProgress
from umamba.system.publishing import scratch_folder
from umamba.system.terminal import talk_to_stderr

__all__ = ["draw_attention", "draw_maps", "load_attention"]

log = logging.getLogger(__name__)

_TEXT = "#333333"
_DPI = 130


class _Attention(nn.Module):
    """A substitute for the network in nnU-Net's predictor, which returns maps, not logits."""

    def __init__(self, network: UMambaAttentionUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.attention_maps(x)

    def load_state_dict(self, state_dict: Mapping[str, Any], *_: Any, **__: Any) -> Any:
        """Take the weights of the network, as nnU-Net gives them for every fold."""
        return self.network.load_state_dict(state_dict)


def load_attention(model_folder: Path, folder: Path, options: PredictionOptions) -> Any:
    """Load a model whose predictor computes attention coefficients instead of logits.

    Args:
        model_folder: Folder with `plans.json`, `dataset.json` and `fold_*`.
        folder: The folder for pictures.
        options: The options of prediction.

    Returns:
        An `nnUNetPredictor`.

    Raises:
        UMambaError: If the model has no attention gates or is the second stage of a cascade, or
            the folder cannot be written.
    """
    check_writable(folder, "--attention-maps")
    with talk_to_stderr():
        predictor = load_model(model_folder, replace(options, engine="torch"))
    network = predictor.network
    if not isinstance(network, UMambaAttentionUNet):
        msg = (
            f"--attention-maps needs a model with attention gates, but {model_folder} is of "
            f"{type(network).__name__}; leave it out, or train --model attention_unet"
        )
        raise UMambaError(msg)
    if predictor.configuration_manager.previous_stage_name is not None:
        msg = "--attention-maps cannot show the second stage of a cascade; leave it out"
        raise UMambaError(msg)
    _claim(predictor, folder, options).find_done(())
    predictor.network = _Attention(network)
    # In float16 nnU-Net's Gaussian weights are too coarse for coefficients at a patch's corners.
    predictor.use_gaussian = False
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=len(network.decoder.gates))
    return predictor


def _claim(predictor: Any, folder: Path, options: PredictionOptions) -> OutputClaim:
    return OutputClaim(
        folder,
        model_identity(predictor, None),
        endings=[".png"],
        required=1,
        overwrite=options.overwrite,
        option="--attention-maps",
    )


def draw_attention(
    predictor: Any,
    images: Path,
    output: Path,
    folder: Path,
    options: PredictionOptions,
    report: PredictionReport,
) -> None:
    """Draw a picture for every case, `CASE.png`.

    Coefficients are averaged over overlapping windows, mirrored images and folds.

    Args:
        predictor: What `load_attention` returned.
        images: Folder of images, as for prediction.
        output: Folder of the segmentations.
        folder: The folder for pictures, created if it does not exist.
        options: The options of prediction.
        report: The cases that were predicted, whose picture is drawn, and those predicted
            before, whose picture is drawn if this model has drawn none.

    Raises:
        UMambaError: If a picture cannot be written, or existing ones are another model's.
        ResumableInterruptError: If the user interrupts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clear_stale(folder)
    claim = _claim(predictor, folder, options)
    done = claim.find_done([*report.predicted, *report.skipped])
    wanted = {*report.predicted, *report.skipped} - (done - set(report.predicted))
    inputs = find_images_or_studies(
        images, output, predictor.dataset_json, image_reader(predictor), options.studies
    )
    cases = [case for case in inputs.cases if case.case_id in wanted]
    progress = CaseProgress(len(cases))
    advice = resumable(lambda: run_again("draw the rest of the attention maps"))
    try:
        with advice, StopRequest().listening(), talk_to_stderr():
            for number, case in enumerate(cases, start=1):
                picture = folder / f"{case.case_id}.png"
                claim.stake(case.case_id, [picture.name])
                with inputs.opened(case) as readable:
                    _draw_case(predictor, readable, picture)
                claim.settle(case.case_id)
                at = progress.at(number, done=number, left=len(cases) - number)
                log.info("%s: attention drawn, %s", case.case_id, at)
    except OSError as error:
        msg = (
            f"cannot write to {folder}: {error.strerror or error}; make room, or give another "
            "--attention-maps"
        )
        raise UMambaError(msg) from error


def _draw_case(predictor: Any, case: Case, picture: Path) -> None:
    facts, _ = check_case(case, predictor.dataset_json, image_reader(predictor))
    configuration = predictor.configuration_manager
    with scratch_folder() as links:
        files = input_files(facts, links, predictor.dataset_json["file_ending"])
        image = configuration.preprocessor_class(verbose=False).run_case(
            [str(file) for file in files],
            None,
            predictor.plans_manager,
            configuration,
            predictor.dataset_json,
        )[0]
    data = torch.from_numpy(image).to(torch.float32)
    maps = predictor.predict_logits_from_preprocessed_data(data)
    spacing = configuration.spacing
    draw_maps(picture, data[0].numpy(), maps.float().numpy(), aspect=spacing[-2] / spacing[-1])


def draw_maps(
    path: Path, image: npt.NDArray[Any], maps: npt.NDArray[Any], *, aspect: float = 1.0
) -> None:
    """Draw the slice in which the finest map varies most, under each map.

    Args:
        path: The PNG, which is written atomically.
        image: Preprocessed image, (slices, rows, columns).
        maps: Coefficients, (gates, slices, rows, columns), finest first.
        aspect: Height of a pixel divided by its width.
    """
    from matplotlib import rcdefaults
    from matplotlib.figure import Figure

    rcdefaults()  # nnU-Net's own plots leave other fonts behind
    index = int(np.argmax(maps[0].std(axis=(1, 2))))
    columns = 1 + len(maps)
    height = 2.9 * aspect * image.shape[1] / image.shape[2]
    figure = Figure(
        figsize=(3.1 * columns, min(max(height, 1.5), 9.0) + 0.8),
        facecolor="white",
        layout="constrained",
    )
    axes = figure.subplots(1, columns)
    for number, panel in enumerate(axes):
        panel.imshow(image[index], cmap="gray", aspect=aspect)
        panel.set_axis_off()
        if number == 0:
            panel.set_title(f"slice {index}", fontsize=11, color=_TEXT)
            continue
        shown = maps[number - 1, index]
        # One scale for all, so that a gate that lets everything through equally looks like it.
        drawn = panel.imshow(shown, cmap="inferno", alpha=0.6, vmin=0, vmax=1, aspect=aspect)
        panel.set_title(f"gate of level {number}", fontsize=11, color=_TEXT)
        figure.colorbar(drawn, ax=panel, location="bottom", fraction=0.05, label="let through")
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=_DPI, format="png")
