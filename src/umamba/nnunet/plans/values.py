"""Check the kind and range of values in plans and `dataset.json` before they are used."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NoReturn
from unicodedata import category

from umamba.errors import PlansError, quoted

__all__ = [
    "Plans",
    "check_configuration_values",
    "check_description_values",
    "check_plan_values",
]

Plans = dict[str, Any]

# Far above what anybody trains, and far below what would take a machine down.
_MOST_CONFIGURATIONS = 100
_MOST_CHANNELS = 1000
_MOST_PATCH_EDGE = 2**14
_MOST_PATCH_VOXELS = 2**31
_MOST_STAGES = 32
_MOST_LAYERS = 64  # per stage
_MOST_FEATURES = 2**14
_MOST_LABEL = 2**16
_MOST_NUMBER = 2**16  # in other keywords of a network
_LEAST_SPACING, _MOST_SPACING = 1e-12, 1e6  # of axes in metres, and of those in micrometres
_MOST_ORDER = 5  # of splines
_MOST_KEYWORDS = 10_000
_MOST_NESTED = 6
_LONGEST_TEXT = 500


@dataclass(frozen=True)
class _Rule:
    """The requirement for a value, as a function and in words."""

    fits: Callable[[Any], bool]
    words: str


def _is_whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -1e15 <= value <= 1e15  # of NaN, neither is true


def _is_spacing(value: Any) -> bool:
    return _is_number(value) and _LEAST_SPACING <= value <= _MOST_SPACING


def _is_resampling(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) > 100:
        return False
    orders = [value[key] for key in ("order", "order_z") if key in value]
    return all(map(_is_plain, value.values())) and all(_is_whole(n, 0, _MOST_ORDER) for n in orders)


def _is_list_of(value: Any, fits: Callable[[Any], bool], lengths: Sequence[int]) -> bool:
    return isinstance(value, list) and len(value) in lengths and all(map(fits, value))


def _is_permutation(value: Any) -> bool:
    return isinstance(value, list) and value in _PERMUTATIONS and all(type(n) is int for n in value)


def _is_patch(value: Any) -> bool:
    fits = _is_list_of(value, lambda n: _is_whole(n, 1, _MOST_PATCH_EDGE), _AXES)
    return fits and prod(value) <= _MOST_PATCH_VOXELS


def _is_plain(value: Any) -> bool:
    return value is None or type(value) is bool or _is_number(value) or _is_text(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT


def _is_name(value: Any) -> bool:
    """Return whether a value is a name on one line, with nothing that moves a cursor."""
    return _is_text(value) and not any(category(c) in ("Cc", "Cs", "Zl", "Zp") for c in value)


def _is_layers(value: Any) -> bool:
    """Return whether a value is the number of layers of every stage, or of all stages."""
    stages = value if isinstance(value, list) else [value]
    return _is_list_of(stages, lambda n: _is_whole(n, 0, _MOST_LAYERS), range(_MOST_STAGES + 1))


def _is_features(value: Any) -> bool:
    stages = value if isinstance(value, list) else [value]
    return _is_list_of(stages, lambda n: _is_whole(n, 1, _MOST_FEATURES), range(_MOST_STAGES + 1))


def _is_steps(value: Any) -> bool:
    """Return whether a value is a kernel or stride per stage, per stage and axis, or for all."""
    numbers = [n for stage in _listed(value) for n in _listed(stage)]
    shallow = isinstance(value, (int, list)) and len(_listed(value)) <= _MOST_STAGES
    return shallow and all(_is_whole(n, 1, 1024) for n in numbers) and len(numbers) <= 100


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


_AXES = (2, 3)
_PERMUTATIONS = [[a, b, 3 - a - b] for a in range(3) for b in range(3) if a != b]  # of 2D, too
_BOOL = _Rule(lambda v: type(v) is bool, "true or false")
_TEXT = _Rule(_is_text, "a name")
_NAME_OR_NONE = _Rule(lambda v: v is None or _is_text(v), "a name, or null")
_LAYERS = _Rule(_is_layers, f"numbers of layers per stage, up to {_MOST_LAYERS}")
_FEATURES = _Rule(_is_features, f"numbers of channels per stage, up to {_MOST_FEATURES}")
_STEPS = _Rule(_is_steps, "small positive integers per stage and axis")
_RESAMPLING = _Rule(_is_resampling, f"plain values by name, orders from 0 to {_MOST_ORDER}")
_SPACING = _Rule(
    lambda v: _is_list_of(v, _is_spacing, _AXES),
    f"two or three numbers from {_LEAST_SPACING:g} to {_MOST_SPACING:g}",
)
_STATISTICS = _Rule(
    lambda v: isinstance(v, dict) and all(isinstance(p, dict) for p in v.values()),
    "statistics by channel",
)

_OF_PLANS = {
    "original_median_spacing_after_transp": _SPACING,
    "original_median_shape_after_transp": _Rule(
        lambda v: _is_list_of(v, lambda n: _is_number(n) and n >= 0, _AXES), "two or three numbers"
    ),
    "transpose_forward": _Rule(_is_permutation, "an order of the axes 0, 1 and 2"),
    "transpose_backward": _Rule(_is_permutation, "an order of the axes 0, 1 and 2"),
    "foreground_intensity_properties_per_channel": _STATISTICS,
    "foreground_intensity_properties_by_modality": _STATISTICS,
}
_OF_CONFIGURATION = {
    "batch_dice": _BOOL,
    "batch_size": _Rule(lambda v: _is_whole(v, 1, 2**16), "a number of patches, at least 1"),
    "conv_kernel_sizes": _STEPS,
    "inherits_from": _TEXT,
    "median_image_size_in_voxels": _Rule(
        lambda v: _is_list_of(v, lambda n: _is_number(n) and n >= 0, _AXES), "two or three numbers"
    ),
    "n_conv_per_stage_decoder": _LAYERS,
    "n_conv_per_stage_encoder": _LAYERS,
    "patch_size": _Rule(
        _is_patch,
        f"two or three integers from 1 to {_MOST_PATCH_EDGE}, {_MOST_PATCH_VOXELS} voxels at most",
    ),
    "pool_op_kernel_sizes": _STEPS,
    "previous_stage": _NAME_OR_NONE,
    "resampling_fn_data_kwargs": _RESAMPLING,
    "resampling_fn_probabilities_kwargs": _RESAMPLING,
    "resampling_fn_seg_kwargs": _RESAMPLING,
    "spacing": _SPACING,
    "UNet_base_num_features": _FEATURES,
    "unet_max_num_features": _FEATURES,
    "use_mask_for_norm": _Rule(
        lambda v: _is_list_of(v, lambda b: type(b) is bool, range(_MOST_CHANNELS)),
        "true or false for every channel",
    ),
}
_OF_NETWORK = {
    "features_per_stage": _FEATURES,
    "kernel_sizes": _STEPS,
    "n_blocks_per_stage": _LAYERS,
    "n_conv_per_stage": _LAYERS,
    "n_conv_per_stage_decoder": _LAYERS,
    "n_stages": _Rule(lambda v: _is_whole(v, 1, _MOST_STAGES), f"from 1 to {_MOST_STAGES}"),
    "strides": _STEPS,
}
# What prediction needs, whatever the network.
_NEEDED_OF_PLANS = ("image_reader_writer", "transpose_forward", "transpose_backward")
_NEEDED = (
    *("patch_size", "spacing", "normalization_schemes", "use_mask_for_norm", "preprocessor_name"),
    *("resampling_fn_data", "resampling_fn_data_kwargs"),
    *("resampling_fn_seg", "resampling_fn_seg_kwargs"),
    *("resampling_fn_probabilities", "resampling_fn_probabilities_kwargs"),
)


def check_plan_values(plans: Mapping[str, Any], file: Path) -> None:
    """Check those values of plans that are present.

    Args:
        plans: Contents of a plans file, with a JSON object for every configuration.
        file: The file, for messages.

    Raises:
        PlansError: If a value is of another kind than nnU-Net writes, or out of range.
    """
    _check(plans, _OF_PLANS, "", file)
    forward, backward = plans.get("transpose_forward"), plans.get("transpose_backward")
    if forward is not None and backward is not None:
        inverse = len(forward) == len(backward) and [forward[n] for n in backward] == sorted(
            forward
        )
        if not inverse:
            _refuse("transpose_backward", backward, f"the order that undoes {forward}", file)
    if len(plans["configurations"]) > _MOST_CONFIGURATIONS:
        count = len(plans["configurations"])
        msg = f"{file}: {count} configurations are too many for plans; use another copy"
        raise PlansError(msg)
    for name, configuration in plans["configurations"].items():
        place = f"configurations.{name}."
        _check(configuration, _OF_CONFIGURATION, place, file)
        architecture = configuration.get("architecture")
        if isinstance(architecture, Mapping):
            keywords = architecture.get("arch_kwargs")
            if isinstance(keywords, Mapping):
                _check(keywords, _OF_NETWORK, f"{place}architecture.arch_kwargs.", file)
                _check_size(keywords, f"{place}architecture.arch_kwargs", file)


def check_configuration_values(
    plans: Mapping[str, Any], name: str, configuration: Mapping[str, Any], channels: int, file: Path
) -> None:
    """Check that one configuration is complete, and fits the channels of its data.

    Args:
        plans: Checked plans.
        name: Name of the configuration.
        configuration: The configuration, with everything that it inherits.
        channels: How many channels the images have.
        file: The file of the plans, for messages.

    Raises:
        PlansError: If it is not complete, or does not fit.
    """
    place = f"configurations.{name}"
    _check_complete(plans, _NEEDED_OF_PLANS, "the plans", file)
    _check_complete(configuration, _NEEDED, place, file)
    if len(configuration["spacing"]) != len(configuration["patch_size"]):
        axes = f"as many numbers as patch_size, {len(configuration['patch_size'])}"
        _refuse(f"{place}.spacing", configuration["spacing"], axes, file)
    for key in ("normalization_schemes", "use_mask_for_norm"):
        given = configuration.get(key, [None] * channels)
        if len(given) != channels:
            _refuse(f"{place}.{key}", given, f"a list of {channels}, one for each channel", file)
    for channel, scheme in enumerate(configuration["normalization_schemes"]):
        _check_intensities(plans, str(channel), scheme, file)


def _check_complete(
    entries: Mapping[str, Any], needed: Sequence[str], place: str, file: Path
) -> None:
    missing = next((key for key in needed if key not in entries), None)
    if missing is not None:
        msg = f"{file}: {place} lack{'' if place == 'the plans' else 's'} {missing}; "
        msg += "plan the data set again, or use another copy"
        raise PlansError(msg)


def _check_intensities(plans: Mapping[str, Any], channel: str, scheme: Any, file: Path) -> None:
    """Check the statistics of a channel: nnU-Net looks them up whether it uses them or not."""
    key, old = (f"foreground_intensity_properties_{by}" for by in ("per_channel", "by_modality"))
    if key not in plans and old in plans:
        key = old
    statistics = plans.get(key, {}).get(channel)
    if statistics is None:
        _refuse(key, plans.get(key), f"statistics of every channel, and channel {channel}'s", file)
    if scheme != "CTNormalization":
        return
    for name in ("mean", "std", "percentile_00_5", "percentile_99_5"):
        if not _is_number(statistics.get(name)):
            _refuse(f"{key}.{channel}.{name}", statistics.get(name), "a finite number", file)


def check_description_values(dataset_json: Mapping[str, Any], file: Path) -> None:
    """Check channels, labels and regions of a `dataset.json`, as nnU-Net reads them.

    Args:
        dataset_json: Its contents.
        file: The file, for messages.

    Raises:
        PlansError: If they are of another kind than nnU-Net takes, or out of range.
    """
    key = "channel_names" if "channel_names" in dataset_json else "modality"
    names: Any = dataset_json.get(key)
    named = isinstance(names, dict) and 0 < len(names) <= _MOST_CHANNELS
    if not named or not all(map(_is_name, names.values())):
        _refuse(key, names, 'the name of every channel by its number, as {"0": "CT"}', file)
    labels: Any = dataset_json.get("labels")
    valued = isinstance(labels, dict) and 0 < len(labels) <= _MOST_LABEL
    if not valued or not all(map(_is_name, labels)) or not all(map(_is_label, labels.values())):
        fits = f"the value of every name, from 0 to {_MOST_LABEL}, or a list of them for a region"
        _refuse("labels", labels, fits, file)
    order = dataset_json.get("regions_class_order")
    if order is not None and not _is_list_of(order, _is_label_value, range(len(labels) + 1)):
        _refuse("regions_class_order", order, "a list of values of labels", file)
    _check_labels_together(labels, order, file)


def _check_labels_together(labels: Mapping[str, Any], order: list[Any] | None, file: Path) -> None:
    """Check that the classes of a network follow from the labels, as nnU-Net numbers them."""
    background = labels.get("background")
    if isinstance(background, list) or background is None or int(background) != 0:
        _refuse("labels.background", background, "0", file)
    learnt = {name: value for name, value in labels.items() if name != "ignore"}
    if any(isinstance(value, list) and len(value) > 1 for value in learnt.values()):
        if len(order or ()) != len(learnt) - 1:
            fits = f"{len(learnt) - 1} values of labels, one for each region but background"
            _refuse("regions_class_order", order, fits, file)
        return
    values = sorted({int(n) for value in learnt.values() for n in _listed(value)})
    if values != list(range(len(values))):
        _refuse("labels", labels, f"consecutive from 0 to {len(values) - 1}", file)


def _is_label(value: Any) -> bool:
    return _is_label_value(value) or _is_list_of(value, _is_label_value, range(1, _MOST_LABEL))


def _is_label_value(value: Any) -> bool:
    # nnU-Net takes "1" for 1
    return _is_whole(value, 0, _MOST_LABEL) or (
        isinstance(value, str) and len(value) < 6 and value.isascii() and value.isdigit()
    )


def _check(entries: Mapping[str, Any], rules: Mapping[str, _Rule], place: str, file: Path) -> None:
    for key, rule in rules.items():
        if key in entries and not rule.fits(entries[key]):
            _refuse(f"{place}{key}", entries[key], rule.words, file)


def _check_size(keywords: Any, place: str, file: Path) -> None:
    """Check that a network's keywords are plain and few, and that their numbers are in range."""
    waiting: list[tuple[Any, str, int]] = [(keywords, place, 0)]
    seen = 0
    while waiting:
        value, where, depth = waiting.pop()
        if isinstance(value, (dict, list)):
            seen += len(value)
            if seen > _MOST_KEYWORDS or depth > _MOST_NESTED:
                msg = f"{file}: {where} is nested too deeply, or far too long; use another copy"
                raise PlansError(msg)
            inside = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += ((inner, f"{where}.{key}", depth + 1) for key, inner in inside)
        elif not _is_plain(value) or (_is_number(value) and abs(value) > _MOST_NUMBER):
            _refuse(where, value, f"a number up to {_MOST_NUMBER}, or a short text", file)


def _refuse(place: str, value: Any, fits: str, file: Path) -> NoReturn:
    msg = f"{file}: {place} is {quoted(value)}, but must be {fits}; correct it, or use another copy"
    raise PlansError(msg)
