"""The common style of all figures, and writing them to files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from umamba.system.atomic_files import whole_file

__all__ = ["TEXT", "house_style", "save_figure"]

TEXT = "#333333"


@contextmanager
def house_style(font_size: float) -> Iterator[None]:
    """Apply our matplotlib settings within a context; earlier settings are restored afterwards.

    Args:
        font_size: Size in points.
    """
    from matplotlib import rc_context, rcdefaults, rcParams

    with rc_context():
        rcdefaults()  # nnU-Net's own plots change the fonts
        names = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
        rcParams.update(dict.fromkeys(names, TEXT))
        rcParams.update({"font.size": font_size, "svg.hashsalt": "umamba"})
        yield


def save_figure(figure: Any, *paths: Path, dpi: int) -> None:
    """Write a figure atomically; the same figure always gives the same bytes.

    Args:
        figure: A figure of matplotlib.
        paths: The files to write; each ends in `.png` or `.svg`.
        dpi: Pixels per inch.

    Raises:
        UMambaError: If a file cannot be written.
    """
    for path in paths:
        kind = path.suffix.removeprefix(".")
        metadata = {"Date": None} if kind == "svg" else None
        with whole_file(path) as partial:
            figure.savefig(partial, dpi=dpi, format=kind, metadata=metadata)
