"""Say in a `pipeline.json` what nnU-Net's plans make of an image, and of a network's logits."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from umamba import __version__
from umamba.datasets.description import channel_names
from umamba.errors import PlansError
from umamba.nnunet.plans.derivation import Plans, resolve
from umamba.runtime.pipeline import (
    FORMAT_VERSION,
    PIPELINE,
    NetworkFile,
    Pipeline,
)

__all__ = ["pipeline_of"]

_RESAMPLING = "resample_data_or_seg_to_shape"
_THRESHOLD = "separate_z_anisotropy_threshold"
_NO_LABELS = ("is_seg", False)  # what is resampled is an image
_PREPROCESSOR = "DefaultPreprocessor"
_LABEL_MANAGER = "LabelManager"


def pipeline_of(
    plans: Plans,
    dataset_json: Mapping[str, Any],
    configuration: str,
    *,
    mirroring_axes: Sequence[int] | None = None,
    keep_largest: Sequence[Sequence[int]] | None = None,
    networks: Sequence[NetworkFile] = (),
) -> Pipeline:
    """Return all steps of a prediction with a trained model.

    Args:
        plans: Contents of its `plans.json`, checked.
        dataset_json: Contents of its `dataset.json`, checked.
        configuration: Its configuration.
        mirroring_axes: The axes along which it may be mirrored, as its checkpoints name them.
        keep_largest: The steps of the post-processing that nnU-Net chose for it, if it was asked.
        networks: The exported networks of its folds.

    Raises:
        PlansError: If a step is one that only nnU-Net can do.
    """
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    resolved = resolve(plans, configuration)
    _check_steps(plans, resolved, configuration)
    resampling = {kind: _keywords(resolved, kind) for kind in ("data", "probabilities")}
    labels = LabelManager(dataset_json["labels"], dataset_json.get("regions_class_order"))
    written = labels.regions_class_order if labels.has_regions else labels.all_labels
    described = {
        "format_version": FORMAT_VERSION,
        "software": {"umamba": __version__, "nnunetv2": version("nnunetv2")},
        "dataset": plans["dataset_name"],
        "configuration": configuration,
        "file_ending": dataset_json["file_ending"],
        "image_reader": plans["image_reader_writer"],
        "channels": _channels(plans, resolved, channel_names(dataset_json)),
        "transpose_forward": plans["transpose_forward"],
        "spacing": resolved["spacing"],
        "resampling_image": _resampling(resampling["data"]),
        "resampling_logits": _resampling(resampling["probabilities"]),
        **_threshold(resampling),
        "patch_size": resolved["patch_size"],
        "mirroring_axes": list(mirroring_axes or ()),
        "labels": {
            name: list(map(int, value)) if isinstance(value, list) else int(value)
            for name, value in dataset_json["labels"].items()
        },
        "has_regions": labels.has_regions,
        "output_labels": list(map(int, written)),
        "keep_largest": keep_largest and [list(step) for step in keep_largest],
        "networks": msgspec.to_builtins(networks),
    }
    try:
        return msgspec.convert(described, Pipeline)
    except msgspec.ValidationError as error:
        msg = f"the plans have a step that a {PIPELINE} cannot describe: {error}"
        raise PlansError(msg) from None


def _check_steps(plans: Plans, resolved: Mapping[str, Any], configuration: str) -> None:
    """Check that no class or function but nnU-Net's usual ones is named.

    Raises:
        PlansError: If one is, or if the model needs the predictions of another one.
    """
    stage = resolved.get("previous_stage")
    if stage is not None:
        msg = (
            f"{configuration} is the second stage of a cascade, which also reads what {stage} "
            f"predicts; a {PIPELINE} describes models of one stage only"
        )
        raise PlansError(msg)
    usual = {
        "preprocessor_name": (resolved["preprocessor_name"], _PREPROCESSOR),
        "label_manager": (plans.get("label_manager") or _LABEL_MANAGER, _LABEL_MANAGER),
        "resampling_fn_data": (resolved["resampling_fn_data"], _RESAMPLING),
        "resampling_fn_probabilities": (resolved["resampling_fn_probabilities"], _RESAMPLING),
    }
    for key, (given, known) in usual.items():
        if given != known:
            msg = (
                f"the plans' {key} is {given}, and a {PIPELINE} can only describe nnU-Net's "
                f"{known}; export without it, or plan with that one"
            )
            raise PlansError(msg)


def _channels(
    plans: Plans, resolved: Mapping[str, Any], names: Sequence[str]
) -> list[dict[str, Any]]:
    statistics = plans.get("foreground_intensity_properties_per_channel")
    if statistics is None:  # older plans
        statistics = plans["foreground_intensity_properties_by_modality"]
    schemes, masks = resolved["normalization_schemes"], resolved["use_mask_for_norm"]
    return [
        {
            "name": name,
            "normalization": scheme,
            "within_mask": mask,
            "fingerprint": _fingerprint(statistics[str(index)])
            if scheme == "CTNormalization"
            else None,
        }
        for index, (name, scheme, mask) in enumerate(zip(names, schemes, masks, strict=True))
    ]


def _fingerprint(statistics: Mapping[str, float]) -> dict[str, float]:
    return {
        "mean": statistics["mean"],
        "standard_deviation": statistics["std"],
        "lower": statistics["percentile_00_5"],
        "upper": statistics["percentile_99_5"],
    }


def _keywords(resolved: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the keywords of nnU-Net's resampling, with its defaults.

    Raises:
        PlansError: If there is one that a pipeline cannot describe.
    """
    from nnunetv2.configuration import ANISO_THRESHOLD

    key = f"resampling_fn_{kind}_kwargs"
    usual = {"order": 3, "order_z": 0, "force_separate_z": False, _THRESHOLD: ANISO_THRESHOLD}
    given = {name: value for name, value in resolved[key].items() if (name, value) != _NO_LABELS}
    strange = sorted(set(given) - set(usual))
    if strange:
        msg = (
            f"the plans' {key} has {strange[0]} = {given[strange[0]]!r}, which a {PIPELINE} cannot "
            "describe; export without it, or plan without that keyword"
        )
        raise PlansError(msg)
    return usual | given


def _resampling(keywords: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "order": keywords["order"],
        "order_z": keywords["order_z"],
        "separate_z": keywords["force_separate_z"],
    }


def _threshold(resampling: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the ratio of spacings above which slices are resampled apart, if anything reads it.

    Raises:
        PlansError: If it is another one for images than for logits.
    """
    read = [kind[_THRESHOLD] for kind in resampling.values() if kind["force_separate_z"] is None]
    if not read:
        return {}
    if read[0] != read[-1]:
        msg = (
            f"the plans resample images by the {_THRESHOLD} {read[0]}, and probabilities by "
            f"{read[-1]}; a {PIPELINE} has one for both: export without it, or plan with one"
        )
        raise PlansError(msg)
    return {"anisotropy_threshold": read[0]}
