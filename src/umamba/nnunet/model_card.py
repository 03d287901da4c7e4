"""The text that goes with a shared model: what it was trained on, how good it is, and for what."""

from collections.abc import Mapping
from typing import Any

from umamba.nnunet.manifest import Manifest
from umamba.nnunet.plans import Plans, resolve
from umamba.nnunet.prediction_inputs import channel_names

__all__ = ["model_card"]

_TO_COMPLETE = "*To be completed by the author of the model.*"


def model_card(manifest: Manifest, dataset_json: Mapping[str, Any], plans: Plans) -> str:
    """Return the card as Markdown.

    Args:
        manifest: What is exported.
        dataset_json: Its `dataset.json`.
        plans: Its plans.

    Returns:
        The text; what only the author knows is marked.
    """
    licence = dataset_json.get("licence") or dataset_json.get("license")
    network = resolve(plans, manifest.configuration)
    architecture = network.get("architecture", {}).get("network_class_name", "as in plans.json")
    return f"""---
library_name: nnunetv2
pipeline_tag: image-segmentation
tags: [medical-imaging, segmentation, nnunet, umamba]
---

# {manifest.dataset}: {manifest.configuration}

| | |
|---|---|
| network | `{architecture}` |
| trainer | `{manifest.trainer}` |
| plans | `{manifest.plans_name}` |
| patch size, spacing (mm) | {network["patch_size"]}, {network["spacing"]} |
| folds (epochs) | {_folds(manifest)} |
| made with | {", ".join(f"{name} {number}" for name, number in manifest.versions.items())} |

## Data

{dataset_json.get("description") or _TO_COMPLETE}

- Channels: {", ".join(map(str, channel_names(dataset_json)))}
- Labels: {", ".join(f"{name} = {value}" for name, value in dataset_json["labels"].items())}
- Training cases: {dataset_json.get("numTraining", "not known")}; files `{_ending(dataset_json)}`
- Reference: {dataset_json.get("reference") or "none given"}

## Metrics

{_metrics_table(manifest.metrics)}

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


def _folds(manifest: Manifest) -> str:
    return ", ".join(
        fold if record.epochs is None else f"{fold} ({record.epochs})"
        for fold, record in manifest.folds.items()
    )


def _ending(dataset_json: Mapping[str, Any]) -> str:
    return str(dataset_json["file_ending"])


def _metrics_table(metrics: Mapping[str, Any]) -> str:
    if not metrics:
        return f"No validation was found. {_TO_COMPLETE}"
    labels = sorted({label for fold in metrics.values() for label in fold["dice"]})
    rows = [
        [fold, str(values["cases"]), _number(values["mean_dice"])]
        + [_number(values["dice"].get(label)) for label in labels]
        for fold, values in metrics.items()
    ]
    head = ["fold", "cases", "mean Dice", *(f"label {label}" for label in labels)]
    lines = [head, ["---"] * len(head), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        "Dice on the validation cases of each fold, which its training has not seen (those of fold "
        f"`all` were trained on):\n\n{table}"
    )


def _number(value: float | None) -> str:
    return "not in any case" if value is None else f"{value:.4f}"
