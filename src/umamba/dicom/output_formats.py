"""The formats in which segmentations of DICOM are written; imports nothing slow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from umamba.dicom.segments import Segment, segments_of
from umamba.errors import UMambaError, unknown_name

if TYPE_CHECKING:
    from umamba.dicom.series import Series

__all__ = ["DICOM_ENDINGS", "OutputFormats", "format_names"]

# What follows the name of the case; nothing of our own for the format of the model's files.
_ENDINGS = {
    "nifti": "",
    "seg": ".seg.dcm",
    "labelmap-seg": ".labelmap.dcm",
    "rtstruct": ".rtstruct.dcm",
}
DICOM_ENDINGS = tuple(filter(None, _ENDINGS.values()))


def format_names(given: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of formats, also those separated by commas.

    Raises:
        UMambaError: If one does not exist.
    """
    texts = [given] if isinstance(given, str) else given
    names = tuple(dict.fromkeys(name for text in texts for name in text.split(",") if name))
    for name in names:
        if name not in _ENDINGS:
            raise UMambaError(unknown_name("output format", name, _ENDINGS))
    return names


@dataclass(frozen=True)
class OutputFormats:
    """The formats of the files of a case.

    Args:
        names: Of `nifti`, `seg`, `labelmap-seg` and `rtstruct`; `nifti` is the format of the
            model's files.
        codes: The file of codes and colours, see `segments_of`.
    """

    names: tuple[str, ...] = ("nifti",)
    codes: Path | None = None

    @property
    def of_dicom(self) -> tuple[str, ...]:
        """The formats of DICOM."""
        return tuple(name for name in self.names if _ENDINGS[name])

    def endings(self, usual: str) -> list[str]:
        """Return the endings of the files of a case.

        Args:
            usual: That of the model's files.
        """
        return [_ENDINGS[name] or usual for name in self.names]

    def segments(self, labels: Mapping[str, Sequence[int]]) -> tuple[Segment, ...]:
        """Return the segments of a model's labels.

        Raises:
            UMambaError: If a format cannot hold them, or the codes do not fit.
        """
        values = [value for several in labels.values() for value in several]
        if "labelmap-seg" in self.names and len(set(values)) < len(values):
            msg = (
                "labelmap-seg cannot hold the regions of this model, as they overlap; choose "
                "--output-format seg"
            )
            raise UMambaError(msg)
        return segments_of(labels, self.codes)

    def check_source(self, series: "Series") -> None:
        """Check that the formats can refer to a series.

        Raises:
            SeriesError: If they cannot.
        """
        from umamba.dicom.derived import check_source

        if self.of_dicom:
            check_source(series)

    def path(self, segmentation: Path, usual: str, name: str) -> Path:
        """Return the path of a file beside that of the model's format."""
        return segmentation.with_name(segmentation.name.removesuffix(usual) + _ENDINGS[name])
