"""The text that goes with a shared model: its data, its quality and its purpose."""

from collections.abc import Mapping, Sequence
from typing import Any

from umamba.datasets.description import channel_names, names_by_values, values_of
from umamba.images.file_names import GEOMETRY_ENDINGS
from umamba.nnunet.plans.derivation import Plans, resolve
from umamba.nnunet.sharing.hub_metadata import Validation, front_matter
from umamba.nnunet.sharing.manifest import Manifest
from umamba.onnx_export import NEAR_TIE, TOLERANCE
from umamba.recipes import RECIPES
from umamba.reporting.tables import markdown_table
from umamba.runtime.pipeline import NetworkFile
from umamba.system.terminal import one_line

__all__ = ["licence_of", "model_card"]

_TAGS = ("medical-imaging", "segmentation", "nnunet", "umamba")
_TO_COMPLETE = "*To be completed by the author of the model.*"


def model_card(
    manifest: Manifest,
    dataset_json: Mapping[str, Any],
    plans: Plans,
    validation: Validation | None = None,
    networks: Sequence[NetworkFile] = (),
) -> str:
    """Return the card as Markdown.

    Args:
        manifest: The manifest of the exported model.
        dataset_json: Its `dataset.json`.
        plans: Its plans.
        validation: Dice on the validation cases; `None` if there was no validation.
        networks: Its ONNX files.

    Returns:
        The text; what only the author knows is marked.
    """
    licence = licence_of(dataset_json)
    network = resolve(plans, manifest.configuration)
    axes = _axes(plans, len(network["patch_size"]))
    architecture = network.get("architecture", {}).get("network_class_name", "as in plans.json")
    return f"""{front_matter(manifest, licence, validation, _TAGS)}

# {manifest.dataset}: {manifest.configuration}

| | |
|---|---|
| network | `{architecture}` |
| trainer | `{manifest.trainer}`{_recipe(manifest.trainer)} |
| plans | `{manifest.plans_name}` |
| patch size in voxels ({axes}) | {_by_axis(network["patch_size"])} |
| spacing in {_unit(dataset_json)} ({axes}) | {_by_axis(network["spacing"])} |
| made with | {", ".join(f"{name} {number}" for name, number in manifest.versions.items())} |

## Data

{dataset_json.get("description") or _TO_COMPLETE}

- Channels: {", ".join(map(str, channel_names(dataset_json)))}
- Labels: {", ".join(f"{name} = {value}" for name, value in dataset_json["labels"].items())}
- Cases in the data set: {_count(dataset_json.get("numTraining"))}; files `{_ending(dataset_json)}`
- Reference: {dataset_json.get("reference") or "none given"}

## Training

{_folds_table(manifest)}

## Metrics

{_metrics_table(manifest.metrics, dataset_json)}
{_networks(networks)}
## Intended use

Research on images of the kind named above: same modality, channels and region of the body.
{_TO_COMPLETE}

## Limits

Not a medical device. It has not been tested on data of other scanners, sites or patients than those
it was trained and validated on; look at every segmentation before you rely on it. {_TO_COMPLETE}

## Use

```bash
umamba install THIS_FOLDER_OR_ZIP
umamba predict -m THIS_FOLDER_OR_ZIP -i IMAGES -o OUTPUT
```

`manifest.json` lists checksums; they show damage, not who made the model. This file has none, so
that it can be completed.

## Licence

{licence or _TO_COMPLETE}
"""


def licence_of(dataset_json: Mapping[str, Any]) -> str | None:
    """Return the licence that a `dataset.json` names, if it does."""
    named = dataset_json.get("licence") or dataset_json.get("license")
    return None if not named else one_line(named)


def _recipe(trainer: str) -> str:
    """Return the recipe that a trainer follows; nothing if it is not one of ours."""
    recipe = next((recipe for recipe in RECIPES.values() if recipe.trainer == trainer), None)
    return "" if recipe is None else f": {recipe.optimizer} as in {recipe.source}"


def _axes(plans: Plans, n_axes: int) -> str:
    """Return the names of the network's axes, whose order may differ from the image's."""
    order = plans.get("transpose_forward", range(3))
    return ", ".join([["z", "y", "x"][axis] for axis in order][-n_axes:])


def _by_axis(values: Sequence[int | float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _unit(dataset_json: Mapping[str, Any]) -> str:
    reader = dataset_json.get("overwrite_image_reader_writer")
    has_unit = _ending(dataset_json) in GEOMETRY_ENDINGS or reader == "Tiff3DIO"
    return "mm" if has_unit else "pixels"


def _folds_table(manifest: Manifest) -> str:
    columns = ("training_cases", "validation_cases", "epochs", "iterations")
    rows = [
        [fold, *(_count(getattr(record, column)) for column in columns)]
        for fold, record in manifest.folds.items()
    ]
    head = ["fold", *(column.replace("_", " ") for column in columns)]
    return "\n".join(markdown_table([head, *rows], texts=(0,)))


def _count(number: int | None) -> str:
    return "not known" if number is None else str(number)


def _ending(dataset_json: Mapping[str, Any]) -> str:
    return str(dataset_json["file_ending"])


def _metrics_table(metrics: Mapping[str, Any], dataset_json: Mapping[str, Any]) -> str:
    if not metrics:
        return f"No validation was found. {_TO_COMPLETE}"
    names = names_by_values(dataset_json)
    found = sorted({label for fold in metrics.values() for label in fold["dice"]}, key=values_of)
    rows = [
        [fold, str(values["cases"]), _number(values["mean_dice"])]
        + [_number(values["dice"].get(label)) for label in found]
        for fold, values in metrics.items()
    ]
    columns = [names.get(values_of(label), f"label {label}") for label in found]
    table = markdown_table([["fold", "cases", "mean Dice", *columns], *rows], texts=(0,))
    return (
        "Dice on the validation cases of each fold, which its training has not seen (those of fold "
        "`all` were trained on):\n\n" + "\n".join(table)
    )


def _networks(networks: Sequence[NetworkFile]) -> str:
    """Return the section on ONNX files; nothing if there are none."""
    if not networks:
        return ""
    rows = [
        [
            f"`{network.file}`",
            engine,
            "-" if engine == "torch" else f"{check.largest_difference:.1e}",
            f"{check.seconds:.2g}",
            "-" if check.differing_voxels is None else f"{check.differing_voxels:,}",
        ]
        for network in networks
        for engine, check in network.checks.items()
    ]
    head = ["file", "engine", "largest difference", "seconds per patch", "voxels that differ"]
    return f"""
## ONNX

Compared with torch on a patch of random numbers, and one of the training data where they were at
hand: the largest difference of two logits, relative to the largest logit of the patch; at most
{TOLERANCE:g} was allowed. Labels of a patch can differ only where two logits are closer than twice
that.
{_whole_case(networks)}{_other_patches(networks)}

{chr(10).join(markdown_table([head, *rows], texts=(0, 1)))}
"""


def _whole_case(networks: Sequence[NetworkFile]) -> str:
    """Return how labels were compared; nothing if they were not."""
    case = networks[0].case
    if case is None:
        return ""
    return (
        f"The last column counts voxels of {case.origin} ({case.voxels:,} voxels; patches did not "
        "overlap,\nnor were they mirrored) with another label than by torch; there two logits are "
        f"closer than {NEAR_TIE:.2g} of\nthe largest, as they are kept in half precision.\n"
    )


def _other_patches(networks: Sequence[NetworkFile]) -> str:
    sizes = {_by_axis(network.other_patch) for network in networks if network.other_patch}
    if not sizes or not all(network.other_patch for network in networks):
        return (
            "The files take batches of any size, of patches of the size above alone; two at once "
            "were compared, too."
        )
    tried = " and ".join(sorted(sizes))
    return (
        "They take batches and patches of any size that the strides divide; two patches at once of "
        f"{tried} voxels were compared in the same way."
    )


def _number(value: float | None) -> str:
    return "not in any case" if value is None else f"{value:.4f}"
