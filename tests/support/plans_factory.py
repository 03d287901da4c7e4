"""Plans as stock nnU-Net 2.8 writes them, small, with every kind of configuration."""

from copy import deepcopy
from typing import Any

_INSTANCE_NORM = {"eps": 1e-05, "affine": True}


def architecture(dim: int, n_stages: int, residual: bool = False) -> dict[str, Any]:
    name = "ResidualEncoderUNet" if residual else "PlainConvUNet"
    counts = "n_blocks_per_stage" if residual else "n_conv_per_stage"
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
        "arch_kwargs": {
            "n_stages": n_stages,
            "features_per_stage": [8 * 2**i for i in range(n_stages)],
            "conv_op": f"torch.nn.modules.conv.Conv{dim}d",
            "kernel_sizes": [[3] * dim] * n_stages,
            "strides": [[1] * dim] + [[2] * dim] * (n_stages - 1),
            counts: [2] * n_stages,
            "n_conv_per_stage_decoder": [2] * (n_stages - 1),
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dim}d",
            "norm_op_kwargs": _INSTANCE_NORM,
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def configuration(dim: int, name: str, n_stages: int, **changes: Any) -> dict[str, Any]:
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    return {
        "data_identifier": f"nnUNetPlans_{name}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [32] * dim,
        "median_image_size_in_voxels": [32.0] * dim,
        "spacing": [1.0] * dim,
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg_kwargs": resampling | {"is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": resampling | {"order": 1},
        "batch_dice": True,
        "architecture": architecture(dim, n_stages),
    } | changes


def stock_plans(residual: bool = False) -> dict[str, Any]:
    plans = {
        "dataset_name": "Dataset901_Toy",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": [32, 32, 32],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {
            "2d": configuration(2, "2d", 4),
            "3d_lowres": configuration(3, "3d_lowres", 3, next_stage="3d_cascade_fullres"),
            "3d_fullres": configuration(3, "3d_fullres", 3),
            "3d_cascade_fullres": {
                "inherits_from": "3d_fullres",
                "previous_stage": "3d_lowres",
            },
        },
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {},
    }
    if residual:
        plans["configurations"]["2d"]["architecture"] = architecture(2, 4, residual=True)
    return deepcopy(plans)


def old_plans() -> dict[str, Any]:
    """Plans of nnU-Net before 2.5, without `architecture`."""
    plans = stock_plans()
    for name in ("2d", "3d_lowres", "3d_fullres"):
        entry = plans["configurations"][name]
        keywords = entry.pop("architecture")["arch_kwargs"]
        entry |= {
            "UNet_class_name": "PlainConvUNet",
            "UNet_base_num_features": 8,
            "n_conv_per_stage_encoder": keywords["n_conv_per_stage"],
            "n_conv_per_stage_decoder": keywords["n_conv_per_stage_decoder"],
            "num_pool_per_axis": [2] * len(entry["patch_size"]),
            "pool_op_kernel_sizes": keywords["strides"],
            "conv_kernel_sizes": keywords["kernel_sizes"],
            "unet_max_num_features": 20,
        }
    return plans


DATASET_JSON: dict[str, Any] = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "big": 1, "small": 2},
    "numTraining": 10,
    "file_ending": ".nii.gz",
}
