"""What is wrong with names, folders and `dataset.json`."""

import json
import shlex
import subprocess

import numpy as np
import pytest
from nnunetv2.utilities.utils import get_identifiers_from_splitted_dataset_folder

from dataset_files import disc, findings_of, make_folders, noise, save, save_raw
from umamba.errors import UMambaError


@pytest.fixture
def folders(tmp_path):
    return make_folders(tmp_path)


def refusal(folders):
    with pytest.raises(UMambaError) as caught:
        findings_of(folders)
    return str(caught.value)


def rename(path, name):
    path.rename(path.with_name(name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channel_names": {"1": "T1"}}, "nnU-Net needs the name of every channel by its number"),
        ({"channel_names": ["T1"]}, "channel_names is ['T1']"),
        ({"file_ending": ".bmp"}, "file_ending is '.bmp'; these can be checked: .nii.gz"),
        ({"file_ending": None}, "file_ending is None"),
        ({"labels": {"0": "background", "1": "a"}}, 'write "labels": {"background": 0, "a": 1}'),
        ({"labels": {"background": 0}}, "labels is {'background': 0}"),
        ({"labels": {"background": 0, "a": "1"}}, "label a is '1'; give an integer"),
        ({"labels": {"background": 0, "a": []}}, "label a is []; give an integer, or a list"),
        ({"labels": [0, 1]}, "labels is [0, 1]"),
    ],
)
def test_a_description_that_cannot_be_used(folders, change, message):
    save_raw(folders, **change)
    text = refusal(folders)
    assert "dataset.json: " in text
    assert message in text


def test_no_description_and_a_damaged_one(folders):
    raw = save_raw(folders)
    (raw / "dataset.json").write_text("{")
    assert "dataset.json cannot be read" in refusal(folders)
    (raw / "dataset.json").unlink()
    assert "dataset.json does not exist" in refusal(folders)


@pytest.mark.parametrize("labels", [{"a": 2}, {"a": 1, "ignore": 3}, {"a": 2, "ignore": 1}])
def test_values_with_gaps(folders, labels):
    save_raw(folders, labels={"background": 0} | labels)
    (line,) = findings_of(folders)
    assert "dataset.json: the values of the labels are 0, " in line
    assert "nnU-Net needs 0, 1, 2, ... without gaps, and the highest one for ignore" in line


def test_values_that_no_label_has_and_labels_that_no_mask_has(folders):
    raw = save_raw(folders, labels={"background": 0, "tumour": 1, "oedema": 2})
    save(raw / "labelsTr" / "b.nii.gz", disc(4, 6, 8, value=7))
    lines = findings_of(folders)
    assert lines[0] == (
        "error: case b: labelsTr/b.nii.gz: the mask holds the value 7, which no label has (labels: "
        "background=0 tumour=1 oedema=2); correct the mask, or name the value under labels in "
        "dataset.json"
    )
    assert lines[1:] == [
        "warning: all cases: label oedema=2: no mask holds a voxel of it; check the value"
    ]


def test_regions_and_ignore(folders):
    labels = {"background": 0, "whole": [1, 2], "core": [2], "odd": [3, 4], "ignore": 5}
    raw = save_raw(folders, labels=labels, regions_class_order=[1, 2, 3])
    for case, value in zip("abcd", (1, 2, 3, 5), strict=True):
        save(raw / "labelsTr" / f"{case}.nii.gz", disc(4, 6, 8, value=value))
    lines = [line for line in findings_of(folders) if "fold" not in line]
    assert lines == [
        "warning: all cases: label odd(4)=4: no mask holds a voxel of it; check the value"
    ]


def test_empty_masks(folders):
    raw = save_raw(folders)
    save(raw / "labelsTr" / "b.nii.gz", np.zeros((4, 6, 8), np.uint8))
    (line,) = findings_of(folders)
    assert line.startswith("warning: case b: labelsTr/b.nii.gz: the mask holds no foreground")


def test_more_channels_than_names(folders):
    save_raw(folders, channel_names={"0": "T1", "1": "T2"})
    (line,) = findings_of(folders)
    assert "channel_names in dataset.json names 2, but the images have 1; name every" in line


def test_wrong_number_of_cases(folders):
    save_raw(folders, numTraining=9)
    (line,) = findings_of(folders)
    assert line.startswith("error: Dataset007_Test/dataset.json: numTraining is 9")
    assert line.endswith(
        "numTraining is 9, but there are 5 cases; write 5, or add the missing ones"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("imagesTr/b_0000.nii.gz", "b.nii.gz", "b.nii.gz: its name does not end in the number"),
        ("imagesTr/b_0000.nii.gz", "b_0000.nii", "b_0000.nii: file_ending in dataset.json is .nii"),
        ("labelsTr/b.nii.gz", "b.nrrd", "b.nrrd: file_ending in dataset.json is .nii.gz; save it"),
    ],
)
def test_names_that_nnunet_does_not_see(folders, old, new, message):
    rename(save_raw(folders) / old, new)
    (line,) = findings_of(folders)
    assert line.startswith("error: ")
    assert message in line


def test_subfolders_are_not_seen_by_nnunet(folders):
    raw = save_raw(folders)
    save(raw / "imagesTr" / "more" / "f_0000.nii.gz", noise(4, 6, 8))
    (line,) = findings_of(folders)
    assert "more/f_0000.nii.gz: nnU-Net does not look into subfolders of imagesTr; save" in line


def test_missing_files(folders):
    raw = save_raw(folders)
    (raw / "labelsTr" / "a.nii.gz").unlink()
    (raw / "imagesTr" / "b_0000.nii.gz").unlink()
    save(raw / "imagesTr" / "c_0001.nii.gz", noise(4, 6, 8))
    lines = " ".join(findings_of(folders))
    assert "error: case a: imagesTr/a_0000.nii.gz: the image has no mask; add a mask" in lines
    assert "error: case b: labelsTr/b.nii.gz: the mask has no image; add an image" in lines
    assert "error: case d: imagesTr/d_0000.nii.gz: channel _0001 is missing" in lines


def test_names_with_dots(folders):
    raw = save_raw(folders)
    rename(raw / "imagesTr" / "b_0000.nii.gz", "b.v1_0000.nii.gz")
    rename(raw / "labelsTr" / "b.nii.gz", "b.v1.nii.gz")
    assert findings_of(folders) == []


def test_hidden_files_that_nnunet_takes_for_cases(folders):
    raw = save_raw(folders)
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder / "Thumbs.db").write_bytes(b"a cache")
        (raw / folder / ".DS_Store").write_bytes(b"settings")
    assert findings_of(folders) == []
    (raw / "imagesTr" / "._b_0000.nii.gz").write_bytes(b"a copy by macOS")
    (raw / "labelsTr" / "._b.nii.gz").write_bytes(b"a copy by macOS")
    images = raw / "imagesTr"
    assert "._b" in get_identifiers_from_splitted_dataset_folder(str(images), ".nii.gz")
    (line,) = findings_of(folders)
    assert line.startswith("error: Dataset007_Test/imagesTr: nnU-Net takes hidden files for cases:")
    subprocess.run(shlex.split(line.partition("delete them: ")[2]), check=True)
    assert sorted(file.name for file in images.iterdir() if "b_" in file.name) == ["b_0000.nii.gz"]
    assert findings_of(folders) == []


def test_folders_that_are_not_there_or_do_not_belong_together(folders):
    raw = save_raw(folders)
    rename(raw / "labelsTr", "labels")
    assert "labelsTr does not exist; nnU-Net looks for images and masks there" in refusal(folders)
    (raw / "labelsTr").mkdir()
    assert "nnU-Net needs imagesTr/CASE_0000.nii.gz and labelsTr/CASE.nii.gz" in refusal(folders)


def test_cases_that_the_description_lists(folders):
    raw = save_raw(folders)
    listed = {
        case: {"images": [f"imagesTr/{case}_0000.nii.gz"], "label": f"./labelsTr/{case}.nii.gz"}
        for case in "abcde"
    }
    description = json.loads((raw / "dataset.json").read_text())
    (raw / "dataset.json").write_text(json.dumps(description | {"dataset": listed}))
    assert findings_of(folders) == []
    (raw / "labelsTr" / "b.nii.gz").unlink()
    lines = findings_of(folders)
    assert "case b: labelsTr/b.nii.gz: the file does not exist; put it there, or" in lines[0]
    del listed["b"]["label"]
    (raw / "dataset.json").write_text(json.dumps(description | {"dataset": listed}))
    assert "case b under dataset is {" in refusal(folders)
    (raw / "dataset.json").write_text(json.dumps(description | {"dataset": []}))
    assert "`dataset` is not an object with an entry for every case" in refusal(folders)
