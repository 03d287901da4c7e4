"""`umamba check` as a whole: order, test images, and that nothing is touched."""

import hashlib
import weakref

import numpy as np
import pytest

from dataset_files import disc, findings_of, make_folders, noise, save, save_raw, save_raw_case
from umamba.errors import UMambaError
from umamba.images import facts as file_facts
from umamba.nnunet.dataset_report import check_dataset
from umamba.nnunet.paths import Paths


@pytest.fixture
def folders(tmp_path):
    return make_folders(tmp_path)


def fingerprint(folder):
    return {
        path: (
            path.stat().st_mtime_ns,
            path.is_file() and hashlib.sha256(path.read_bytes()).digest(),
        )
        for path in folder.rglob("*")
    }


def test_everything_at_once_errors_first_and_nothing_is_changed(folders):
    raw = save_raw(folders)
    save(raw / "labelsTr" / "a.nii.gz", np.zeros((4, 6, 8), np.uint8))
    save(raw / "labelsTr" / "b.nii.gz", disc(4, 6, 7))
    torn = raw / "imagesTr" / "c_0000.nii.gz"
    torn.write_bytes(torn.read_bytes()[:80])
    image = noise(4, 6, 8, dtype=np.float32)
    image[0, 0, 0] = np.nan
    save(raw / "imagesTr" / "d_0000.nii.gz", image)
    before = fingerprint(folders)
    lines = findings_of(folders)
    assert fingerprint(folders) == before
    assert [line.split(":")[0] for line in lines] == ["error"] * 3 + ["warning"]
    assert "labelsTr/b.nii.gz: shape (4, 6, 7) but imagesTr/b_0000.nii.gz has (4, 6, 8)" in lines[0]
    assert "imagesTr/c_0000.nii.gz: the file is truncated" in lines[1]
    assert "imagesTr/d_0000.nii.gz: channel MRI holds 1 NaN voxels (of 192); replace" in lines[2]


def test_geometry_of_image_and_mask(folders):
    raw = save_raw(folders)
    save(raw / "labelsTr" / "b.nii.gz", disc(4, 6, 8), origin=(9.0, 0, 0))
    (line,) = findings_of(folders)
    assert line.startswith("error: case b: labelsTr/b.nii.gz: origin (9, 0, 0) but (0, 0, 0) in")


def test_a_folder_that_cannot_be_written(folders):
    """Root may write all the same: that nothing is written shows the test above."""
    raw = save_raw(folders)
    everything = [raw, *raw.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert findings_of(folders) == []
    for path in everything:
        path.chmod(0o755)


def test_images_for_training_and_for_testing(folders):
    raw = save_raw(folders)
    image = noise(4, 6, 8, dtype=np.float32)
    save_raw_case(raw, "b", image)
    save(raw / "imagesTs" / "t_0000.nii.gz", image)
    save(raw / "imagesTs" / "u_0000.nii.gz", noise(4, 6, 8))
    assert findings_of(folders) == [
        "error: case t: imagesTs/t_0000.nii.gz: it holds the same voxels as "
        "imagesTr/b_0000.nii.gz; remove one of the two: test images must not be used for training"
    ]


def test_images_for_testing_are_read(folders):
    raw = save_raw(folders)
    (raw / "imagesTs").mkdir()
    (raw / "imagesTs" / "t_0000.nii.gz").write_bytes(b"")
    (line,) = findings_of(folders)
    assert line.startswith("error: case t: imagesTs/t_0000.nii.gz: the file is empty; replace")


def test_one_case_is_in_memory_at_a_time(folders, monkeypatch):
    """Before a file is read, nothing holds the voxels of an earlier one."""
    save_raw(folders)
    alive = []
    read = file_facts.read_image

    def read_alone(path, **options):
        assert not any(reference() is not None for reference in alive[:-1])
        loaded = read(path, **options)
        alive.append(weakref.ref(loaded.array))
        return loaded

    monkeypatch.setattr(file_facts, "read_image", read_alone)
    assert findings_of(folders) == []
    assert len(alive) == 10


def test_progress_and_counts(folders):
    save_raw(folders, 4)
    titles = []

    def progress(items, title):
        titles.append((title, len(items)))
        return items

    paths = Paths(raw=folders / "raw")
    report = check_dataset("Dataset007_Test", paths, progress)
    assert titles == [("checking", 4), ("checking imagesTs", 0)]
    content = report.to_dict()
    assert (content["cases"], content["errors"], content["warnings"]) == (4, 1, 0)
    assert content["problems"][0]["severity"] == "error"


def test_what_cannot_be_found(folders):
    with pytest.raises(UMambaError, match="data set '7' was not found in"):
        findings_of(folders)
    with pytest.raises(UMambaError, match="give --raw DIR"):
        check_dataset("7", Paths())
