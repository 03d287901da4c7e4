"""The look that all figures share, and how they become files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from umamba.system.atomic_files import whole_file

__all__ = ["TEXT", "house_style", "save_figure"]

TEXT = "#333333"


@contextmanager
def house_style(font_size: float) -> Iterator[None]:
    """Draw with our settings inside, whatever others have set; they are back afterwards.

    Args:
        font_size: In points.
    """
    from matplotlib import rc_context, rcdefaults, rcParams

    with rc_context():
        rcdefaults()  # nnU-Net's own plots leave other fonts behind
        names = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
        rcParams.update(dict.fromkeys(names, TEXT))
        rcParams.update({"font.size": font_size, "svg.hashsalt": "umamba"})
        yield


def save_figure(figure: Any, *paths: Path, dpi: int) -> None:
    """Write a figure atomically, the same bytes for the same figure.

    Args:
        figure: Of matplotlib.
        paths: Where to; each ends in `.png` or `.svg`.
        dpi: Pixels per inch.

    Raises:
        UMambaError: If it cannot be written.
    """
    for path in paths:
        kind = path.suffix.removeprefix(".")
        metadata = {"Date": None} if kind == "svg" else None
        with whole_file(path) as partial:
            figure.savefig(partial, dpi=dpi, format=kind, metadata=metadata)
