"""The front matter of a model card, as the Hugging Face hub reads it: licence, task and results."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from statistics import fmean, stdev
from typing import Any

from umamba.errors import ModelFileError, quoted
from umamba.nnunet.sharing.manifest import Manifest

__all__ = ["Validation", "check_for_hub", "front_matter", "validate"]

log = logging.getLogger(__name__)

# Of the licences that the hub knows by a name, those of data sets and of models like ours.
_LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "pddl", "unlicense"),
    *("gpl-2.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "odbl", "odc-by"),
    *("cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0"),
    *("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0"),
    *("cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
)
_ALIASES = {
    "cc0": "cc0-1.0",
    "creative-commons-attribution-4.0": "cc-by-4.0",
    "creative-commons-zero-1.0": "cc0-1.0",
}
_FILLERS = {"the", "license", "licence", "version", "international", "universal"}
_LONGEST_ID = 64  # of a licence's name


@dataclass(frozen=True)
class Validation:
    """Dice over the validation cases of all folds, each case as the mean over its labels.

    Attributes:
        n_cases: Number of cases that have one.
        mean: Their mean.
        low: Lower end of its 95 % interval (t distribution over cases); nan for a single case.
        high: Upper end.
    """

    n_cases: int
    mean: float
    low: float
    high: float


def validate(summaries: Mapping[str, Mapping[str, Any]]) -> Validation | None:
    """Return the validation of a model from nnU-Net's summaries.

    Args:
        summaries: The `summary.json` of each fold; that of fold `all`, which has seen its cases, is
            left out.

    Returns:
        Mean and interval; `None` if no case has a Dice.
    """
    scores = [
        score
        for fold, summary in summaries.items()
        if fold != "all"
        for case in summary["metric_per_case"]
        if isfinite(score := _dice(case.get("metrics", {})))
    ]
    if not scores:
        return None
    mean, low, high = fmean(scores), nan, nan
    if len(scores) > 1:
        from scipy import stats

        n = len(scores)
        reach = float(stats.t.ppf(0.975, n - 1)) * stdev(scores) / n**0.5
        low, high = max(mean - reach, 0.0), min(mean + reach, 1.0)
    return Validation(len(scores), mean, low, high)


def _dice(of_labels: Mapping[str, Mapping[str, float]]) -> float:
    known = [float(m["Dice"]) for m in of_labels.values() if isfinite(m.get("Dice", nan))]
    return fmean(known) if known else nan


def front_matter(
    manifest: Manifest, licence: str | None, validation: Validation | None, tags: Sequence[str]
) -> str:
    """Return the front matter between its lines, in YAML.

    Args:
        manifest: The manifest of the exported model.
        licence: The licence of the data, as `dataset.json` names it; `None` if it names none.
        validation: Dice on the validation cases; `None` if there was no validation.
        tags: Tags by which the hub finds the model.
    """
    known = {
        "library_name": "nnunet",
        "pipeline_tag": "image-segmentation",
        "tags": list(tags),
        **_licence(licence),
        **({} if validation is None else {"model-index": [_results(manifest, validation)]}),
    }
    # JSON is YAML; what is in quotes stays text.
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in known.items()]
    return "\n".join(["---", *lines, "---"])


def _licence(licence: str | None) -> dict[str, str]:
    if not licence:
        return {}
    address = re.search(r"https?://[^\s<>\"')]+", licence)
    name = _id(licence.replace(address[0], "") if address else licence)
    short = "-".join(word for word in name.split("-") if word not in _FILLERS)
    for known in (short, _ALIASES.get(short)):
        if known in _LICENCES:
            return {"license": known}
    link = {"license_link": address[0].rstrip(".,;")} if address else {}
    return {"license": "other", "license_name": name or "other", **link}


def _id(licence: str) -> str:
    """Return the name of a licence as the hub has them: `cc-by-4.0`."""
    return re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-.")[:_LONGEST_ID]


def _results(manifest: Manifest, validation: Validation) -> dict[str, Any]:
    metric: dict[str, Any] = {"type": "dice", "value": round(validation.mean, 4)}
    n_cases = validation.n_cases
    said = f"mean Dice of {n_cases} case{'s' * (n_cases != 1)}"
    if isfinite(validation.low):
        interval = [round(validation.low, 4), round(validation.high, 4)]
        said += f", 95 % interval {interval[0]:.4f} to {interval[1]:.4f}"
        metric["args"] = {"confidence_interval_95": interval, "n_cases": n_cases}
    return {
        "name": f"{manifest.dataset} {manifest.folder_name}",
        "results": [
            {
                "task": {"type": "image-segmentation"},
                "dataset": {
                    "type": manifest.dataset,
                    "name": f"{manifest.dataset}, validation cases of cross-validation",
                },
                "metrics": [{**metric, "name": said}],
            }
        ],
    }


def check_for_hub(licence: str | None, validation: Validation | None) -> None:
    """Check that a card has what people look for on the hub.

    Args:
        licence: The licence of the data, as `dataset.json` names it; `None` if it names none. One
            that the hub does not know by name, and that has no address, is noted.
        validation: Dice on the validation cases; `None` if there was no validation.

    Raises:
        ModelFileError: If it has no licence, or no validation.
    """
    if not licence:
        msg = (
            "the hub's card needs a licence, and dataset.json names none; add "
            '"licence": "CC BY 4.0", or whichever it is, to the one in the model\'s folder'
        )
        raise ModelFileError(msg)
    if validation is None:
        msg = (
            "the hub's card needs the Dice of a validation, and the folds to export have none; "
            "validate one, as `nnUNetv2_train ... --val` does, or leave out --hub-card"
        )
        raise ModelFileError(msg)
    found = _licence(licence)
    if found["license"] == "other" and "license_link" not in found:
        log.warning(
            "note: the hub does not know the licence %s; add its address as license_link to the "
            "card, or behind its name in dataset.json",
            quoted(licence),
        )
