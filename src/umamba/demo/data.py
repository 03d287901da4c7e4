"""Scans for the demonstration: an average brain MRI, made hard enough to need context.

The images are the MNI152 template that nilearn ships: the average T1-weighted MRI of 152 people,
not of a patient, with probability maps of grey and white matter (ICBM 2009a, symmetric; copyright
Louis Collins, McGill; free to use, copy, modify and distribute). On the template itself, two
thresholds are nearly perfect. Therefore every scan gets what real scanners add: a smooth bias field
of its own, and noise.
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

# Added by the scanner. Wavelengths as long as a head keep the field smooth.
BIAS_STRENGTH = 0.4
BIAS_SHORTEST_WAVE_MM = 140.0
NOISE = 0.02

_MARGIN = 4  # voxels of background kept around the brain


@dataclass(frozen=True)
class Slab:
    """A part of the brain between two coronal planes.

    Args:
        first_mm: Position of its first plane, in MNI millimetres from the anterior commissure; the
            back is negative.
        last_mm: Position of its last plane.
    """

    first_mm: int
    last_mm: int

    def indices(self, affine: Volume) -> slice:
        """Return the slices of the second axis that lie in the slab."""
        origin, step = float(affine[1, 3]), float(affine[1, 1])
        first = round((self.first_mm - origin) / step)
        return slice(max(0, first), round((self.last_mm - origin) / step) + 1)


# The template is symmetric, so the left and right halves would be the same brain twice. Front and
# back differ; neither uses the six slices between them.
TRAINING = Slab(-114, 2)
HELD_OUT = Slab(16, 78)


def gap_mm() -> int:
    """Return the thickness in mm of the brain between the two parts."""
    return HELD_OUT.first_mm - TRAINING.last_mm - VOXEL_MM


@dataclass(frozen=True)
class Brain:
    """The template; axes run from left to right, from back to front, and from bottom to top."""

    image: Volume
    labels: Volume
    affine: Volume

    def cut(self, slab: Slab) -> "Brain":
        """Return one slab, cropped to the width of the brain and to the height of its own brain."""
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
            "the demonstration needs images from the package nilearn, which is not installed; "
            'run `pip install nilearn`, or `pip install ".[demo]"` in the source folder'
        )
        raise UMambaError(msg) from None
    image = datasets.load_mni152_template(resolution=VOXEL_MM)
    grey = datasets.load_mni152_gm_template(resolution=VOXEL_MM).get_fdata()
    white = datasets.load_mni152_wm_template(resolution=VOXEL_MM).get_fdata()
    labels = np.argmax([1 - grey - white, grey, white], axis=0).astype(np.uint8)
    clean = np.clip(image.get_fdata(), 0, None).astype(np.float32)
    return Brain(clean, labels, np.asarray(image.affine))


def bias_field(shape: tuple[int, ...], rng: np.random.Generator) -> Volume:
    """Draw a random smooth field of factors around 1, like that of a receive coil.

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
    """Return the magnitude of a signal with normal noise in both of its parts, as in MRI."""
    real = image + rng.normal(scale=NOISE, size=image.shape)
    imaginary = rng.normal(scale=NOISE, size=image.shape)
    return np.hypot(real, imaginary)


def simulate_scan(brain: Brain, rng: np.random.Generator) -> Brain:
    """Return the brain as another scanner would have seen it."""
    image = add_noise(brain.image * bias_field(brain.image.shape, rng), rng)
    return Brain(image.astype(np.float32), brain.labels, brain.affine)


def write_scans(brain: Brain, slab: Slab, n_scans: int, folder: Path, seed: int) -> list[str]:
    """Write scans of one slab as `images/NAME.nii.gz` and `masks/NAME.nii.gz`.

    Args:
        brain: The whole template.
        slab: The part to show.
        n_scans: Number of scans, each with its own bias field and noise.
        folder: Folder for the scans; their names begin with its name.
        seed: Seed of the random numbers; scans of different slabs differ in any case.

    Returns:
        The names of the scans.
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
