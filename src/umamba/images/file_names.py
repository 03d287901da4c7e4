"""Names of image files: their endings, hidden files, and names that no reader accepts.

All commands list folders and compare endings here, so that they see the same files.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from umamba.images.formats import FORMATS
from umamba.system.path_names import is_hidden, is_utf8

__all__ = [
    "COMPANIONS",
    "ENDINGS",
    "GEOMETRY_ENDINGS",
    "is_image",
    "link_or_copy",
    "plain_ending",
    "split_ending",
    "visible_files",
    "why_no_case",
    "why_no_name",
]

ENDINGS = tuple(FORMATS)
GEOMETRY_ENDINGS = tuple(ending for ending, form in FORMATS.items() if form.has_geometry)

# Images as well, but not ones that we read: they are listed if they lie in a folder of images.
_OTHER_IMAGES = (
    *(".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".jp2", ".dcm", ".dicom", ".ima", ".gipl"),
    *(".nhdr", ".mhd", ".hdr", ".img", ".mgz", ".mgh", ".mnc", ".vtk", ".npy", ".h5", ".hdf5"),
    *(".svs", ".czi", ".nd2", ".lsm", ".lif", ".vsi", ".nia", ".nii.bz2", ".nii.zst", ".img.gz"),
)
# What nnU-Net and our commands leave beside segmentations.
COMPANIONS = {
    *("dataset.json", "plans.json", "predict_from_raw_data_args.json"),
    *("summary.json", "umamba_prediction.json"),
}
_SECOND_ENDINGS = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")
_LONGEST_NAME = 255  # bytes, of most file systems


def split_ending(path: Path) -> tuple[str, str]:
    """Split a file name into stem and lower-case ending; "" where we cannot read it."""
    lower = path.name.lower()
    for ending in ENDINGS:
        if lower.endswith(ending):
            return path.name[: -len(ending)], ending
    return path.stem, ""


def is_image(path: Path) -> bool:
    """Return whether a file is an image by its name, even of a kind that we do not read."""
    return path.name.lower().endswith((*ENDINGS, *_OTHER_IMAGES))


def visible_files(folder: Path, *, deep: bool = False) -> list[Path]:
    """List what a folder holds, except what is hidden.

    A folder that is searched is listed as well only if it has the name of an image and holds none.
    Links to folders are listed, but never followed. Not everything in the list need be a file.

    Args:
        folder: Where to look.
        deep: Whether to look into subfolders; without it, these are listed.

    Returns:
        The paths in alphabetical order.

    Raises:
        OSError: If the folder cannot be read.
    """
    found = []
    for path in sorted(folder.iterdir()):
        if is_hidden(path):
            continue
        if deep and path.is_dir() and not path.is_symlink():
            below = visible_files(path, deep=True)
            if split_ending(path)[1] and not any(map(is_image, below)):
                found.append(path)
            found += below
        else:
            found.append(path)
    return found


def why_no_name(name: str) -> str:
    """Return why nnU-Net cannot work with a file of that name; "" if it can."""
    if not is_utf8(name):
        return "its name is not UTF-8"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        return f"its name would take more than {_LONGEST_NAME} bytes"
    return ""


def why_no_case(case_id: str) -> str:
    """Return why nnU-Net cannot work with a case of that name; "" if it can."""
    if case_id.lower().endswith(_SECOND_ENDINGS):
        return "its name has two endings, of which nnU-Net drops one where it writes the case"
    return why_no_name(f"{case_id}_0000.nii.gz")


@contextmanager
def plain_ending(path: Path) -> Iterator[Path]:
    """Give the same file under a name with a lower-case ending: libraries refuse mixed case."""
    stem, ending = split_ending(path)
    if not ending or path.name == stem + ending:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="umamba-") as folder:
        named = Path(folder) / f"image{ending}"
        link_or_copy(path, named)
        yield named


def link_or_copy(path: Path, target: Path) -> None:
    """Give a file a second name; a copy where links are not allowed."""
    try:
        target.symlink_to(path.resolve())
    except OSError:
        shutil.copyfile(path, target)
