"""Segmentations of DICOM series as DICOM: SEG, label map SEG and RTSTRUCT."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umamba.datasets.description import read_labels
from umamba.datasets.inputs import FoundInputs
from umamba.dicom.library import require_pydicom
from umamba.dicom.output_formats import OutputFormats
from umamba.dicom.segments import Segment
from umamba.dicom.series import Series, SeriesError
from umamba.errors import UMambaError
from umamba.images.files import read_image
from umamba.images.mask_values import integer_layer

__all__ = ["DicomOutputs"]

log = logging.getLogger(__name__)


class DicomOutputs:
    """The files of the wanted formats, made from the segmentation in the model's format.

    Args:
        predictor: nnU-Net's predictor.
        inputs: The cases.
        formats: The formats.
        identity: The result of `model_identity`.

    Raises:
        UMambaError: If formats of DICOM are wanted of other images, or do not fit the labels.
    """

    def __init__(
        self,
        predictor: Any,
        inputs: FoundInputs,
        formats: OutputFormats,
        identity: Mapping[str, Any],
    ) -> None:
        if formats.codes is not None and not formats.of_dicom:
            msg = "--codes is for DICOM; add --output-format seg, labelmap-seg or rtstruct"
            raise UMambaError(msg)
        if formats.of_dicom and inputs.cases and not inputs.series:
            msg = (
                f"--output-format {formats.of_dicom[0]} refers to slices of DICOM, but the images "
                "are other files; give the folder of the DICOM series as -i"
            )
            raise UMambaError(msg)
        self._formats, self._series, self._identity = formats, inputs.series, identity
        self._predictor, self._ending = predictor, predictor.dataset_json["file_ending"]
        self._segments: tuple[Segment, ...] = ()
        if formats.of_dicom:
            require_pydicom(for_seg=formats.of_dicom != ("rtstruct",))
            description = Path("dataset.json")
            found = read_labels(predictor.dataset_json, description, for_training=False)
            self._segments = formats.segments(found.regions)

    @property
    def settings(self) -> dict[str, str]:
        """The settings on which files of DICOM depend, besides the model: a digest of the codes."""
        if self._formats.codes is None:
            return {}
        return {"codes_sha256": hashlib.sha256(repr(self._segments).encode()).hexdigest()}

    def check(self, case_id: str) -> None:
        """Check that the formats can refer to the series of a case.

        Raises:
            SeriesError: If they cannot.
        """
        if self._formats.of_dicom:
            self._formats.check_source(self._first(case_id))

    def write(self, case_id: str, segmentation: Path) -> None:
        """Write the wanted files beside a segmentation, and remove that if it is not wanted.

        Raises:
            SeriesError: If a format cannot hold it, or refer to the series of the case.
            OSError: If a file cannot be written.
        """
        if self._formats.of_dicom:
            try:
                self._write(self._first(case_id), segmentation)
            except (SeriesError, OSError, MemoryError):
                raise
            except Exception as error:
                log.debug("cannot write DICOM: %s", type(error).__name__)  # its text may quote
                problem = "its headers hold values that do not fit into SEG or RTSTRUCT"
                raise SeriesError(problem, "choose --output-format nifti for it") from error
        if "nifti" not in self._formats.names:
            segmentation.unlink()

    def _first(self, case_id: str) -> Series:
        """Return the series whose grid is that of the case."""
        return self._series[case_id][0]

    def _write(self, series: Series, segmentation: Path) -> None:
        from umamba.dicom.derived import Maker
        from umamba.dicom.rtstruct_writing import write_rtstruct
        from umamba.dicom.seg_writing import write_seg

        loaded = read_image(segmentation, is_mask=True)
        labels, geometry = integer_layer(loaded), loaded.geometry
        plans = self._predictor.plans_manager
        maker = Maker(
            f"{plans.dataset_name} {plans.plans_name}"[:64],
            f"weights {self._identity['weights_sha256'][:16]}",
            json.dumps(self._identity, sort_keys=True),
        )
        for name in self._formats.of_dicom:
            path = self._formats.path(segmentation, self._ending, name)
            parts = (path, labels, series, self._segments, maker)
            if name == "rtstruct":
                write_rtstruct(*parts, geometry=geometry)
            else:
                write_seg(*parts, geometry=geometry, as_label_map=name == "labelmap-seg")
