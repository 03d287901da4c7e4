"""Headers that contradict themselves; what the libraries make of them is asked of the libraries."""

import nibabel
import numpy as np
import pytest
import SimpleITK

from contradicting_headers import form, write
from dataset_files import disc, findings_of, make, make_folders, noise, save_raw
from umamba.evaluation.folders import FolderRequest, evaluate_folders
from umamba.images.files import read_image

SKEWED = np.eye(4) + 0.02 * np.outer([1, 0, 0, 0], [0, 1, 0, 0])
CASES = {
    "agree": ({}, []),
    "agree, no qform": ({"codes": (1, 0)}, []),
    "agree, no sform": ({"codes": (0, 2)}, []),
    "agree, no code": ({"codes": (0, 0)}, []),
    "scale": ({"sform": form(2)}, ["voxel size"]),
    "scale, no qform": ({"sform": form(2), "codes": (2, 0)}, ["voxel size"]),
    "scale, sizes": ({"sizes": (1, 1, 3)}, ["voxel size"]),
    "rotation": ({"sform": form(degrees=5)}, ["orientation"]),
    "rotation, codes": ({"qform": form(degrees=5), "codes": (2, 1)}, ["orientation"]),
    "origin": ({"sform": form(origin=(5, 6, 7))}, ["origin"]),
    "origin, codes": ({"sform": form(origin=(5, 6, 7)), "codes": (2, 2)}, ["origin"]),
    "mirror": ({"sform": np.diag([-1.0, 1, 1, 1])}, ["orientation"]),
    "skew beside qform": ({"sform": SKEWED}, ["orientation"]),
    "stale forms": ({"sform": form(2, 30), "codes": (0, 0)}, ["voxel size", "orientation"]),
    "micrometres": ({"unit": "micron"}, ["unit"]),
    "metres": ({"unit": "meter"}, ["unit"]),
    "rounding": ({"sform": form(1 + 1e-6, 1e-3, (1e-4, 0, 0))}, []),
}


def read(path, reader):
    """Return spacing, origin and axes as the library gives them, in ITK's space."""
    if reader == "SimpleITKIO":
        image = SimpleITK.ReadImage(str(path))
        return image.GetSpacing(), image.GetOrigin(), image.GetDirection()
    image = nibabel.load(path)
    affine = np.diag([-1, -1, 1, 1]) @ image.affine
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return image.header.get_zooms(), affine[:3, 3], (affine[:3, :3] / lengths).ravel()


@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIO"])
@pytest.mark.parametrize("name", CASES)
def test_conflicts_and_what_is_used(tmp_path, reader, name):
    options, about = CASES[name]
    path = tmp_path / "image.nii"
    write(path, noise(4, 5, 6), **options)
    loaded = read_image(path, reader=reader)
    assert sorted(one.about for one in loaded.conflicts) == sorted(about)
    geometry = loaded.geometry
    found = (geometry.spacing, geometry.origin, geometry.direction)
    for ours, theirs in zip(found, read(path, reader), strict=True):
        assert np.allclose(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "itk", "nib"),
    [
        ({"sform": form(origin=(5, 6, 7))}, "the sform is used", "the sform is used"),
        (
            {"sform": form(origin=(5, 6, 7)), "codes": (2, 1)},
            "the qform is used",
            "the sform is used",
        ),
        ({"unit": "micron"}, "the first is used", "the second is used"),
    ],
)
def test_the_statement_that_is_used_is_named(tmp_path, options, itk, nib):
    path = tmp_path / "image.nii"
    write(path, noise(4, 5, 6), **options)
    for reader, text in (("SimpleITKIO", itk), ("NibabelIO", nib)):
        (conflict,) = read_image(path, reader=reader).conflicts
        assert text in conflict.text


META = {
    "ElementSize = 2 2 2": ("voxel size", "ElementSpacing is (1, 1, 1), ElementSize (2, 2, 2)"),
    "Orientation = 1 0 0 0 -1 0 0 0 -1": ("orientation", "TransformMatrix is used"),
    "Position = 9 9 9": ("origin", "Offset is (0, 0, 0), Position (9, 9, 9)"),
    "Origin = 9 9 9": ("origin", "Origin is (9, 9, 9), Offset (0, 0, 0); Origin is used"),
    "DistanceUnits = um": ("unit", "the unit is um"),
    "ElementSize = 1 1 1": None,
    "Comment = 2 2 2": None,
}


@pytest.mark.parametrize("line", META)
def test_meta_image(tmp_path, line):
    path = tmp_path / "image.mha"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise(4, 5, 6)), str(path))
    content = path.read_bytes().replace(b"ElementSpacing", line.encode() + b"\nElementSpacing", 1)
    path.write_bytes(content)
    loaded = read_image(path)
    found = [(one.about, one.text) for one in loaded.conflicts]
    if META[line] is None:
        assert found == []
    else:
        ((about, text),) = found
        assert about == META[line][0]
        assert META[line][1] in text
    image = SimpleITK.ReadImage(str(path))
    assert loaded.geometry.origin == image.GetOrigin()
    assert loaded.geometry.spacing == image.GetSpacing()


@pytest.mark.parametrize(("unit", "n_conflicts"), [("um", 1), ("mm", 0)])
def test_nrrd_units(tmp_path, unit, n_conflicts):
    path = tmp_path / "image.nrrd"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise(4, 5, 6)), str(path))
    line = f'space units: "{unit}" "{unit}" "{unit}"\n'
    path.write_bytes(path.read_bytes().replace(b"kinds:", line.encode() + b"kinds:", 1))
    assert len(read_image(path).conflicts) == n_conflicts


def test_one_line_for_all_files_of_a_kind(tmp_path):
    folders = make_folders(tmp_path)
    raw = save_raw(folders, file_ending=".nii")
    for path in sorted(raw.rglob("*.nii.gz")):
        array = np.asarray(nibabel.load(path).dataobj)
        write(path.with_suffix(""), array, sform=form(2))
        path.unlink()
    (line,) = findings_of(folders)
    assert line.startswith("warning: imagesTr/a_0000.nii: the header contradicts itself")
    assert "(1, 1, 1), the sform (2, 2, 2); pixdim is used" in line
    assert "in 10 files" in line
    assert "nnU-Net uses the same" in line


def test_each_kind_says_which_statement_is_used(tmp_path):
    folders = make_folders(tmp_path)
    turned = form(degrees=9)
    for case, options in {
        "a": {"sform": turned},
        "b": {"sform": turned, "codes": (2, 1)},
        "c": {"sform": turned, "codes": (0, 0)},
    }.items():
        write(folders / "images" / f"{case}.nii", noise(8, 6, 4), **options)
        write(folders / "masks" / f"{case}.nii", disc(8, 6, 4), **options)
    uses = ["the sform is used", "the qform is used", "have no code"]
    for warnings in (
        make(folders).warnings,
        evaluate_folders(FolderRequest(folders / "masks", folders / "masks")).notes,
    ):
        about = [line for line in warnings if "form" in line]
        assert [sum(use in line for line in about) for use in uses] == [1, 1, 1]


def test_a_voxel_size_that_is_not_finite_is_named(tmp_path):
    path = tmp_path / "a.nii"
    write(path, noise(8, 6, 4), codes=(0, 0), sizes=(1, np.inf, 1))
    assert read_image(path).odd_spacing == (1, np.inf, 1)


def test_data_sets_made_of_such_files_warn(tmp_path):
    folders = make_folders(tmp_path)
    for case in "ab":
        write(folders / "images" / f"{case}.nii", noise(8, 6, 4), sform=form(degrees=9))
        write(folders / "masks" / f"{case}.nii", disc(8, 6, 4), sform=form(degrees=9))
    assert any("contradicts itself (orientation)" in text for text in make(folders).warnings)


def test_evaluation_names_the_spacing_of_its_distances(tmp_path):
    for folder in ("pred", "ref"):
        (tmp_path / folder).mkdir()
        for case in "ab":
            write(tmp_path / folder / f"{case}.nii", disc(8, 6, 4), sform=form(2))
    done = evaluate_folders(FolderRequest(tmp_path / "pred", tmp_path / "ref"))
    (note,) = done.notes
    assert "the sform (2, 2, 2); pixdim is used; distances use (1, 1, 1) mm" in note
    assert "in 2 cases" in note


def test_evaluation_says_whose_voxel_size_it_takes(tmp_path):
    for folder in ("pred", "ref"):
        (tmp_path / folder).mkdir()
    write(tmp_path / "ref" / "a.nii", disc(8, 6, 4), sizes=(2, 2, 2), sform=form(2))
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(disc(8, 6, 4).T), str(tmp_path / "pred" / "a.tif")
    )
    done = evaluate_folders(FolderRequest(tmp_path / "pred", tmp_path / "ref"))
    assert "the prediction has no voxel size; distances use (2, 2, 2)" in done.notes[0]
    done = evaluate_folders(FolderRequest(tmp_path / "ref", tmp_path / "pred"))
    assert done.unit == "px"
    assert "only the prediction has a voxel size, (2, 2, 2)" in done.notes[0]
