"""The reader that nnU-Net takes decides what can be read: compared with nnU-Net's readers."""

import gzip
import json

import nibabel
import numpy as np
import pytest
import SimpleITK
from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name

from dataset_files import disc, findings_of, make, make_folders, noise, save, save_raw
from umamba.datasets.checks import Case
from umamba.datasets.inputs import check_case
from umamba.images.contents import UnreadableFileError
from umamba.images.files import read_image
from umamba.images.formats import READERS
from umamba.nnunet.image_readers import nnunet_reader

NIFTI_READERS = [name for name, endings in READERS.items() if ".nii.gz" in endings]
SKEWED = np.array([[1, 0.02, 0, 0], [0, 1, 0, 0], [0.01, 0, 1, 0], [0, 0, 0, 1]])
TURNED = np.array([[0, 0, -3.0, 7], [1.0, 0, 0, 2], [0, -2.0, 0, 4], [0, 0, 0, 1]])


@pytest.fixture
def folders(tmp_path):
    return make_folders(tmp_path)


def write(path, array, affine=None, dtype=None):
    image = nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine)
    if dtype is not None:
        image.header.set_data_dtype(dtype)
    nibabel.save(image, path)
    return path


def plain(tmp_path):
    path = write(tmp_path / "whole.nii", noise(6, 5, 4, dtype=np.float32))
    return path.rename(tmp_path / "image.nii.gz")


def packed(tmp_path):
    path = write(tmp_path / "image.nii.gz", noise(6, 5, 4, dtype=np.float32))
    return path.rename(tmp_path / "image.nii")


def members(tmp_path):
    """Two gzip members, and bytes that belong to neither, as some tools append them."""
    content = write(tmp_path / "whole.nii", noise(6, 5, 4)).read_bytes()
    path = tmp_path / "image.nii.gz"
    path.write_bytes(gzip.compress(content[:200]) + gzip.compress(content[200:]) + b"\0" * 9)
    return path


def scaled(tmp_path):
    path = tmp_path / "image.nii.gz"
    return write(path, np.linspace(-1, 1, 120).reshape(6, 5, 4), dtype=np.int16)


def big_endian(tmp_path):
    path = tmp_path / "image.nii"
    header = nibabel.Nifti1Header(endianness=">")
    nibabel.save(nibabel.Nifti1Image(noise(6, 5, 4, dtype=">i2"), np.eye(4), header), path)
    return path


IMAGES = {
    "plain": plain,
    "packed": packed,
    "members": members,
    "scaled": scaled,
    "big-endian": big_endian,
    "skewed": lambda p: write(p / "image.nii.gz", noise(6, 5, 4), SKEWED),
    "turned": lambda p: write(p / "image.nii.gz", noise(6, 5, 4, dtype=np.float32), TURNED),
    "singleton": lambda p: write(p / "image.nii.gz", noise(6, 5, 4, 1)),
    "flat": lambda p: write(p / "image.nii.gz", noise(6, 5)),
    "slice": lambda p: write(p / "image.nii", noise(6, 5, 1)),
    "integers": lambda p: write(p / "image.nii.gz", noise(6, 5, 4, dtype=np.int32)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reader", NIFTI_READERS)
@pytest.mark.parametrize("kind", IMAGES)
def test_we_take_what_nnunet_takes_and_find_the_same(tmp_path, capfd, kind, reader):
    path = IMAGES[kind](tmp_path)
    try:
        want, properties = recursive_find_reader_writer_by_name(reader)().read_images([str(path)])
    except Exception:  # noqa: BLE001
        with pytest.raises(UnreadableFileError):
            read_image(path, reader=reader)
        return
    capfd.readouterr()
    loaded = read_image(path, reader=reader)
    flat = loaded.array.ndim == 3
    found = loaded.array.astype(np.float32)
    assert np.array_equal(found[:, None] if flat else found, want)
    spacing = properties["spacing"][1:] if flat else properties["spacing"]
    assert np.allclose(loaded.geometry.spacing[::-1], spacing, rtol=1e-6)
    assert capfd.readouterr().err == ""


def test_both_outcomes_are_among_the_images(tmp_path):
    """The comparison above would say nothing if all readers took everything, or nothing."""
    for kind, reader, taken in (
        ("plain", "SimpleITKIO", True),
        ("plain", "NibabelIO", False),
        ("skewed", "SimpleITKIO", False),
        ("skewed", "NibabelIOWithReorient", True),
        ("singleton", "SimpleITKIO", True),
        ("singleton", "NibabelIO", False),
        ("packed", "SimpleITKIO", False),
    ):
        folder = tmp_path / f"{kind}-{reader}"
        folder.mkdir()
        path = IMAGES[kind](folder)
        if taken:
            assert read_image(path, reader=reader).array.size > 0
        else:
            with pytest.raises(UnreadableFileError):
                read_image(path, reader=reader)


def test_true_reasons(tmp_path):
    with pytest.raises(UnreadableFileError, match=r"compressed, though its name ends in \.nii"):
        read_image(packed(tmp_path))
    with pytest.raises(UnreadableFileError, match=r"not compressed.*NibabelIO cannot read it"):
        read_image(plain(tmp_path), reader="NibabelIO")
    torn = write(tmp_path / "torn.nii.gz", noise(6, 5, 4))
    content = bytearray(torn.read_bytes())
    content[-8] ^= 255  # of the checksum
    torn.write_bytes(content)
    with pytest.raises(UnreadableFileError, match="compressed data are damaged"):
        read_image(torn)


@pytest.mark.parametrize(
    ("named", "ending", "want"),
    [
        ("NibabelIO", ".nii.gz", "NibabelIO"),
        ("None", ".nii.gz", "SimpleITKIO"),
        (None, ".nii", "NibabelIO"),
        ("NoSuchIO", ".png", "NaturalImage2DIO"),
        ([1], ".nii.gz", None),
    ],
)
def test_reader_of_a_data_set(named, ending, want):
    description = {"file_ending": ending}
    if named is not None:
        description["overwrite_image_reader_writer"] = named
    assert nnunet_reader(description, None) == want


def test_the_first_image_decides_where_no_reader_is_named(tmp_path, capfd):
    skewed, plain_axes = write(tmp_path / "a.nii.gz", noise(4, 5, 6), SKEWED), tmp_path / "b.nii.gz"
    write(plain_axes, noise(4, 5, 6))
    assert nnunet_reader({"file_ending": ".nii.gz"}, skewed) == "NibabelIO"
    assert nnunet_reader({"file_ending": ".nii.gz"}, plain_axes) == "SimpleITKIO"
    assert capfd.readouterr().err == ""


def skew(path):
    write(path, np.asarray(nibabel.load(path).dataobj), SKEWED)


def test_skewed_axes_pass_with_the_reader_that_takes_them(folders):
    raw = save_raw(folders, overwrite_image_reader_writer="NibabelIO")
    for path in raw.rglob("*.nii.gz"):
        skew(path)
    assert findings_of(folders) == []


def test_skewed_axes_of_all_images_make_nnunet_take_nibabel(folders):
    raw = save_raw(folders)
    for path in raw.rglob("*.nii.gz"):
        skew(path)
    (line,) = findings_of(folders)
    assert "SimpleITKIO cannot open the first image, so NibabelIO is used for all cases" in line
    assert '"overwrite_image_reader_writer": "NibabelIO"' in line


def test_skewed_axes_without_such_a_reader_name_the_remedy(folders):
    raw = save_raw(folders)
    skew(raw / "imagesTr" / "c_0000.nii.gz")  # not the first, which would decide
    (line,) = (line for line in findings_of(folders) if line.startswith("error"))
    assert "c_0000.nii.gz: the axes in its header are not at right angles" in line
    assert '"overwrite_image_reader_writer": "NibabelIO"' in line


@pytest.mark.parametrize(("reader", "n_problems"), [("SimpleITKIO", 0), ("NibabelIO", 1)])
def test_prediction_follows_the_reader_of_the_plans(tmp_path, reader, n_problems):
    path = write(tmp_path / "case_0000.nii.gz", noise(6, 5, 4, 1))
    description = {"file_ending": ".nii.gz", "channel_names": {"0": "CT"}}
    _, problems = check_case(Case("case", (path,), None), description, reader)
    assert len(problems) == n_problems
    assert all("NibabelIO reads 3 dimensions only" in problem for problem in problems)


def test_an_unknown_reader_is_named(folders):
    save_raw(folders, overwrite_image_reader_writer="NoSuchIO")
    (line,) = findings_of(folders)
    assert "overwrite_image_reader_writer is 'NoSuchIO', which is not a reader of nnU-Net" in line


def test_uncompressed_nii_gz_is_accepted_noted_and_packed(folders):
    for case in "ab":
        for kind, array in (("images", noise(6, 5, 4, dtype=np.float32)), ("masks", disc(6, 5, 4))):
            path = write(folders / kind / "whole.nii", array)
            path.rename(folders / kind / f"{case}.nii.gz")
    created = make(folders)
    (warning,) = created.warnings
    assert "images/a.nii.gz: it is not compressed, though its name ends in .nii.gz" in warning
    assert "the same kind in 4 files" in warning
    written = created.path / "labelsTr" / "a.nii.gz"
    assert gzip.decompress(written.read_bytes()) == (folders / "masks" / "a.nii.gz").read_bytes()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("imagesTr/a_0000.nii.gz", "it is 4D"),
        ("labelsTr/a.nii.gz", "2 values per voxel"),
    ],
)
def test_what_nnunet_would_read_otherwise_is_an_error(folders, file, text):
    raw = save_raw(folders)
    array = noise(2, 4, 6, 8, dtype=np.float32)
    if "labels" in file:
        mask = disc(4, 6, 8)
        image = SimpleITK.GetImageFromArray(np.stack([mask, mask], -1), isVector=True)
    else:
        image = SimpleITK.JoinSeries([SimpleITK.GetImageFromArray(part) for part in array])
    SimpleITK.WriteImage(image, str(raw / file))
    assert any(text in line for line in findings_of(folders) if line.startswith("error"))


def test_alpha_channel_and_colour_mask_in_a_raw_data_set(folders):
    raw = folders / "raw" / "Dataset007_Test"
    for case in "abcde":
        alpha = np.full((8, 10, 1), 255, np.uint8)
        save(raw / "imagesTr" / f"{case}_0000.png", np.concatenate([noise(8, 10, 3), alpha], -1))
        save(raw / "labelsTr" / f"{case}.png", np.stack([disc(8, 10)] * 3, -1))
    content = {"channel_names": {"0": "R", "1": "G", "2": "B"}, "numTraining": 5}
    content |= {"labels": {"background": 0, "object": 1}, "file_ending": ".png"}
    (raw / "dataset.json").write_text(json.dumps(content))
    lines = findings_of(folders)
    assert sum("nnU-Net reads the alpha channel as well" in line for line in lines) == 5
    assert sum("the mask has 3 channels" in line for line in lines) == 5
