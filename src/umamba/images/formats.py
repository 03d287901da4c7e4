"""The formats of image files that we read, by the endings of their names; imports nothing slow.

The only place that lists them: names of files, checks and conversions go by this table.
"""

from dataclasses import dataclass

__all__ = ["FORMATS", "READERS", "READER_DIMS", "ImageFormat"]

# The dimensions of nnU-Net's readers that do not take both 2D and 3D images.
READER_DIMS = {"NaturalImage2DIO": 2, "Tiff3DIO": 3}


@dataclass(frozen=True)
class ImageFormat:
    """A format of image files.

    Args:
        name: Its name in messages.
        module: The module that has the functions `read(FileToRead) -> LoadedImage` and
            `write(path, array, geometry)` for it (see `images/files.py`); loaded on first use.
        readers: Those of nnU-Net's readers that both we and nnU-Net can use for it, whatever
            nnU-Net lists itself, the usual one first.
        has_geometry: Whether its files hold voxel size, origin and axes.
        saved_as: The ending of the files in which `umamba dataset` saves such images; by default
            they keep theirs.
    """

    name: str
    module: str
    readers: tuple[str, ...] = ()
    has_geometry: bool = False
    saved_as: str | None = None

    @property
    def usual_reader(self) -> str | None:
        """nnU-Net's reader by default; `None` if the number of dimensions decides on it."""
        if len(self.readers) > 1 and self.readers[0] in READER_DIMS:
            return None
        return next(iter(self.readers), None)

    def reader_by_dims(self, n_dims: int) -> str | None:
        """Return the reader for a number of dimensions; `None` if these do not decide on it."""
        if self.usual_reader or not self.readers:
            return None
        return next(name for name in self.readers if READER_DIMS.get(name, n_dims) == n_dims)


_BY_ITK = ("SimpleITKIO", "SimpleITKIOWithReorient")
_BY_NIBABEL = ("NibabelIO", "NibabelIOWithReorient")
_VOLUMES, _PNG, _TIFF = "umamba.images.volumes", "umamba.images.png", "umamba.images.tiff"

# By the ending in lower case; one that ends in another comes first.
FORMATS = {
    ".nii.gz": ImageFormat("NIfTI", _VOLUMES, (*_BY_ITK, *_BY_NIBABEL), has_geometry=True),
    ".nii": ImageFormat(
        "NIfTI", _VOLUMES, (*_BY_ITK, *_BY_NIBABEL), has_geometry=True, saved_as=".nii.gz"
    ),
    ".nrrd": ImageFormat("NRRD", _VOLUMES, _BY_ITK, has_geometry=True),
    ".mha": ImageFormat("MetaImage", _VOLUMES, _BY_ITK, has_geometry=True),
    ".png": ImageFormat("PNG", _PNG, ("NaturalImage2DIO",)),
    ".tiff": ImageFormat("TIFF", _TIFF, ("NaturalImage2DIO", "Tiff3DIO")),
    ".tif": ImageFormat("TIFF", _TIFF, ("NaturalImage2DIO", "Tiff3DIO")),
}
# The endings that each of nnU-Net's readers can read.
READERS: dict[str, tuple[str, ...]] = {
    reader: tuple(ending for ending, form in FORMATS.items() if reader in form.readers)
    for reader in dict.fromkeys(name for form in FORMATS.values() for name in form.readers)
}
