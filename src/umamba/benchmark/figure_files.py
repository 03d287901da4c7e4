"""The look that our figures share, and how they become files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


def save_figure(figure: Any, path: Path, dpi: int) -> None:
    """Write a figure, the same bytes for the same figure.

    Args:
        figure: Of matplotlib.
        path: Ends in `.png` or `.svg`.
        dpi: Pixels per inch.
    """
    figure.savefig(path, dpi=dpi, metadata={"Date": None} if path.suffix == ".svg" else None)
