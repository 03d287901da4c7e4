"""Every format in the table reads what it writes, and nnU-Net reads it with the readers named."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from full_disks import no_room_beyond
from umamba.images.contents import Geometry
from umamba.images.file_names import ENDINGS, is_image, split_ending
from umamba.images.files import UnreadableFileError, read_image, write_image
from umamba.images.formats import FORMATS, READER_DIMS, READERS
from umamba.images.segmentation_files import write_with_geometry_of

GEOMETRY = Geometry(
    (0.5, 0.75, 2.0), (1.0, -2.0, 3.0), (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
)


def written(folder: Path, ending: str) -> tuple[Path, np.ndarray]:
    shape = (9, 8) if ending == ".png" else (4, 9, 8)
    voxels = np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8)
    path = folder / f"a{ending.upper()}"
    write_image(folder / f"a{ending}", voxels, GEOMETRY if FORMATS[ending].has_geometry else None)
    (folder / f"a{ending}").rename(path)
    return path, voxels


@pytest.mark.parametrize("ending", FORMATS)
def test_what_is_written_is_read(ending: str, tmp_path: Path) -> None:
    path, voxels = written(tmp_path, ending)
    assert split_ending(path) == ("a", ending)
    assert is_image(path)
    loaded = read_image(path)
    np.testing.assert_array_equal(loaded.array, voxels[None])
    assert loaded.path == path
    if FORMATS[ending].has_geometry:
        assert loaded.geometry is not None
        assert not loaded.geometry.differences(GEOMETRY)
    else:
        assert loaded.geometry is None


@pytest.mark.parametrize("ending", FORMATS)
def test_torn_and_mislabelled_files_are_refused(ending: str, tmp_path: Path) -> None:
    path, _ = written(tmp_path, ending)
    for content in (path.read_bytes()[:20], b"a note, not an image\n" * 50):
        path.write_bytes(content)
        with pytest.raises(UnreadableFileError, match=r"; replace the file$"):
            read_image(path)


def test_a_format_that_is_not_in_the_table(tmp_path: Path) -> None:
    (tmp_path / "a.bmp").write_bytes(b"BM")
    with pytest.raises(UnreadableFileError, match=r"in \.bmp are not read; convert.* \.nii\.gz"):
        read_image(tmp_path / "a.bmp")


@pytest.mark.nnunet
@pytest.mark.parametrize("ending", FORMATS)
def test_nnunet_reads_the_same_with_each_reader(ending: str, tmp_path: Path) -> None:
    from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name

    path, voxels = written(tmp_path, ending)
    path = path.rename(tmp_path / f"a{ending}")
    for name in FORMATS[ending].readers:
        if READER_DIMS.get(name, voxels.ndim) != voxels.ndim:
            continue
        array, _ = recursive_find_reader_writer_by_name(name)().read_images([str(path)])
        ours = read_image(path, reader=name).array
        np.testing.assert_array_equal(np.squeeze(array), np.squeeze(ours))


def test_readers_by_ending() -> None:
    usual = {ending: form.usual_reader for ending, form in FORMATS.items()}
    by_itk = dict.fromkeys((".nii.gz", ".nii", ".nrrd", ".mha"), "SimpleITKIO")
    unsure = dict.fromkeys((".tiff", ".tif"), None)
    assert usual == by_itk | {".png": "NaturalImage2DIO"} | unsure
    for ending in unsure:
        assert FORMATS[ending].reader_by_dims(2) == "NaturalImage2DIO"
        assert FORMATS[ending].reader_by_dims(3) == "Tiff3DIO"
    assert FORMATS[".png"].reader_by_dims(2) is None
    assert READERS["NibabelIO"] == (".nii.gz", ".nii")
    assert READERS["NaturalImage2DIO"] == (".png", ".tiff", ".tif")
    assert ENDINGS[:2] == (".nii.gz", ".nii")


@pytest.mark.parametrize("ending", sorted({*FORMATS} - {".png"}))  # imageio reports it by itself
@pytest.mark.parametrize("room", [0, 100, 2**14])
def test_what_a_full_disk_cuts_off_is_an_error(ending: str, room: int, tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(0, 255, (20, 50, 50), np.uint8)  # hardly shrinks
    with no_room_beyond(room), pytest.raises((OSError, RuntimeError)):
        write_image(tmp_path / f"a{ending}", voxels)
    if ending in (".nii", ".nii.gz"):
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_no_segmentation_is_cut_off(ending: str, tmp_path: Path) -> None:
    labels = np.zeros((20, 50, 50), np.uint8)  # of which almost nothing is left once it is packed
    write_image(tmp_path / f"image{ending}", labels)

    def write(path: Path) -> None:
        image = SimpleITK.GetImageFromArray(labels)
        SimpleITK.WriteImage(image, str(path))

    target = tmp_path / f"labels{ending}"
    with no_room_beyond(2**14), pytest.raises((OSError, RuntimeError)):
        write_with_geometry_of(tmp_path / f"image{ending}", target, write)
    write_with_geometry_of(tmp_path / f"image{ending}", target, write)
    np.testing.assert_array_equal(read_image(target).array[0], labels)


def test_names_of_files_need_no_library() -> None:
    code = "import sys, umamba.images.file_names; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
