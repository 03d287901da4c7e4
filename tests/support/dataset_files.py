"""Small files on disk, and requests that make data sets of them."""

import json

import numpy as np
import pytest
import SimpleITK
import tifffile
from skimage.io import imsave

from umamba.datasets.cases import FileNaming
from umamba.datasets.checks import DatasetProblemsError
from umamba.datasets.creation import DatasetRequest, create_dataset
from umamba.datasets.labels import LabelRules
from umamba.nnunet.dataset_report import check_dataset
from umamba.nnunet.paths import Paths

RNG = np.random.default_rng(0)
NAME = "Dataset007_Test"


def make_folders(tmp_path):
    for name in ("images", "masks", "raw"):
        (tmp_path / name).mkdir()
    return tmp_path


def make(folders, *, rules=None, naming=None, **changes):
    request = DatasetRequest(
        name=changes.pop("name", NAME),
        images=changes.pop("images", folders / "images"),
        masks=changes.pop("masks", folders / "masks"),
        raw=folders / "raw",
        naming=FileNaming(**naming or {}),
        rules=LabelRules(**rules or {}),
        **changes,
    )
    return create_dataset(request)


def noise(*shape, dtype=np.uint8):
    return (RNG.random(shape) * 200).astype(dtype)


def disc(*shape, value=1, dtype=np.uint8):
    mask = np.zeros(shape, dtype)
    mask[tuple(slice(1, size // 2) for size in shape)] = value
    return mask


def save(path, array, *, spacing=None, origin=None, direction=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        imsave(path, array, check_contrast=False)
    elif path.suffix in (".tif", ".tiff"):
        colour = array.ndim == 3 and array.shape[-1] in (3, 4)
        tifffile.imwrite(path, array, photometric="rgb" if colour else "minisblack")
    else:
        image = SimpleITK.GetImageFromArray(array)
        for set_one, value in (
            (image.SetSpacing, spacing),
            (image.SetOrigin, origin),
            (image.SetDirection, direction),
        ):
            if value:
                set_one(value)
        SimpleITK.WriteImage(image, str(path))


def save_pair(folders, case, ending=".nii.gz", image=None, mask=None, **geometry):
    image = noise(4, 6, 8, dtype=np.float32) if image is None else image
    mask = disc(4, 6, 8) if mask is None else mask
    save(folders / "images" / f"{case}{ending}", image, **geometry)
    save(folders / "masks" / f"{case}{ending}", mask, **geometry)


def save_png_pair(folders, case, image=None, mask=None):
    image = noise(8, 10) if image is None else image
    save_pair(folders, case, ".png", image, disc(8, 10) if mask is None else mask)


def save_raw(folders, n_cases=5, **description):
    """Write a whole raw data set of 3D cases a, b, ... as nnU-Net wants it; return its folder."""
    raw = folders / "raw" / NAME
    for case in "abcdefghij"[:n_cases]:
        save_raw_case(raw, case)
    content = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "tumour": 1},
        "numTraining": n_cases,
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(content | description))
    return raw


def save_raw_case(raw, case, image=None, mask=None, **geometry):
    image = noise(4, 6, 8, dtype=np.float32) if image is None else image
    save(raw / "imagesTr" / f"{case}_0000.nii.gz", image, **geometry)
    mask = disc(*image.shape) if mask is None else mask
    save(raw / "labelsTr" / f"{case}.nii.gz", mask, **geometry)


def findings_of(folders, **options):
    """Check the raw data set; return its findings as lines with their severity."""
    paths = Paths(raw=folders / "raw", preprocessed=folders / "preprocessed")
    report = check_dataset("7", paths, **options)
    return [f"{problem.severity}: {problem}" for problem in report.problems]


def problems_of(folders, **options):
    """Return all problems as lines, and make sure that nothing was written."""
    with pytest.raises(DatasetProblemsError) as caught:
        make(folders, **options)
    assert list((folders / "raw").iterdir()) == []
    assert all(str(problem) in str(caught.value) for problem in caught.value.problems)
    return [str(problem) for problem in caught.value.problems]


def nnunet_accepts(folder):
    """Run nnU-Net's own checks of every case, without its pool of processes."""
    from nnunetv2.experiment_planning.verify_dataset_integrity import (
        check_cases,
        verify_labels,
    )
    from nnunetv2.imageio.reader_writer_registry import (
        determine_reader_writer_from_dataset_json,
    )
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    content = json.loads((folder / "dataset.json").read_text())
    ending = content["file_ending"]
    manager = LabelManager(content["labels"], None)
    labels = [*manager.all_labels, *([manager.ignore_label] if manager.has_ignore_label else [])]
    masks = sorted((folder / "labelsTr").glob(f"*{ending}"))
    assert len(masks) == content["numTraining"]
    ok = labels == list(range(len(labels)))
    for mask in masks:
        case = mask.name.removesuffix(ending)
        images = sorted(map(str, (folder / "imagesTr").glob(f"{case}_[0-9]*{ending}")))
        reader = determine_reader_writer_from_dataset_json(content, images[0], verbose=False)
        ok &= verify_labels(str(mask), reader, labels)
        ok &= check_cases(images, str(mask), len(content["channel_names"]), reader)
    return ok
