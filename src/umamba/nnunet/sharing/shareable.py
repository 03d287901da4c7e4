"""Select what is shared of plans and dataset.json: known keys, with values of known kinds."""

import inspect
import pydoc
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn

from umamba.errors import PlansError, quoted
from umamba.nnunet.trust import find_network

__all__ = ["Sieve", "names_local_path"]

_NAME = re.compile(r"[\w.+-]+( [\w.+-]+)*")
_ENDING = re.compile(r"(\.[A-Za-z0-9]+)+")
_DIGITS = re.compile(r"\d{1,5}", re.ASCII)
_SHORTEST_CASE_ID = 4  # shorter ones are also words
_STATISTICS = ("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std")
_OF_RESAMPLING = (
    *("is_seg", "order", "order_z", "force_separate_z", "separate_z_anisotropy_threshold"),
    *("mode", "aniso_axis_mode", "num_threads", "memefficient_seg_resampling"),
)
# Those that nnU-Net's planners write: some networks take them without declaring them.
_OF_ANY_NETWORK = (
    *("n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides", "conv_bias"),
    *("n_conv_per_stage", "n_blocks_per_stage", "n_conv_per_stage_decoder", "norm_op"),
    *("norm_op_kwargs", "dropout_op", "dropout_op_kwargs", "nonlin", "nonlin_kwargs"),
)

_FREE_TEXTS = ("name", "description", "reference", "release", "licence", "license")

_WEB = re.compile(
    r"\b(?:https?|ftp)://(?!localhost\b|127\.|10\.|192\.168\.)[\w-]+(?:\.[\w-]+)+", re.IGNORECASE
)
_LOCAL_PATH = re.compile(
    r"""
    (?:^|[^\w/.])/(?=[\w.~-])             # /home, also in "data=/home/anna"
    | (?:^|[^\w.])\.{1,2}[/\\]            # ../scans
    | (?:^|\W)~[\w.-]*[/\\]               # ~/scans, ~anna/scans
    | (?<![A-Za-z])[A-Za-z]:[/\\]         # C:\scans
    | \\\\[\w.] | [\w.%]\\[\w.]           # \\server, home\anna
    | \$\{?[A-Z_]\w*\}?[/\\]             # $HOME/scans
    | (?<![\w/])(?:home|users|mnt|scratch|volumes)/\w
    | \bfile: | \b[a-z][a-z0-9+.-]*://    # addresses that are not of the web
    """,
    re.VERBOSE | re.IGNORECASE,
)

_Rule = Callable[[Any, str], Any]


def names_local_path(text: str) -> bool:
    """Return whether a text contains anything that looks like a path of a machine."""
    return _LOCAL_PATH.search(_WEB.sub("web", text)) is not None


class Sieve:
    """A filter that returns the shared entries of one file, and remembers the others.

    Args:
        file: The file, for messages.
        case_ids: Cases that texts must not name.

    Attributes:
        left_out: Places of the entries that are not shared.
    """

    def __init__(self, file: Path, case_ids: Collection[str] = ()) -> None:
        self.file = file
        self.left_out: list[str] = []
        found = sorted(re.escape(name) for name in case_ids if len(name) >= _SHORTEST_CASE_ID)
        self._case_ids = re.compile(rf"(?<!\w)(?:{'|'.join(found)})(?!\w)") if found else None

    def plans(self, plans: Mapping[str, Any]) -> dict[str, Any]:
        """Return the plans that are shared.

        Raises:
            PlansError: If what a model needs is not of a known kind.
        """
        names = (
            *("dataset_name", "plans_name", "image_reader_writer", "label_manager"),
            "experiment_planner_used",
        )
        plain = (
            *("original_median_spacing_after_transp", "original_median_shape_after_transp"),
            *("transpose_forward", "transpose_backward"),
        )
        statistics = (
            "foreground_intensity_properties_per_channel",
            "foreground_intensity_properties_by_modality",
        )
        rules: dict[str, _Rule] = dict.fromkeys(names, self._name)
        rules |= dict.fromkeys(plain, self._plain) | dict.fromkeys(statistics, self._statistics)
        return self._pick(plans, rules | {"configurations": self._configurations}, "")

    def description(self, dataset_json: Mapping[str, Any]) -> dict[str, Any]:
        """Return the `dataset.json` that is shared.

        Raises:
            PlansError: If what a model needs is not of a known kind, or a name in it is private.
        """
        shared = {
            key: value
            for key, value in dataset_json.items()
            if key not in _FREE_TEXTS or self._is_public(value, key)
        }
        rules: dict[str, _Rule] = {
            "channel_names": self._channels,
            "modality": self._channels,
            "labels": self._labels,
            "regions_class_order": self._plain,
            "numTraining": self._plain,
            "file_ending": self._ending,
            "overwrite_image_reader_writer": self._name,
        }
        rules |= dict.fromkeys(_FREE_TEXTS, lambda text, _: text)
        return self._pick(shared, rules, "")

    def _pick(self, content: Any, rules: Mapping[str, _Rule], place: str) -> dict[str, Any]:
        """Return the entries that have a rule, each as its rule returns it."""
        if not isinstance(content, Mapping):
            self._refuse(place.rstrip("."), content, "entries by name")
        self.left_out += [f"{place}{key}" for key in content if key not in rules]
        return {
            key: rules[key](value, f"{place}{key}")
            for key, value in content.items()
            if key in rules
        }

    def _is_public(self, text: Any, place: str) -> bool:
        """Return whether a text that no model needs can be shared; note it if not."""
        is_public = (
            isinstance(text, str)
            and not names_local_path(text)
            and not (self._case_ids and self._case_ids.search(text))
        )
        if not is_public:
            self.left_out.append(f"{place} (it names a file, a folder or a case)")
        return is_public

    def _configurations(self, configurations: Any, place: str) -> dict[str, Any]:
        return {
            str(self._name(name, f"a name in {place}")): self._configuration(
                entry, f"{place}.{name}."
            )
            for name, entry in configurations.items()
        }

    def _configuration(self, configuration: Mapping[str, Any], place: str) -> dict[str, Any]:
        names = (
            *("data_identifier", "preprocessor_name", "inherits_from", "previous_stage"),
            *("resampling_fn_data", "resampling_fn_seg", "resampling_fn_probabilities"),
            *("normalization_schemes", "next_stage", "UNet_class_name"),
        )
        plain = (
            *("batch_size", "patch_size", "median_image_size_in_voxels", "spacing", "batch_dice"),
            *("use_mask_for_norm", "UNet_base_num_features", "unet_max_num_features"),
            *("n_conv_per_stage_encoder", "n_conv_per_stage_decoder", "num_pool_per_axis"),
            *("pool_op_kernel_sizes", "conv_kernel_sizes"),
        )
        resampling = (
            *("resampling_fn_data_kwargs", "resampling_fn_seg_kwargs"),
            "resampling_fn_probabilities_kwargs",
        )
        rules: dict[str, _Rule] = dict.fromkeys(names, self._names)
        rules |= dict.fromkeys(plain, self._plain) | dict.fromkeys(resampling, self._resampling)
        return self._pick(configuration, rules | {"architecture": self._architecture}, place)

    def _resampling(self, keywords: Any, place: str) -> dict[str, Any]:
        return self._pick(keywords, dict.fromkeys(_OF_RESAMPLING, self._value), f"{place}.")

    def _architecture(self, architecture: Any, place: str) -> dict[str, Any]:
        network = find_network(architecture.get("network_class_name"))
        if network is None:
            self._refuse(
                f"{place}.network_class_name",
                architecture.get("network_class_name"),
                "a class that can be imported here, which tells what its keywords are",
            )
        known = {name for base in network.__mro__ for name in _parameters(base)}
        keywords = architecture["arch_kwargs"]

        def shared_keywords(content: Any, place: str) -> dict[str, Any]:
            rules: dict[str, _Rule] = dict.fromkeys({*known, *_OF_ANY_NETWORK}, self._value)
            for key in rules:
                if key.endswith("_kwargs"):
                    rules[key] = self._keywords_of(keywords.get(key.removesuffix("_kwargs")))
            return self._pick(content, rules, f"{place}.")

        rules = {
            "network_class_name": self._name,
            "arch_kwargs": shared_keywords,
            "_kw_requires_import": self._names,
        }
        return self._pick(architecture, rules, f"{place}.")

    def _keywords_of(self, module: Any) -> _Rule:
        """Return the rule for the keywords of a module, which are those that it takes."""
        found = pydoc.locate(module) if isinstance(module, str) else None
        rules = dict.fromkeys(_parameters(found), self._value)

        def shared_keywords(content: Any, place: str) -> dict[str, Any] | None:
            return None if content is None else self._pick(content, rules, f"{place}.")

        return shared_keywords

    def _statistics(self, channels: Any, place: str) -> dict[str, Any]:
        rules = dict.fromkeys(_STATISTICS, self._plain)
        return {
            self._channel(channel, place): self._pick(entries, rules, f"{place}.{channel}.")
            for channel, entries in channels.items()
        }

    def _channels(self, names: Any, place: str) -> dict[str, str]:
        return {
            self._channel(channel, place): self._label(name, f"{place}.{channel}")
            for channel, name in names.items()
        }

    def _channel(self, channel: Any, place: str) -> str:
        if not _DIGITS.fullmatch(str(channel)):
            self._refuse(f"a channel in {place}", channel, "a number")
        return str(channel)

    def _labels(self, labels: Any, place: str) -> dict[str, Any]:
        return {
            self._label(name, f"a name in {place}"): self._plain(value, f"{place}.{name}")
            for name, value in labels.items()
        }

    def _label(self, name: Any, place: str) -> str:
        if not isinstance(name, str) or names_local_path(name):
            self._refuse(place, name, "a name that does not look like a path of this machine")
        return name

    def _ending(self, ending: Any, place: str) -> str:
        if not isinstance(ending, str) or not _ENDING.fullmatch(ending):
            self._refuse(place, ending, "an ending such as .nii.gz")
        return ending

    def _name(self, name: Any, place: str) -> str | None:
        if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
            self._refuse(place, name, "a name")
        return name

    def _names(self, names: Any, place: str) -> Any:
        if isinstance(names, list):
            return [self._name(name, place) for name in names]
        return self._name(names, place)

    def _plain(self, value: Any, place: str) -> Any:
        """Return a number, true, false, null, or a list of such; a number may be in quotes."""
        if isinstance(value, list):
            return [self._plain(item, place) for item in value]
        is_number = isinstance(value, str) and _DIGITS.fullmatch(value)
        if not is_number and value is not None and not isinstance(value, (bool, int, float)):
            self._refuse(place, value, "a number, or a list of numbers")
        return value

    def _value(self, value: Any, place: str) -> Any:
        if isinstance(value, list):
            return [self._value(item, place) for item in value]
        return self._name(value, place) if isinstance(value, str) else self._plain(value, place)

    def _refuse(self, place: str, value: Any, fits: str) -> NoReturn:
        msg = (
            f"{self.file}: {place} is {quoted(value)}, which is not shared: it must be {fits}; "
            "change it there"
        )
        raise PlansError(msg)


def _parameters(function: Any) -> tuple[str, ...]:
    """Return the names of the keywords that a class takes."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # no class, or one that does not tell
        return ()
    return tuple(p.name for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
