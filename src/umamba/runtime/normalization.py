"""Normalise the intensities of a channel as nnU-Net does, to the last bit.

Source: the definitions of nnU-Net v2's `preprocessing/normalization` (Isensee et al. 2021,
doi:10.1038/s41592-020-01008-z, Apache-2.0), in its order of operations and in float32.
"""

import numpy as np
import numpy.typing as npt

from umamba.errors import DatasetError
from umamba.runtime.pipeline import Channel, Fingerprint

__all__ = ["normalize"]

_LEAST = 1e-8


def normalize(
    image: npt.NDArray[np.float32], channel: Channel, mask: npt.NDArray[np.bool_] | None
) -> None:
    """Normalise a channel in place.

    Args:
        image: The channel, of any shape.
        channel: How it is normalised.
        mask: The voxels that a z-score within a mask is of; the others stay as they are.

    Raises:
        DatasetError: If colours are not from 0 to 255.
    """
    if channel.fingerprint is not None and channel.normalization == "CTNormalization":
        _clip_and_scale(image, channel.fingerprint)
    elif channel.normalization == "ZScoreNormalization":
        _score(image, mask if channel.within_mask else None)
    elif channel.normalization == "RescaleTo01Normalization":
        image -= image.min()
        image /= max(image.max(), _LEAST)
    elif channel.normalization == "RGBTo01Normalization":
        if image.min() < 0 or image.max() > 255:
            msg = f"channel {channel.name} has values outside of 0 to 255, so it is not a colour"
            raise DatasetError(msg)
        image /= 255.0


def _clip_and_scale(image: npt.NDArray[np.float32], fingerprint: Fingerprint) -> None:
    np.clip(image, fingerprint.lower, fingerprint.upper, out=image)
    image -= fingerprint.mean
    image /= max(fingerprint.standard_deviation, _LEAST)


def _score(image: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_] | None) -> None:
    if mask is None:
        mean, deviation = image.mean(), image.std()
        image -= mean
        image /= max(deviation, _LEAST)
        return
    inside = image[mask]
    image[mask] = (inside - inside.mean()) / max(inside.std(), _LEAST)
