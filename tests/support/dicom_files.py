"""Small DICOM series for tests, written by pydicom."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian

CT, MR, PET = (f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("2", "4", "128"))
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"

# Values that nothing but the key file may hold.
PATIENT = {
    "PatientName": "Mustermann^Erika",
    "PatientID": "PID-778899",
    "PatientBirthDate": "19410203",
    "StudyDate": "20190817",
    "AccessionNumber": "ACC-556677",
    "StudyInstanceUID": "1.2.826.0.1.3680043.9.7777.1",
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.9.7777.2",
}

Change = Callable[[int, FileDataset], object]


def header(uid: str, number: int, shape: tuple[int, int], sop_class: str = CT) -> FileDataset:
    """Return the header of one slice."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = f"{uid}.{number}"
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for name, value in PATIENT.items():
        setattr(ds, name, value)
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, f"{uid}.{number}"
    ds.SeriesInstanceUID, ds.SeriesDescription = uid, "Abdomen"
    ds.Modality = {CT: "CT", PET: "PT"}.get(sop_class, "MR")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Rows, ds.Columns = shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.PixelSpacing, ds.SliceThickness = [0.8, 0.7], 2.5
    return ds


def write_series(
    folder: Path,
    stored: np.ndarray,
    *,
    uid: str = "1.2.826.0.1.3680043.9.7777.3",
    positions: Sequence[Sequence[float]] | None = None,
    axes: Sequence[float] = (1, 0, 0, 0, 1, 0),
    sop_class: str = CT,
    change: Change = lambda _number, _header: None,
) -> list[Path]:
    """Write stored values (z, y, x) as one file per slice, names in no order of places."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, values in enumerate(stored):
        ds = header(uid, number, values.shape, sop_class)
        ds.InstanceNumber = len(stored) - number
        ds.ImageOrientationPatient = list(axes)
        place = positions[number] if positions is not None else (-10.0, -20.0, 30 + 2.5 * number)
        ds.ImagePositionPatient = [f"{value:.10g}" for value in place]
        ds.PixelData = np.ascontiguousarray(values, "<i2").tobytes()
        change(number, ds)
        paths.append(folder / f"IM{(number * 7) % 13:03d}_{number}")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def enhanced(path: Path, stored: np.ndarray, slopes: Sequence[float], uid: str) -> None:
    """Write stored values (z, y, x) as one enhanced multi-frame file, the last slice first."""
    ds = header(uid, 0, stored.shape[1:], ENHANCED_MR)
    ds.NumberOfFrames = len(stored)
    del ds.PixelSpacing, ds.SliceThickness
    shared = Dataset()
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared.PixelMeasuresSequence = _item(PixelSpacing=[0.8, 0.7], SliceThickness=2.5)
    ds.SharedFunctionalGroupsSequence = Items([shared])
    frames = []
    for number, slope in reversed(list(enumerate(slopes))):
        frame = Dataset()
        place = [-10, -20, 30 + 2.5 * number]
        frame.PlanePositionSequence = _item(ImagePositionPatient=place)
        frame.PixelValueTransformationSequence = _item(RescaleSlope=slope, RescaleIntercept=1)
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = Items(frames)
    ds.PixelData = np.ascontiguousarray(stored[::-1], "<i2").tobytes()
    ds.save_as(path, enforce_file_format=True)


def _item(**values: Any) -> Items:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return Items([item])


def edit(path: Path, **values: Any) -> None:
    """Change elements of a file; `None` removes one."""
    ds = pydicom.dcmread(path)
    for name, value in values.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    ds.save_as(path)
