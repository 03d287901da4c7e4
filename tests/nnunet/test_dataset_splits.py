"""Folds: too few cases, damaged files, the same images on both sides, labels that are missing."""

import json
from pathlib import Path

import numpy as np
import pytest

from dataset_files import (
    NAME,
    disc,
    findings_of,
    make_folders,
    noise,
    save,
    save_raw,
    save_raw_case,
)
from umamba.errors import DatasetError, UMambaError
from umamba.nnunet.splits import ensure_splits


@pytest.fixture
def folders(tmp_path):
    return make_folders(tmp_path)


def write_splits(folders, *folds):
    folder = folders / "preprocessed" / NAME
    folder.mkdir(parents=True, exist_ok=True)
    content = [{"train": [*train], "val": [*val]} for train, val in folds]
    (folder / "splits_final.json").write_text(json.dumps(content))
    return folder / "splits_final.json"


def test_too_few_cases(folders):
    save_raw(folders, 4)
    assert findings_of(folders) == [
        "error: all cases: 4 cases cannot be split into 5 folds; add cases, train fold `all`, or "
        "write fewer folds into splits_final.json"
    ]
    write_splits(folders, ("abc", "d"), ("bcd", "a"))
    assert findings_of(folders) == []


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ([("abcde", "")], "error: {file}: fold 0 has no cases in val; correct"),
        ([("abcd", "e"), ("abcz", "de")], "fold 1 names cases in train that do not exist: z;"),
        (
            [(["a", "b.nii.gz", "c", "d"], "e"), ("abc", "d")],
            "fold 0 names cases in train that do not exist: b.nii.gz; write b without the ending",
        ),
        ([("abcde", "e")], "fold 0 trains on cases of its own validation: e; correct"),
        ([("ab", "c")], "warning: {file}: no fold uses d, e; add them unless"),
    ],
)
def test_splits_that_do_not_fit(folders, folds, message):
    save_raw(folders)
    write_splits(folders, *folds)
    (line,) = findings_of(folders)
    assert message.format(file=f"{NAME}/splits_final.json") in line


@pytest.mark.parametrize("content", ["[]", "[1]", '[{"train": ["a"]}]', '[{"train": 1, "val": 2}]'])
def test_a_file_that_holds_no_splits(folders, content):
    save_raw(folders)
    write_splits(folders).write_text(content)
    (line,) = findings_of(folders)
    assert "it is not a list of folds with the cases for train and val; delete it" in line


def test_a_damaged_file(folders):
    save_raw(folders)
    write_splits(folders).write_text("[")
    with pytest.raises(UMambaError, match=r"splits_final.json cannot be read"):
        findings_of(folders)


def test_more_folds_than_anybody_has_are_one_finding(folders):
    save_raw(folders, 5)
    write_splits(folders, *[(["case_0"], ["case_0"])] * 1001)
    (finding,) = findings_of(folders)
    assert "it has 1001 folds, more than 1000" in finding


def test_the_same_image_on_both_sides_of_a_fold(folders):
    raw = save_raw(folders)
    image = noise(4, 6, 8, dtype=np.float32)
    for case in "ab":
        save_raw_case(raw, case, image)
    write_splits(folders, ("bcd", "ae"), ("abc", "de"))
    error, warning = findings_of(folders)
    assert error == (
        "error: case a: imagesTr/a_0000.nii.gz: fold 0 validates with it and trains with the same "
        "voxels in b; remove one of the two, or put both in the same part of every fold"
    )
    assert warning.startswith("warning: case b: imagesTr/b_0000.nii.gz: it holds the same voxels")


def test_the_split_that_nnunet_will_make(folders):
    """With five cases every fold validates with one: each of the two is the other's leak."""
    raw = save_raw(folders)
    image = noise(4, 6, 8, dtype=np.float32)
    for case in "ab":
        save_raw_case(raw, case, image)
    errors = [line for line in findings_of(folders) if line.startswith("error")]
    assert len(errors) == 2
    assert all("(in the split that nnU-Net will make); remove one" in line for line in errors)


def test_a_label_that_a_fold_never_sees(folders):
    raw = save_raw(folders, labels={"background": 0, "tumour": 1, "oedema": 2})
    save(raw / "labelsTr" / "e.nii.gz", disc(4, 6, 8, value=2))
    write_splits(folders, ("bcde", "a"), ("abcd", "e"))
    (line,) = findings_of(folders)
    assert line.startswith(f"warning: {NAME}/splits_final.json: fold 1 trains without")
    assert "any voxel of label oedema=2; write folds in which every training part has it" in line


def test_splits_are_written_as_nnunet_writes_them(tmp_path: Path) -> None:
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    cases = [f"case_{i}" for i in range(12)]
    for case in cases:
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{case}.pkl").touch()
    splits = ensure_splits(tmp_path, tmp_path / "data")
    stock = generate_crossval_split(sorted(cases), seed=12345, n_splits=5)
    assert splits == [{part: list(map(str, fold[part])) for part in fold} for fold in stock]
    assert json.loads((tmp_path / "splits_final.json").read_text()) == splits
    (tmp_path / "splits_final.json").write_text('[{"train": ["b"], "val": ["a"]}]')
    assert ensure_splits(tmp_path, tmp_path / "data") == [{"train": ["b"], "val": ["a"]}]
    (tmp_path / "splits_final.json").write_text("[]")
    with pytest.raises(DatasetError, match="not a list of folds"):
        ensure_splits(tmp_path, tmp_path / "data")
