"""Label maps through SEG and RTSTRUCT to software of others and back; each test needs its own."""

import json
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest

from dicom_segmentations import AXES, LABELS, MAKER, affine, label_map, source
from umamba.dicom.finding import find_series
from umamba.dicom.image_grid import ImageGrid
from umamba.dicom.roi_rules import RoiRules
from umamba.dicom.rtstruct_writing import write_rtstruct
from umamba.dicom.seg_writing import write_seg
from umamba.dicom.segments import segments_of
from umamba.dicom.series import Series
from umamba.dicom.structures import read_structures

LPS_TO_RAS = np.diag([-1, -1, 1, 1])


def run(*command: object) -> str:
    """Run software from elsewhere and return what it says."""
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr


def needs(program: str, package: str) -> pytest.MarkDecorator:
    """Skip a test where a program is missing."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"needs {package}")


def nifti_affine(series: Series) -> np.ndarray:
    """Return the matrix from (x, y, z) to NIfTI's coordinates."""
    return LPS_TO_RAS @ affine(series)[:, [2, 1, 0, 3]]


def placed(path: Path, series: Series) -> np.ndarray:
    """Return the values of a NIfTI file on the grid of a series."""
    image = nibabel.load(path)
    values = np.asarray(image.dataobj)
    places = np.argwhere(values)
    to_grid = np.linalg.inv(nifti_affine(series)) @ image.affine
    voxels = (to_grid @ np.c_[places, np.ones(len(places))].T).T[:, 2::-1]
    assert np.allclose(voxels, np.rint(voxels), atol=1e-3)
    labels = np.zeros(series.shape, np.uint8)
    labels[tuple(np.rint(voxels).astype(int).T)] = values[tuple(places.T)]
    return labels


SLOWER = [pytest.param(name, marks=pytest.mark.slow) for name in AXES if name != "oblique"]


@pytest.fixture(params=["oblique", *SLOWER])
def series(request, tmp_path) -> Series:
    return source(tmp_path / "ct", request.param)


@needs("dciodvfy", "Debian's dicom3tools")
@pytest.mark.parametrize("labels", [label_map(), np.zeros((5, 9, 11), np.uint8)])
def test_dciodvfy_finds_no_error(series, tmp_path, labels):
    write_seg(tmp_path / "seg", labels, series, segments_of(LABELS), MAKER)
    write_rtstruct(tmp_path / "rt", labels, series, segments_of(LABELS), MAKER)

    for name in ("seg", "rt"):
        lines = run("dciodvfy", "-new", tmp_path / name).splitlines()
        assert lines
        assert not [line for line in lines if line.startswith("Error")]


@needs("plastimatch", "Debian's plastimatch")
@pytest.mark.parametrize("series", ["axial", "decubitus", "oblique"], indirect=True)
def test_plastimatch_reads_the_labels_from_the_contours(series, tmp_path):
    """Of sagittal slices it confuses the contours, as it sorts them by height."""
    write_rtstruct(tmp_path / "rt", label_map(), series, segments_of(LABELS), MAKER)
    grid = nibabel.Nifti1Image(np.zeros(series.shape[::-1], np.float32), nifti_affine(series))
    nibabel.save(grid, tmp_path / "grid.nii")

    options = ("--fixed", tmp_path / "grid.nii", "--prefix-format", "nii")
    run("plastimatch", "convert", "--input", tmp_path / "rt", *options, "--output-prefix", tmp_path)

    for number, name in enumerate(("liver", "tumour"), start=1):
        mask = placed(tmp_path / f"{name}.nii", series)
        assert np.array_equal(mask, label_map() == number)


@needs("segimage2itkimage", "the package dcmqi")
@pytest.mark.parametrize("as_label_map", [False, True])
def test_dcmqi_reads_the_labels_from_the_segments(series, tmp_path, as_label_map):
    given = (label_map(), series, segments_of(LABELS), MAKER)
    write_seg(tmp_path / "seg", *given, as_label_map=as_label_map)
    out = tmp_path / "out"
    out.mkdir()

    said = run(
        *("segimage2itkimage", "-t", "nii", "--outputDirectory", out),
        *("--inputDICOM", tmp_path / "seg"),
    )

    files = sorted(out.glob("*.nii.gz"))
    assert len(files) == (1 if as_label_map else len(LABELS)), said
    assert "absent" not in said  # of attributes
    assert np.array_equal(np.max([placed(file, series) for file in files], axis=0), label_map())
    segments = [
        s
        for group in json.loads((out / "meta.json").read_text())["segmentAttributes"]
        for s in group
    ]
    assert [segment["SegmentLabel"] for segment in segments] == list(LABELS)


@needs("itkimage2segimage", "the package dcmqi")
@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_segments_that_dcmqi_wrote_are_read(series, tmp_path, kind):
    """An independent writer: frames in its own order, and codes of SNOMED."""
    for number in (1, 2):
        values = (label_map() == number).astype(np.int16) * number
        image = nibabel.Nifti1Image(values.T, nifti_affine(series))
        nibabel.save(image, tmp_path / f"{number}.nii")
    code = {"CodeValue": "85756007", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Tissue"}
    attributes = [
        [
            {
                "labelID": number,
                "SegmentLabel": name,
                "SegmentDescription": name,
                "SegmentAlgorithmType": "MANUAL",
                "SegmentedPropertyCategoryCodeSequence": code,
                "SegmentedPropertyTypeCodeSequence": code,
            }
        ]
        for number, name in ((1, "liver"), (2, "tumour"))
    ]
    (tmp_path / "meta.json").write_text(
        json.dumps(
            {
                "ContentCreatorName": "Doe^Jane",
                "ClinicalTrialSeriesID": "1",
                "ClinicalTrialTimePointID": "1",
                "SeriesDescription": "segmentation",
                "SeriesNumber": "300",
                "InstanceNumber": "1",
                "BodyPartExamined": "LIVER",
                "segmentAttributes": attributes,
            }
        )
    )
    said = run(
        *(
            "itkimage2segimage",
            "--segmentationType",
            kind,
            "--inputDICOMDirectory",
            tmp_path / "ct",
        ),
        *("--inputImageList", f"{tmp_path / '1.nii'},{tmp_path / '2.nii'}"),
        *("--inputMetadata", tmp_path / "meta.json", "--outputDICOM", tmp_path / "seg"),
    )
    structures = read_structures(tmp_path / "seg")
    assert structures is not None, said

    grid = ImageGrid(series.geometry, series.shape, series.head.frame_of_reference_uid)
    labels, notes = RoiRules({"liver": 1, "tumour": 2}, {}).label_map(structures, grid)
    assert np.array_equal(labels, label_map())
    assert structures.series_uids == (series.head.uid,)
    assert notes == ()


@needs("plastimatch", "Debian's plastimatch")
@pytest.mark.slow
@pytest.mark.parametrize("modality", ["CT", "MR_T1", "PET"])
def test_contours_of_physicians_are_read_as_by_plastimatch(shared_data, tmp_path, modality):
    """STS_002 of the IBSI's sarcomas (CC BY 3.0), whose mask we and others read."""
    folder = shared_data / "sts_dicom/dicom/STS_002" / modality
    (series,) = find_series(folder / "image").series
    structures = read_structures(folder / "mask" / "RS.dcm")
    assert structures is not None
    grid = ImageGrid(series.geometry, series.shape, series.head.frame_of_reference_uid)
    labels, _ = RoiRules({"tumour": 1}, {"tumour": ("GTV_Mass*",)}).label_map(structures, grid)

    run(
        *("plastimatch", "convert", "--input", folder / "mask" / "RS.dcm"),
        *("--referenced-ct", folder / "image", "--prefix-format", "nii"),
        *("--output-prefix", tmp_path),
    )

    (theirs,) = tmp_path.glob("GTV_Mass*.nii")
    assert np.array_equal(placed(theirs, series), labels == 1)
