"""The folders of a model's folds, `fold_0`, `fold_1`, ... and `fold_all`, as nnU-Net names them."""

from pathlib import Path

__all__ = ["fold_folder", "fold_name", "folders_of_folds"]

_PREFIX = "fold_"


def fold_folder(model: Path, fold: int | str) -> Path:
    """Return the folder of a fold below a model's folder."""
    return model / f"{_PREFIX}{fold}"


def fold_name(folder: Path) -> str:
    """Return the fold that a folder belongs to: its number as text, or `all`."""
    return folder.name.removeprefix(_PREFIX)


def folders_of_folds(model: Path, holding: str = "") -> list[Path]:
    """Return the folders of a model's folds in alphabetical order.

    Args:
        model: The model's folder.
        holding: A pattern of `glob`; only folders that hold such a file are returned.
    """
    folders = sorted(model.glob(f"{_PREFIX}*"))
    return [folder for folder in folders if not holding or any(folder.glob(holding))]
