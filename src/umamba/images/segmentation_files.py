"""Give the file of a segmentation exactly the geometry of the image that was segmented."""

from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

from umamba.images.file_names import split_ending
from umamba.images.nifti import check_complete, nifti_header, pack

__all__ = ["write_with_geometry_of"]

_NIFTI_GEOMETRY = (
    *("xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)
_NRRD_GEOMETRY = ("space", "space dimension", "space directions", "space origin")


def write_with_geometry_of(image: Path, path: Path, write: Callable[[Path], None]) -> None:
    """Write a file of labels through a library, then correct its geometry.

    NIfTI and NRRD hold products and square roots of what ITK sets, and would come back rounded;
    their geometry is copied from the image's header. The file is made under a plain name: of a
    second ending, as in `case.nii.nii.gz`, ITK drops the last one.

    Args:
        image: The file that was segmented.
        path: The new file.
        write: Writes the labels into the file that it is given.

    Raises:
        OSError: If the disk is full.
    """
    ending, given = split_ending(path)[1], split_ending(image)[1]
    nifti = (".nii", ".nii.gz")
    if ending in nifti:
        plain = path.with_name(".segmentation.nii")
        try:
            write(plain)
            check_complete(plain)
            if given in nifti:
                _copy_nifti_geometry(image, plain)
            pack(plain, path)
        finally:
            plain.unlink(missing_ok=True)
        return
    write(path)
    if ending == given == ".nrrd":
        _copy_nrrd_geometry(image, path)


def _copy_nifti_geometry(image: Path, target: Path) -> None:
    import nibabel

    given = nifti_header(image)
    kind = type(nibabel.load(target).header)
    with target.open("r+b") as file:
        header = kind.from_fileobj(file)  # as it stands: `load` forgets where the voxels begin
        if given.get_data_shape() != header.get_data_shape():
            return
        for name in _NIFTI_GEOMETRY:
            header[name] = given[name]
        header["pixdim"][:4] = given["pixdim"][:4]
        file.seek(0)
        file.write(header.binaryblock)


def _copy_nrrd_geometry(image: Path, target: Path) -> None:
    given = {_field(line): line for line in _nrrd_header(image)}
    if "space directions" not in given:
        return
    header = _nrrd_header(target)
    body = target.read_bytes()[len(b"\n".join(header)) :]
    kept = [line for line in header if _field(line) not in _NRRD_GEOMETRY]
    copied = [given[name] for name in _NRRD_GEOMETRY if name in given]
    target.write_bytes(b"\n".join([*kept, *copied]) + body)


def _nrrd_header(path: Path) -> list[bytes]:
    """Return the lines of the header, which an empty line ends."""
    with path.open("rb") as file:
        return list(takewhile(bool, (line.rstrip(b"\r\n") for line in file)))


def _field(line: bytes) -> str:
    return line.partition(b":")[0].decode("latin-1")
