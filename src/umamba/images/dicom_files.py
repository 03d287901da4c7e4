"""Tell files of DICOM from others; the room `dicom` reads them."""

from collections.abc import Iterable
from pathlib import Path

from umamba.images.file_names import ENDINGS, GEOMETRY_ENDINGS, split_ending, visible_files
from umamba.system.path_names import no_plain_file

__all__ = ["counts_as_dicom", "holds_dicom", "is_dicom", "seems_dicom"]

_PREAMBLE = 128  # bytes before the letters DICM
_ENDINGS = (".dcm", ".dicom", ".ima")


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM by its first bytes, or by its name if these are missing.

    Raises:
        OSError: If it cannot be opened.
    """
    if no_plain_file(path):
        return False
    with path.open("rb") as file:
        head = file.read(_PREAMBLE + 4)
    return head[_PREAMBLE:] == b"DICM" or path.name.lower().endswith(_ENDINGS)


def seems_dicom(path: Path) -> bool:
    """Return the same, by the name alone if the file cannot be opened."""
    try:
        return is_dicom(path)
    except OSError:  # a link to nowhere, or no permission: reading it says so
        return path.name.lower().endswith(".dcm")


def counts_as_dicom(
    folder: Path, *, pictures: bool, deep: bool = True, besides: Iterable[Path] = ()
) -> bool:
    """Return whether a folder is read as DICOM: it holds some, and no image of another format.

    Args:
        folder: The folder, or a file of DICOM.
        pictures: Whether pictures are images as well; if not, they do not count, such as those
            that belong to the viewer on a CD.
        deep: Whether images of other formats count where they lie in subfolders.
        besides: Images that do not count.

    Raises:
        OSError: If the folder cannot be read.
    """
    if not folder.is_dir():
        return folder.is_file() and seems_dicom(folder)
    endings = ENDINGS if pictures else GEOMETRY_ENDINGS
    files = set(visible_files(folder, deep=deep)) - set(besides)
    return not any(split_ending(path)[1] in endings for path in files) and holds_dicom(folder)


def holds_dicom(folder: Path) -> bool:
    """Return whether there is a DICOM file in a folder, or below it.

    Raises:
        OSError: If the folder cannot be read.
    """
    return any(seems_dicom(path) for path in visible_files(folder, deep=True))
