"""Scans for the demonstration: real MRI from a Python package, made hard enough to need context.

The images are the MNI152 template that nilearn ships: the average of the T1-weighted MRI of 152
people, not a patient, with maps of how probable grey and white matter are (ICBM 2009a, symmetric;
copyright Louis Collins, McGill; free to use, copy, modify and distribute). On the template itself
two thresholds are nearly perfect. Every scan therefore gets what real scanners add: a smooth bias
field of its own, and noise.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.errors import UMambaError

__all__ = [
    "HELD_OUT",
    "LABELS",
    "TRAINING",
    "Brain",
    "Slab",
    "add_noise",
    "bias_field",
    "gap_mm",
    "load_brain",
    "read_volume",
    "simulate_scan",
    "write_scans",
]

Volume = npt.NDArray[Any]

LABELS = {"grey_matter": 1, "white_matter": 2}
VOXEL_MM = 2

# What the scanner adds. Wavelengths as long as a head keep the field smooth.
BIAS_STRENGTH = 0.4
BIAS_SHORTEST_WAVE_MM = 140.0
NOISE = 0.02

_MARGIN = 4  # voxels of background kept around the brain


@dataclass(frozen=True)
class Slab:
    """A part of the brain between two coronal planes.

    Args:
        first_mm: Where it begins, in MNI millimetres from the anterior commissure; back is
            negative.
        last_mm: Where it ends.
    """

    first_mm: int
    last_mm: int

    def indices(self, affine: Volume) -> slice:
        """Return the slices of the second axis that lie in the slab."""
        origin, step = float(affine[1, 3]), float(affine[1, 1])
        first = round((self.first_mm - origin) / step)
        return slice(max(0, first), round((self.last_mm - origin) / step) + 1)


# The template is symmetric, so the halves left and right of the midline would be the same brain
# twice. Front and back are not; the six slices between them are used by neither.
TRAINING = Slab(-114, 2)
HELD_OUT = Slab(16, 78)


def gap_mm() -> int:
    """Return how much of the brain lies between the two parts."""
    return HELD_OUT.first_mm - TRAINING.last_mm - VOXEL_MM


@dataclass(frozen=True)
class Brain:
    """The template; axes run from left to right, from back to front, and from below upwards."""

    image: Volume
    labels: Volume
    affine: Volume

    def cut(self, slab: Slab) -> "Brain":
        """Return one slab, as wide as the brain and as high as the brain in it."""
        span = slab.indices(self.affine)
        inside: Volume = self.labels > 0
        x = _extent(np.any(inside, axis=(1, 2)))
        z = _extent(np.any(inside[:, span], axis=(0, 1)))
        affine = self.affine.copy()
        corner = np.array([x.start, span.start, z.start])
        affine[:3, 3] = self.affine[:3, :3] @ corner + self.affine[:3, 3]
        return Brain(self.image[x, span, z], self.labels[x, span, z], affine)


def load_brain() -> Brain:
    """Read the template from nilearn and label it.

    Returns:
        The template at 2 mm. A voxel is grey matter, white matter or anything else, whichever
        is most probable.

    Raises:
        UMambaError: If nilearn is not installed.
    """
    try:
        from nilearn import datasets
    except ImportError:
        msg = (
            "the demonstration takes its images from the package nilearn, which is not installed; "
            'run `pip install nilearn`, or in the checkout `pip install ".[demo]"`'
        )
        raise UMambaError(msg) from None
    image = datasets.load_mni152_template(resolution=VOXEL_MM)
    grey = datasets.load_mni152_gm_template(resolution=VOXEL_MM).get_fdata()
    white = datasets.load_mni152_wm_template(resolution=VOXEL_MM).get_fdata()
    labels = np.argmax([1 - grey - white, grey, white], axis=0).astype(np.uint8)
    clean = np.clip(image.get_fdata(), 0, None).astype(np.float32)
    return Brain(clean, labels, np.asarray(image.affine))


def bias_field(shape: tuple[int, ...], rng: np.random.Generator) -> Volume:
    """Draw a smooth field of factors around 1, as a receive coil causes it.

    Args:
        shape: Voxels of the whole head.
        rng: Source of randomness.

    Returns:
        Positive factors.
    """
    grid = np.meshgrid(*(np.arange(n) * VOXEL_MM for n in shape), indexing="ij", sparse=True)
    log_field = np.zeros(shape)
    for _ in range(6):
        direction = rng.normal(size=len(shape))
        direction /= np.linalg.norm(direction)
        wave_mm = BIAS_SHORTEST_WAVE_MM * rng.uniform(1, 3)
        phase = rng.uniform(0, 2 * np.pi)
        way = sum(d * axis for d, axis in zip(direction, grid, strict=True))
        log_field += np.cos(2 * np.pi * way / wave_mm + phase)
    log_field -= log_field.mean()
    field: Volume = np.exp(BIAS_STRENGTH * log_field / np.abs(log_field).max())
    return field


def add_noise(image: Volume, rng: np.random.Generator) -> Volume:
    """Add the noise of MRI: normal in both parts of the signal, of which the magnitude is shown."""
    real = image + rng.normal(scale=NOISE, size=image.shape)
    imaginary = rng.normal(scale=NOISE, size=image.shape)
    return np.hypot(real, imaginary)


def simulate_scan(brain: Brain, rng: np.random.Generator) -> Brain:
    """Return the brain as one more scanner would have seen it."""
    image = add_noise(brain.image * bias_field(brain.image.shape, rng), rng)
    return Brain(image.astype(np.float32), brain.labels, brain.affine)


def write_scans(brain: Brain, slab: Slab, n_scans: int, folder: Path, seed: int) -> list[str]:
    """Write scans of one slab as `images/NAME.nii.gz` and `masks/NAME.nii.gz`.

    Args:
        brain: The whole template.
        slab: The part to be seen.
        n_scans: How many scans, each with its own bias field and noise.
        folder: Where to put them; the folder's name begins the names of the scans.
        seed: Seed; scans of different slabs differ all the same.

    Returns:
        The names.
    """
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    names = []
    for number in range(n_scans):
        rng = np.random.default_rng([seed, abs(slab.first_mm), number])
        part = simulate_scan(brain, rng).cut(slab)
        name = f"{folder.name}_{number + 1:02d}"
        _write_volume(folder / "images" / f"{name}.nii.gz", part.image, part.affine)
        _write_volume(folder / "masks" / f"{name}.nii.gz", part.labels, part.affine)
        names.append(name)
    return names


def read_volume(path: Path) -> Volume:
    """Read the voxels of a NIfTI file."""
    import nibabel

    return np.asarray(nibabel.load(path).dataobj)


def _write_volume(path: Path, voxels: Volume, affine: Volume) -> None:
    import nibabel

    image = nibabel.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def _extent(inside: Volume) -> slice:
    found = np.flatnonzero(inside)
    return slice(max(0, int(found[0]) - _MARGIN), int(found[-1]) + 1 + _MARGIN)
