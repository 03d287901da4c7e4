"""What segmentations in a folder were made with: a rerun adds only to those of the same model."""

import hashlib
import json
from pathlib import Path
from typing import Any

from umamba import __version__
from umamba.errors import UMambaError

__all__ = ["check_record", "write_record"]

_RECORD = "umamba_prediction.json"


def _record(predictor: Any) -> dict[str, Any]:
    digest = hashlib.sha256()
    for weights in predictor.list_of_parameters:
        for name in sorted(weights):
            digest.update(name.encode())
            digest.update(weights[name].detach().cpu().contiguous().flatten().numpy().data)
    return {
        "weights_sha256": digest.hexdigest(),
        "models": len(predictor.list_of_parameters),
        "step_size": predictor.tile_step_size,
        "mirroring": predictor.use_mirroring,
        # of a UNet++, which can be pruned
        "depth": getattr(getattr(predictor.network, "decoder", None), "depth", None),
    }


def check_record(predictor: Any, output: Path) -> None:
    """Check that a folder with segmentations holds those of this model with these settings.

    Args:
        predictor: nnU-Net's predictor.
        output: The folder.

    Raises:
        UMambaError: If it does not; a folder without a record is believed.
    """
    path = output / _RECORD
    try:
        there = json.loads(path.read_text())
        differing = [key for key, value in _record(predictor).items() if there[key] != value]
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        msg = f"{path} is damaged; give another -o, or --overwrite to predict all cases anew"
        raise UMambaError(msg) from None
    if differing:
        msg = (
            f"the segmentations in {output} were made with other settings ({', '.join(differing)} "
            "differ); give another -o, or --overwrite to predict all cases anew"
        )
        raise UMambaError(msg)


def write_record(predictor: Any, output: Path) -> None:
    """Write the record, and beside it what nnU-Net's postprocessing looks for.

    Args:
        predictor: nnU-Net's predictor.
        output: The folder; made if need be.
    """
    output.mkdir(parents=True, exist_ok=True)
    contents = {
        "dataset.json": predictor.dataset_json,
        "plans.json": predictor.plans_manager.plans,
        _RECORD: {"umamba": __version__, **_record(predictor)},
    }
    for name, content in contents.items():
        partial = output / f".umamba-partial-{name}"
        partial.write_text(json.dumps(content, indent=2) + "\n")
        partial.replace(output / name)
