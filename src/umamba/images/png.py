"""Read and write PNG: grey, colour, and masks as indices of a palette."""

from pathlib import Path

import numpy as np

from umamba.images.colours import colours_first
from umamba.images.contents import Array, FileToRead, Geometry, LoadedImage

__all__ = ["COLOUR_PNG_NOTE", "read", "write"]

COLOUR_PNG_NOTE = "of 16-bit colour PNG nnU-Net reads 8 bits"


def read(file: FileToRead) -> LoadedImage:
    """Read all pixels of a file; of a mask the indices of its palette, if it has one."""
    from PIL import Image
    from skimage.io import imread

    path = file.path
    with Image.open(path) as picture:
        is_indexed = file.is_mask and picture.mode == "P"
        indices = np.asarray(picture) if is_indexed else None
    array = imread(path) if indices is None else indices
    with path.open("rb") as stream:
        bit_depth, colour_type = stream.read(26)[24:26]
    notes = (COLOUR_PNG_NOTE,) if bit_depth == 16 and colour_type != 0 else ()
    departure = "nnU-Net reads the colours of its palette" if is_indexed else ""
    return colours_first(path, array, departure, notes)


def write(path: Path, array: Array, _geometry: Geometry | None) -> None:
    """Write one 2D image without loss; colours go last."""
    from skimage.io import imsave

    imsave(path, array, check_contrast=False)
