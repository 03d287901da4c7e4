"""Findings that need more than one case, and those that `umamba dataset` shares."""

import gzip

import numpy as np
import pytest

from dataset_files import (
    disc,
    findings_of,
    make,
    make_folders,
    noise,
    save,
    save_pair,
    save_raw,
    save_raw_case,
)

IMAGE = noise(4, 6, 8, dtype=np.float32)
# RAS, as neuroimaging tools write it; the usual array of these tests runs to LPS.
FLIPPED = (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)


@pytest.fixture
def folders(tmp_path):
    return make_folders(tmp_path)


def test_a_good_data_set_has_no_findings(folders):
    save_raw(folders)
    assert findings_of(folders) == []


def test_mixed_orientations(folders):
    raw = save_raw(folders)
    save_raw_case(raw, "c", direction=FLIPPED)
    (line,) = findings_of(folders)
    assert line.startswith(
        "warning: case c: imagesTr/c_0000.nii.gz: the image has the orientation RAS, but 4 of 5 "
        "cases have the orientation LPS; save images and masks in one orientation"
    )
    save_raw(folders, overwrite_image_reader_writer="NibabelIOWithReorient")
    save_raw_case(raw, "c", direction=FLIPPED)
    assert findings_of(folders) == []


def test_an_oblique_image_has_the_orientation_of_its_nearest_axes(folders):
    raw = save_raw(folders)
    angle = np.deg2rad(20)
    turned = (np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0, 0, 0, 1.0)
    save_raw_case(raw, "c", direction=turned)
    assert findings_of(folders) == []


@pytest.mark.parametrize(
    ("spacing", "message"),
    [
        ((40.0, 50.0, 300.0), "(40, 50, 300) can hardly be in millimetres; write millimetres"),
        ((1e-6, 1e-6, 1e-6), "can hardly be in millimetres; write millimetres into the header; "),
        ((1e-3, 1e-3, 1e-3), "far from the data set's median (1, 1, 1); the unit seems to differ"),
        (
            (5.0, 5.0, 5.0),
            "far from the data set's median (1, 1, 1); correct the header, or remove",
        ),
        ((0.2, 1.0, 1.0), "the voxel size (0.2, 1, 1) is far from the data set's median"),
    ],
)
def test_voxel_sizes_that_cannot_be(folders, spacing, message):
    raw = save_raw(folders)
    save_raw_case(raw, "c", spacing=spacing)
    (line,) = findings_of(folders)
    assert line.startswith("warning: case c: imagesTr/c_0000.nii.gz: the voxel size (")
    assert message in line


def test_voxels_much_longer_than_wide(folders):
    raw = save_raw(folders)
    for case in "abcde":
        save_raw_case(raw, case, spacing=(0.1, 0.1, 5.0))
    lines = findings_of(folders)
    assert len(lines) == 5
    assert "the voxel size (0.1, 0.1, 5) is 50 times as long as wide" in lines[0]


def test_slices_along_another_axis_are_no_outlier(folders):
    raw = save_raw(folders)
    for case in "abcd":
        save_raw_case(raw, case, spacing=(0.5, 0.5, 5.0))
    save_raw_case(raw, "e", spacing=(5.0, 0.5, 0.5))
    assert findings_of(folders) == []


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            (0.0, 1.0),
            "error: case c: imagesTr/c_0000.nii.gz: the header gives the voxel size (0",
        ),
        ((float("nan"), 1.0), "error: case c: imagesTr/c_0000.nii.gz: the header gives the voxel"),
        (
            (-1.0, 1.0),
            "warning: case c: imagesTr/c_0000.nii.gz: the header gives the voxel size",
        ),
    ],
)
def test_voxel_sizes_that_readers_replace(folders, capfd, sizes, message):
    raw = save_raw(folders)
    path = raw / "imagesTr" / "c_0000.nii.gz"
    write_voxel_size(path, IMAGE, sizes)
    lines = findings_of(folders)
    assert any(line.startswith(message) for line in lines), lines
    assert capfd.readouterr().err == ""


def write_voxel_size(path, array, sizes):
    """Put the first voxel sizes into a NIfTI header as they are; no library writes such ones."""
    save(path, array)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[80 : 80 + 4 * len(sizes)] = np.array(sizes, "<f4").tobytes()
    path.write_bytes(gzip.compress(bytes(content)))


def test_a_single_slice_needs_no_thickness(folders):
    raw = save_raw(folders)
    for case in "abcde":
        image = noise(1, 6, 8, dtype=np.float32)
        save_raw_case(raw, case, image)
        write_voxel_size(raw / "imagesTr" / f"{case}_0000.nii.gz", image, (1.0, 1.0, 0.0))
    assert not any("voxel size" in line for line in findings_of(folders))


def test_a_metaimage_without_size(folders):
    save_pair(folders, "a", ".mha")
    path = folders / "images" / "a.mha"
    path.write_bytes(
        path.read_bytes().replace(b"ElementSpacing = 1 1 1", b"ElementSpacing = 0 1 1")
    )
    with pytest.raises(ValueError, match="voxel size in its header is not positive; write the"):
        make(folders)


def test_constant_images(folders):
    raw = save_raw(folders)
    for case in "ab":
        save_raw_case(raw, case, np.full((4, 6, 8), 7, np.int16))
    lines = findings_of(folders)
    assert len(lines) == 2  # and no duplicates: all empty images are alike
    assert lines[0].startswith(
        "warning: case a: imagesTr/a_0000.nii.gz: channel MRI is constant: every voxel is 7; export"
    )


def test_duplicates_of_other_type_and_compression(folders):
    """Folds 0 and 2 of nnU-Net's default split would have them on two sides."""
    raw = save_raw(folders)
    image = noise(4, 6, 8, dtype=np.uint8)
    save_raw_case(raw, "a", image)
    save_raw_case(raw, "c", image.astype(np.float64))
    lines = [line for line in findings_of(folders) if "same voxels as" in line]
    assert lines == [
        "warning: case c: imagesTr/c_0000.nii.gz: it holds the same voxels as "
        "imagesTr/a_0000.nii.gz; remove one, or keep a and it in the same part of every fold"
    ]


def test_one_channel_twice(folders):
    raw = save_raw(folders, channel_names={"0": "T1", "1": "T2"})
    for case in "abcde":
        save(raw / "imagesTr" / f"{case}_0001.nii.gz", noise(4, 6, 8, dtype=np.float32))
    for channel in (0, 1):
        save(raw / "imagesTr" / f"b_000{channel}.nii.gz", IMAGE)
    (line,) = findings_of(folders)
    assert line == (
        "warning: case b: imagesTr/b_0001.nii.gz: it holds the same voxels as "
        "imagesTr/b_0000.nii.gz, another channel; put the right image there"
    )


def test_dataset_warns_of_the_same(folders):
    """One engine: what `umamba check` finds, `umamba dataset` says before it writes."""
    for case in "ab":
        save_pair(folders, case, image=IMAGE)
    save_pair(folders, "c", image=np.zeros((4, 6, 8), np.int16), direction=FLIPPED)
    warnings = " ".join(make(folders).warnings)
    assert "case b: images/b.nii.gz: it holds the same voxels as images/a.nii.gz" in warnings
    assert "case c: images/c.nii.gz: channel 0 is constant: every voxel is 0" in warnings
    assert "case c: images/c.nii.gz: the image has the orientation RAS" in warnings


def test_masks_are_no_duplicates(folders):
    raw = save_raw(folders)
    for case in "abcde":
        save(raw / "labelsTr" / f"{case}.nii.gz", disc(4, 6, 8))
    assert findings_of(folders) == []
