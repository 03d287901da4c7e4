"""Model folders with tiny untrained networks, as nnU-Net's training leaves them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
import torch

from plans_factory import DATASET_JSON, stock_plans

# A rotation about no axis of the image: its columns are unit vectors up to rounding.
OBLIQUE = (0.36, 0.48, -0.8, -0.8, 0.6, 0.0, 0.48, 0.64, 0.6)


def write_model(
    folder: Path,
    configuration: str = "3d_fullres",
    *,
    folds: int = 1,
    patch_size: tuple[int, ...] = (8, 16, 16),
    mirror_axes: tuple[int, ...] | None = None,
    plans_changes: dict[str, Any] | None = None,
    configuration_changes: dict[str, Any] | None = None,
    **description: Any,
) -> Path:
    """Write plans, dataset.json and a checkpoint for every fold; return the folder."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    dataset_json = DATASET_JSON | description
    plans = stock_plans() | (plans_changes or {})
    entry = plans["configurations"][configuration]
    own = entry if "architecture" in entry else plans["configurations"][entry["inherits_from"]]
    own["patch_size"] = list(patch_size)
    own |= configuration_changes or {}
    kinds = len(dataset_json["channel_names"])
    own["normalization_schemes"], own["use_mask_for_norm"] = (
        ["ZScoreNormalization"] * kinds,
        [False] * kinds,
    )
    plans["foreground_intensity_properties_per_channel"] = {str(i): {} for i in range(kinds)}
    keywords = own["architecture"]["arch_kwargs"]
    n_stages = 2
    for name in ("features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage"):
        keywords[name] = keywords[name][:n_stages]
    keywords |= {"n_stages": n_stages, "n_conv_per_stage_decoder": [1]}
    keywords["n_conv_per_stage"] = [1, 1]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset_json))
    manager = PlansManager(plans)
    parts = manager.get_configuration(configuration)
    for fold in range(folds):
        torch.manual_seed(fold)
        network = nnUNetTrainer.build_network_architecture(
            manager,
            parts,
            determine_num_input_channels(manager, parts, dataset_json),
            manager.get_label_manager(dataset_json).num_segmentation_heads,
            enable_deep_supervision=False,
        )
        (folder / f"fold_{fold}").mkdir(exist_ok=True)
        checkpoint = {
            "network_weights": network.state_dict(),
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": configuration},
            "inference_allowed_mirroring_axes": mirror_axes,
        }
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder


def write_image(
    path: Path,
    shape: tuple[int, ...] = (13, 30, 26),
    spacing: tuple[float, ...] = (1.1, 0.9, 1.3),
    seed: int = 0,
    direction: tuple[float, ...] | None = None,
) -> Path:
    """Write an image of smooth blobs; return its path."""
    from scipy.ndimage import gaussian_filter

    values = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    image = SimpleITK.GetImageFromArray(values.astype(np.float32))
    image.SetSpacing(spacing)
    image.SetOrigin((5.25, -3.1, 11.7)[: len(shape)])
    if direction is not None:
        image.SetDirection(direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path))
    return path
