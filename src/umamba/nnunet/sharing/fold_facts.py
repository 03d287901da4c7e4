"""The cases that a fold was trained on, and for how long, as far as its folder tells."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umamba.errors import UMambaError
from umamba.nnunet.fold_folders import fold_name
from umamba.system.json_files import load_json_list
from umamba.system.numerals import whole_number

__all__ = ["count_cases", "count_iterations"]

# nnU-Net writes it into the log of every training.
_SPLIT = re.compile(r"split has (\d{1,9}) training and (\d{1,9}) validation cases", re.ASCII)
_STOCK_EPOCH = 250  # iterations of nnU-Net's own trainer


def count_cases(
    folder: Path, dataset_json: Mapping[str, Any], splits: Path | None
) -> tuple[int | None, int | None]:
    """Return how many cases a fold was trained on, and how many it was validated on.

    Args:
        folder: The fold's folder.
        dataset_json: The data set's description.
        splits: The data set's splits, which are used if the logs are gone.

    Returns:
        The two numbers; `None` if they are not known.
    """
    for log in sorted(folder.glob("training_log_*.txt"), reverse=True):
        found = _SPLIT.findall(log.read_text(encoding="utf-8", errors="replace"))
        if found:
            return int(found[-1][0]), int(found[-1][1])
    fold = fold_name(folder)
    if fold == "all":  # validated on what it was trained on
        count = dataset_json.get("numTraining")
        return count, count
    number = whole_number(fold)
    try:
        split = load_json_list(splits)[number] if splits and number is not None else {}
        return len(split["train"]), len(split["val"])
    except (UMambaError, LookupError, TypeError):
        return None, None


def count_iterations(checkpoint: Mapping[str, Any], trainer: str) -> int | None:
    """Return how many iterations a checkpoint was trained for; `None` if that is not known.

    Args:
        checkpoint: Its contents.
        trainer: The trainer that the model's folder is named after.
    """
    per_epoch = (checkpoint.get("umamba") or {}).get("iterations_per_epoch")
    if per_epoch is None and trainer == "nnUNetTrainer":
        per_epoch = _STOCK_EPOCH
    epochs = checkpoint.get("current_epoch")
    return None if epochs is None or per_epoch is None else int(epochs) * int(per_epoch)
