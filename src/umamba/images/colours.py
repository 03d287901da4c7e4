"""Colours of pictures as channels, as far as nnU-Net reads them."""

from pathlib import Path

import numpy as np

from umamba.images.contents import Array, LoadedImage

__all__ = ["DROPPED_ALPHA_NOTE", "colours_first"]

DROPPED_ALPHA_NOTE = "the alpha channel is constant and is left out"


def colours_first(
    path: Path, array: Array, departure: str = "", notes: tuple[str, ...] = ()
) -> LoadedImage:
    """Move colours to the front, without an alpha channel that is constant."""
    if array.ndim == 2:
        return LoadedImage(path, array[None], departure=departure, notes=notes)
    array = np.moveaxis(array, -1, 0)
    alpha = array[-1]
    if len(array) in (2, 4) and (alpha == alpha.flat[0]).all():
        departure = departure or "nnU-Net reads the alpha channel as well"
        return LoadedImage(
            path, array[:-1], departure=departure, notes=(*notes, DROPPED_ALPHA_NOTE)
        )
    if len(array) not in (3, 4):
        departure = departure or f"nnU-Net does not read {len(array)} channels from one file"
    return LoadedImage(path, array, departure=departure, notes=notes)
