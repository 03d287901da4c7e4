import numpy as np
import pytest

from dataset_files import (
    disc,
    make,
    make_folders,
    noise,
    problems_of,
    save,
    save_pair,
    save_png_pair,
)
from umamba.errors import DatasetError
from umamba.images.files import read_image


@pytest.fixture
def folders(tmp_path):
    return make_folders(tmp_path)


@pytest.mark.parametrize(
    ("files", "naming"),
    [
        (("p_0000", "p_0001"), {}),
        (("p_t1", "p_t1c"), {"channels": (("A", "_t1"), ("B", "_t1c"))}),
        (
            ("p_t1_img", "p_t2_img"),
            {"channels": (("A", "_t1"), ("B", "_t2")), "image_suffix": "_img"},
        ),
        (("p1", "pT1"), {"channels": (("A", "1"), ("B", "T1"))}),
        (("p/one", "p/two"), {"channels": (("A", "one"), ("B", "two"))}),
    ],
    ids=["numbered", "suffixes", "both suffixes", "nested suffixes", "folders"],
)
def test_channels_in_files(folders, files, naming):
    images = [noise(4, 6, 8) for _ in files]
    for file, image in zip(files, images, strict=True):
        save(folders / "images" / f"{file}.nii.gz", image)
    save(folders / "masks" / "p_seg.nii.gz", disc(4, 6, 8))
    created = make(folders, naming={**naming, "mask_suffix": "_seg"})
    for index, image in enumerate(images):
        written = read_image(created.path / "imagesTr" / f"p_000{index}.nii.gz")
        np.testing.assert_array_equal(written.array[0], image)
    assert created.channels == (("A", "B") if "channels" in naming else ("channel_0", "channel_1"))


def test_numbers_that_the_masks_have_too_are_cases(folders):
    for case in ("patient_0001", "patient_0002"):
        save_png_pair(folders, case)
    assert make(folders).n_cases == 2


@pytest.mark.parametrize("masks", ["images", "images/masks"])
def test_masks_in_or_beside_the_images(folders, masks):
    suffix = "_seg" if masks == "images" else ""
    save(folders / "images" / "a.png", noise(8, 10))
    save(folders / masks / f"a{suffix}.png", disc(8, 10))
    created = make(folders, masks=folders / masks, naming={"mask_suffix": suffix})
    assert [p.name for p in (created.path / "imagesTr").iterdir()] == ["a_0000.png"]


def test_a_folder_can_name_the_case(folders):
    for case in ("p1", "p2"):
        save(folders / "images" / case / "PET.nii.gz", noise(4, 6, 8))
        save(folders / "images" / case / "mask.nii.gz", disc(4, 6, 8))
    naming = {"image_suffix": "PET", "mask_suffix": "mask"}
    created = make(folders, masks=folders / "images", naming=naming)
    assert sorted(p.name for p in (created.path / "labelsTr").iterdir()) == [
        "p1.nii.gz",
        "p2.nii.gz",
    ]


def test_files_that_fit_nothing_are_warned_of_but_hidden_ones_are_not(folders):
    save_png_pair(folders, "a")
    (folders / "images" / "._a.png").write_bytes(b"resource fork")
    (folders / "images" / "photo.jpg").write_bytes(b"?")
    (folders / "images" / "cases.csv").write_text("id")
    left_out, others = make(folders).warnings
    assert "left out: images/photo.jpg; they are not read; if you need them, convert" in left_out
    assert "1 file is not an image by name: images/cases.csv; nothing is taken" in others


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        ("a.png", "a_seg.png", r"--mask-suffix=_seg would pair 1 cases"),
        ("a.jpg", "a.png", r"no image in .* \(found: 1 \.jpg\).*JPEG.*convert to PNG"),
        (None, "a.png", r"no image in .* \(found: nothing\)"),
        ("a.png", None, r"no mask in "),
    ],
)
def test_nothing_to_pair(folders, image, mask, message):
    for folder, name in (("images", image), ("masks", mask)):
        if name:
            (folders / folder / name).write_bytes(b"?")
    with pytest.raises(DatasetError, match=message):
        make(folders)


def test_folder_mistakes(folders):
    with pytest.raises(DatasetError, match=r"--images .*nowhere: there is no such folder"):
        make(folders, images=folders / "nowhere")
    with pytest.raises(DatasetError, match=r"share the folder .* --mask-suffix"):
        make(folders, masks=folders / "images")
    with pytest.raises(DatasetError, match=r"give every channel a suffix"):
        make(folders, naming={"channels": (("T1", "_t1"), ("T2", ""))})


def test_a_name_of_which_nnunet_drops_an_ending_is_refused(tmp_path):
    folders = make_folders(tmp_path)
    save_pair(folders, "c")
    for kind in ("images", "masks"):
        content = (folders / kind / "c.nii.gz").read_bytes()
        (folders / kind / "c.nii.nii.gz").write_bytes(content)
    assert problems_of(folders) == [
        "case c.nii: masks/c.nii.nii.gz: its name has two endings, of which nnU-Net drops one "
        "where it writes the case; rename its files"
    ]
