"""Plans for a typical data set, which need no data: `umamba models` shows them by default."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from umamba.nnunet.plans.derivation import Plans

__all__ = ["EXAMPLE_DATASET", "EXAMPLE_TITLE", "example_plans"]

EXAMPLE_TITLE = "nnU-Net's plans for large isotropic images on a GPU of 8 GiB, 1 channel, 2 classes"
EXAMPLE_DATASET = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "foreground": 1},
    "numTraining": 1,
    "file_ending": ".nii.gz",
}
_PATCHES = MappingProxyType({"3d_fullres": (128, 128, 128), "2d": (512, 512)})
_BATCHES = {2: 12, 3: 2}
_BASE_FEATURES = 32
_MOST_FEATURES = {2: 512, 3: 320}


def example_plans(
    patches: Mapping[str, Sequence[int]] = _PATCHES, *, most_stages: int | None = None
) -> Plans:
    """Return nnU-Net's plans for large images of isotropic voxels: patch 128x128x128 and 512x512.

    Strides and kernels are computed by nnU-Net; widths, convolutions per stage and batch sizes are
    those that its planner chooses for such images (Isensee et al. 2021, Nature Methods 18).

    Args:
        patches: Another patch for each configuration, for which stages and strides are planned.
        most_stages: Number of stages, the deeper ones left out; `None` leaves all.
    """
    configurations = {name: _configuration(patch, most_stages) for name, patch in patches.items()}
    return {
        "dataset_name": "Dataset999_Example",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "experiment_planner_used": "ExperimentPlanner",
        "configurations": configurations,
    }


def _configuration(patch_size: Sequence[int], most_stages: int | None) -> dict[str, Any]:
    from nnunetv2.experiment_planning.experiment_planners.network_topology import (
        get_pool_and_conv_props,
    )

    dim = len(patch_size)
    spacing = [1.0] * dim
    _, strides, kernels, patch, _ = get_pool_and_conv_props(spacing, patch_size, 4, 999999)
    strides, kernels = strides[:most_stages], kernels[:most_stages]
    n_stages = len(strides)
    widths = [min(_BASE_FEATURES * 2**stage, _MOST_FEATURES[dim]) for stage in range(n_stages)]
    return {
        "data_identifier": f"nnUNetPlans_{dim}d",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": _BATCHES[dim],
        "patch_size": [int(size) for size in patch],
        "spacing": spacing,
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": n_stages,
                "features_per_stage": widths,
                "conv_op": f"torch.nn.modules.conv.Conv{dim}d",
                "kernel_sizes": [[int(k) for k in kernel] for kernel in kernels],
                "strides": [[int(step) for step in stride] for stride in strides],
                "n_conv_per_stage": [2] * n_stages,
                "n_conv_per_stage_decoder": [2] * (n_stages - 1),
                "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dim}d",
                "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
