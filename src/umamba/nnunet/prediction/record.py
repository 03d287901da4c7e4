"""The identity of a model, by which its folders of outputs are told from those of others."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from umamba.nnunet.checkpoints.contents import weights_digest
from umamba.system.output_folders import RECORD

__all__ = ["joint_identity", "model_identity"]

# Everything that a prediction depends on besides the weights.
_OF_CONFIGURATION = (
    *("preprocessor_name", "patch_size", "spacing", "normalization_schemes", "use_mask_for_norm"),
    *("resampling_fn_data", "resampling_fn_data_kwargs", "resampling_fn_probabilities"),
    *("resampling_fn_probabilities_kwargs", "architecture"),
)
_OF_PLANS = (
    "transpose_forward",
    "image_reader_writer",
    "foreground_intensity_properties_per_channel",
)
_OF_DATASET = ("labels", "regions_class_order", "file_ending")


def model_identity(predictor: Any, previous_stage: Path | None) -> dict[str, Any]:
    """Return the properties that two predictions must share to be put into one folder.

    Args:
        predictor: nnU-Net's predictor.
        previous_stage: Segmentations of the first stage, for a cascade.
    """
    return {
        # An ONNX engine has taken the place of the weights.
        "weights_sha256": getattr(predictor, "weights_sha256", None)
        or weights_digest(predictor.list_of_parameters),
        "models": len(predictor.list_of_parameters),
        "plans_sha256": _plans_digest(predictor),
        "step_size": predictor.tile_step_size,
        "mirroring": list(predictor.allowed_mirroring_axes or ())
        if predictor.use_mirroring
        else False,
        # of a UNet++, which can be pruned
        "depth": getattr(getattr(predictor.network, "decoder", None), "depth", None),
        "first_stage": None if previous_stage is None else _first_stage(previous_stage),
    }


def joint_identity(
    identities: Sequence[dict[str, Any]],
    postprocessing: Sequence[Sequence[int]],
    *,
    skips_background: bool = False,
) -> dict[str, Any]:
    """Return the identity of what several models predict together, and what is done to it.

    Args:
        identities: What `model_identity` returned for each model.
        postprocessing: The labels of each step, of which only the largest component is kept.
        skips_background: Whether patches that are background in a coarse pass keep its logits.
    """
    joint = dict(identities[0])
    if len(identities) > 1:
        joint["ensemble"] = list(identities[1:])
    if postprocessing:
        joint["postprocessing"] = [list(step) for step in postprocessing]
    if skips_background:
        joint["skip_background_patches"] = True
    return joint


def _plans_digest(predictor: Any) -> str:
    parts = [
        (predictor.configuration_manager.configuration, _OF_CONFIGURATION),
        (predictor.plans_manager.plans, _OF_PLANS),
        (predictor.dataset_json, _OF_DATASET),
    ]
    wanted = [[given.get(key) for key in keys] for given, keys in parts]
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()


def _first_stage(folder: Path) -> str:
    """Return the identity of a first stage: its weights, or else its place."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((folder / RECORD).read_text())["weights_sha256"])
    return str(folder.resolve())
