"""The runtime segments folders: whole files with their image's geometry, and nothing lost."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name
from skimage.io import imread, imsave

from dicom_files import write_series
from exported_models import Exported
from umamba.runtime import Predictor
from umamba.runtime.__main__ import main

RECTANGULAR = np.array([[-0.9, 0, 0, 5], [0, 1.1, 0, -7], [0, 0, 2.5, 3], [0, 0, 0, 1.0]])
SKEWED = np.array([[0.9, 0.1, 0, 5], [-0.12, 1.1, 0.1, -7], [0, -0.2, 2.4, 3], [0, 0, 0, 1.0]])


def save(folder: Path, name: str, seed: int = 0, affine: np.ndarray = RECTANGULAR) -> np.ndarray:
    """Save an image, and return it as (channels, z, y, x)."""
    folder.mkdir(exist_ok=True)
    image = np.random.default_rng(seed).normal(size=(14, 18, 9)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(image, affine), folder / f"{name}_0000.nii.gz")
    return image.T[None]


def test_files_hold_stock_labels_and_the_geometry_of_images(tmp_path: Path) -> None:
    exported = Exported(tmp_path / "model", of_configuration={"spacing": [2.0, 1.0, 1.0]})
    image = save(tmp_path / "images", "a")
    assert main([str(exported.folder), "-i", f"{tmp_path}/images", "-o", f"{tmp_path}/out"]) == 0
    given = nibabel.load(tmp_path / "images" / "a_0000.nii.gz")
    made = nibabel.load(tmp_path / "out" / "a.nii.gz")
    assert made.get_data_dtype() == np.uint8
    assert np.array_equal(made.affine, given.affine)
    read = SimpleITK.ReadImage(str(tmp_path / "images" / "a_0000.nii.gz"))
    want = exported.stock_labels(image, read.GetSpacing()[::-1])
    labels = np.asarray(made.dataobj).T
    assert (labels != want).mean() < 1e-3


def test_axes_that_are_not_at_right_angles_are_kept(tmp_path: Path) -> None:
    exported = Exported(tmp_path / "model", of_plans={"image_reader_writer": "NibabelIO"})
    save(tmp_path / "images", "a", affine=SKEWED)
    assert main([str(exported.folder), "-i", f"{tmp_path}/images", "-o", f"{tmp_path}/out"]) == 0
    assert np.allclose(nibabel.load(tmp_path / "out" / "a.nii.gz").affine, SKEWED)


@pytest.mark.parametrize("reader", ["SimpleITKIOWithReorient", "NibabelIOWithReorient"])
def test_images_that_are_turned_get_labels_that_are_turned_back(
    tmp_path: Path, reader: str
) -> None:
    exported = Exported(tmp_path / "model", of_plans={"image_reader_writer": reader})
    turned = RECTANGULAR[:, [2, 0, 1, 3]] * [1, 1, -1, 1]
    save(tmp_path / "images", "a", affine=turned)
    file = tmp_path / "images" / "a_0000.nii.gz"
    stock = recursive_find_reader_writer_by_name(reader)()
    image, properties = stock.read_images([str(file)])
    labels = exported.stock_labels(image, properties["spacing"])
    stock.write_seg(labels, str(tmp_path / "want.nii.gz"), properties)
    assert main([str(exported.folder), "-i", f"{tmp_path}/images", "-o", f"{tmp_path}/out"]) == 0
    made, want = (nibabel.load(tmp_path / name) for name in ("out/a.nii.gz", "want.nii.gz"))
    assert np.allclose(made.affine, want.affine, atol=1e-5)
    assert (np.asarray(made.dataobj) != np.asarray(want.dataobj)).mean() < 1e-3


def test_colour_pictures_become_pictures(tmp_path: Path) -> None:
    exported = Exported(
        tmp_path / "model",
        channels=["RGBTo01Normalization"] * 3,
        patch_size=(16, 12),
        of_configuration={"spacing": [1.0, 1.0]},
        of_plans={"image_reader_writer": "NaturalImage2DIO"},
        of_dataset={"file_ending": ".png"},
    )
    (tmp_path / "images").mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (30, 25, 3), dtype=np.uint8)
    imsave(tmp_path / "images" / "a_0000.png", picture)
    assert main([str(exported.folder), "-i", f"{tmp_path}/images", "-o", f"{tmp_path}/out"]) == 0
    image = picture.transpose(2, 0, 1)[:, None].astype(np.float32)
    want = exported.stock_labels(image, (999.0, 1.0, 1.0))[0]
    assert (imread(tmp_path / "out" / "a.png") != want).mean() < 1e-2


def test_a_stack_of_tiff_has_the_spacing_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported = Exported(
        tmp_path / "model",
        of_configuration={"spacing": [2.0, 1.0, 1.0]},
        of_plans={"image_reader_writer": "Tiff3DIO"},
        of_dataset={"file_ending": ".tif"},
    )
    (tmp_path / "images").mkdir()
    image = np.random.default_rng(0).normal(size=(6, 18, 14)).astype(np.float32)
    spacings = {"a": "[4.0, 1.5, 1.0]", "b": "[[1], [1, 2]]", "c": "["}
    for name, spacing in spacings.items():
        tifffile.imwrite(tmp_path / "images" / f"{name}_0000.tif", image)
        (tmp_path / "images" / f"{name}.json").write_text(f'{{"spacing": {spacing}}}')
    assert main([str(exported.folder), "-i", f"{tmp_path}/images", "-o", f"{tmp_path}/out"]) == 1
    said = capsys.readouterr().err
    assert "case b was left out: spacing [[1], [1, 2]] must be 3 positive sizes" in said
    assert "c.json cannot be read" in said
    want = exported.stock_labels(image[None], (4.0, 1.5, 1.0))
    assert (tifffile.imread(tmp_path / "out" / "a.tif") != want).mean() < 1e-3


def test_broken_cases_are_left_out_and_finished_ones_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported = Exported(tmp_path / "model")
    images, out = tmp_path / "images", tmp_path / "out"
    command = [str(exported.folder), "-i", str(images), "-o", str(out)]
    save(images, "a")
    save(images, "b", seed=1)
    (images / "b_0000.nii.gz").write_bytes(b"torn")
    assert main(command) == 1
    assert "case b was left out: b_0000.nii.gz: " in capsys.readouterr().err
    before = (out / "a.nii.gz").stat().st_mtime_ns
    save(images, "b", seed=1)
    assert main(command) == 0
    assert "1 predicted, 1 already there, 0 left out" in capsys.readouterr().out
    assert (out / "a.nii.gz").stat().st_mtime_ns == before
    assert main([*command, "--disable_tta"]) == 2
    assert "were made with another model or other settings (mirroring" in capsys.readouterr().err
    assert main([*command, "--disable_tta", "--overwrite"]) == 0
    assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == {
        *("a.nii.gz", "b.nii.gz", "umamba_prediction.json")
    }


@pytest.mark.parametrize(
    ("images", "output", "message"),
    [
        ("images", "images", "is also the folder of -i"),
        ("nowhere", "out", "does not exist"),
        (
            "study",
            "out",
            "holds DICOM, which the runtime does not read: convert it to NIfTI, or use",
        ),
    ],
)
def test_what_cannot_be_done_is_said_at_once(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    images: str,
    output: str,
    message: str,
) -> None:
    exported = Exported(tmp_path / "model")
    save(tmp_path / "images", "a")
    write_series(tmp_path / "study" / "ct", np.zeros((2, 3, 3), np.int16))
    folders = [f"{tmp_path}/{images}", f"{tmp_path}/{output}"]
    assert main([str(exported.folder), "-i", folders[0], "-o", folders[1]]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_image_that_is_a_link_to_an_output_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported = Exported(tmp_path / "model")
    save(tmp_path / "out", "a")
    (tmp_path / "out" / "a_0000.nii.gz").rename(tmp_path / "out" / "a.nii.gz")
    image = (tmp_path / "out" / "a.nii.gz").read_bytes()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.nii.gz").symlink_to(tmp_path / "out" / "a.nii.gz")
    command = [str(exported.folder), "-i", f"{tmp_path}/images", "-o", f"{tmp_path}/out"]
    assert main([*command, "--overwrite"]) == 2
    assert "which would be overwritten; give another -o" in capsys.readouterr().err
    assert (tmp_path / "out" / "a.nii.gz").read_bytes() == image


def test_an_interrupt_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exported = Exported(tmp_path / "model")
    for seed, name in enumerate("ab"):
        save(tmp_path / "images", name, seed)
    command = [str(exported.folder), "-i", f"{tmp_path}/images", "-o", f"{tmp_path}/out"]

    predict = Predictor.__call__

    def interrupted(predictor: Predictor, *args: Any, **more: Any) -> np.ndarray:
        if list((tmp_path / "out").glob("*.nii.gz")):
            raise KeyboardInterrupt
        return predict(predictor, *args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Predictor, "__call__", interrupted)
        assert main(command) == 75
    assert "1 predicted; run the same command" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob(".umamba-partial-*"))
    assert main(command) == 0
    assert "1 predicted, 1 already there" in capsys.readouterr().out
