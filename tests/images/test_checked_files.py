"""What was checked is remembered by content, and only as long as nothing has changed."""

import json
import os
import shutil

import numpy as np
import pytest
import SimpleITK

from dataset_files import disc, make, make_folders, noise, save, save_pair, save_raw
from umamba.images import checked_files
from umamba.images.checked_files import CheckedFiles
from umamba.images.contents import UnreadableFileError
from umamba.images.facts import FileFacts
from umamba.nnunet.dataset_report import check_dataset
from umamba.nnunet.paths import Paths
from umamba.system.environment import cache_folder


@pytest.fixture
def folders(tmp_path):
    return make_folders(tmp_path)


def check(folders):
    report = check_dataset("7", Paths(raw=folders / "raw"))
    return report.n_remembered, report.n_files, [str(problem) for problem in report.problems]


def memory_files():
    return sorted((cache_folder() / "checked").glob("*"))


def change_a_byte(path):
    """Change a voxel, and leave size and time as they were."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def uncompressed_raw(folders):
    raw = save_raw(folders, file_ending=".nrrd")
    for path in list(raw.rglob("*.nii.gz")):
        array = noise(4, 6, 8, dtype=np.float32) if "images" in str(path) else disc(4, 6, 8)
        path.unlink()
        target = str(path).replace(".nii.gz", ".nrrd")
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), target, useCompression=False)
    return raw


def test_a_second_check_remembers_all_and_finds_the_same(folders):
    raw = save_raw(folders)
    image = noise(4, 6, 8, dtype=np.float32)
    image[0, 0, 0] = np.nan
    save(raw / "imagesTr" / "b_0000.nii.gz", image)
    save(raw / "labelsTr" / "c.nii.gz", disc(4, 6, 8, value=3))
    save(raw / "imagesTr" / "d_0000.nii.gz", np.full((4, 6, 8), 7, np.float32))
    first, second = check(folders), check(folders)
    assert first[:2] == (0, 10)
    assert second[:2] == (10, 10)
    assert len(first[2]) == 3
    assert second[2] == first[2]


def test_a_changed_byte_is_seen_though_size_and_time_are_the_same(folders):
    raw = uncompressed_raw(folders)
    check(folders)
    change_a_byte(raw / "labelsTr" / "b.nrrd")
    n_remembered, _, problems = check(folders)
    assert n_remembered == 9
    assert check(folders) == (10, 10, problems)


def test_another_reader_reads_again(folders):
    raw = save_raw(folders)
    check(folders)
    description = json.loads((raw / "dataset.json").read_text())
    description["overwrite_image_reader_writer"] = "NibabelIO"
    (raw / "dataset.json").write_text(json.dumps(description))
    assert check(folders)[0] == 0
    assert check(folders)[0] == 10


def test_other_labels_in_dataset_json_are_judged_anew(folders):
    raw = save_raw(folders)
    assert check(folders)[2] == []
    description = json.loads((raw / "dataset.json").read_text())
    description["labels"] = {"background": 0, "tumour": 1, "rare": 2}
    (raw / "dataset.json").write_text(json.dumps(description))
    n_remembered, _, problems = check(folders)
    assert n_remembered == 10
    assert any("rare" in problem for problem in problems)


def test_what_another_version_remembered_is_read_again(folders):
    save_raw(folders)
    check(folders)
    (path,) = memory_files()
    head, entries = path.read_text().splitlines()
    head = json.dumps({**json.loads(head), "version": "another"})
    path.write_text(f"{head}\n{entries}\n")
    assert check(folders)[0] == 0
    assert check(folders)[0] == 10


def test_the_version_is_that_of_code_and_libraries(monkeypatch):
    version = checked_files._version.__wrapped__
    before = version()
    assert version() == before
    monkeypatch.setattr(checked_files.metadata, "version", lambda _name: "0")
    assert version() != before


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text(""),
        lambda path: path.write_bytes(b"\xff\xfe\0" * 99),
        lambda path: path.write_text("[" * 99_999),
        lambda path: path.write_text(path.read_text().replace("tumour", "x")[:-40]),
        lambda path: path.write_text(path.read_text().replace('"n_nan": 0', '"n_nan": 5')),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: shutil.rmtree(path.parent),
    ],
)
def test_a_damaged_memory_does_no_harm(folders, damage):
    save_raw(folders)
    check(folders)
    (path,) = memory_files()
    damage(path)
    assert check(folders) == (0, 10, [])
    assert check(folders)[1:] == (10, [])


@pytest.mark.parametrize("entry", [None, [], {"shape": [1]}, {"geometry": 3}])
def test_entries_of_another_form_are_left_aside(folders, entry):
    save_raw(folders)
    check(folders)
    (path,) = memory_files()
    head, entries = path.read_text().splitlines()
    entries = json.dumps(dict.fromkeys(json.loads(entries), entry))
    head = json.dumps({**json.loads(head), "digest": checked_files._digest(entries)})
    path.write_text(f"{head}\n{entries}\n")
    assert check(folders) == (0, 10, [])


def test_a_cache_that_cannot_be_written_does_no_harm(folders, tmp_path, monkeypatch):
    save_raw(folders)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert check(folders) == (0, 10, [])
    assert check(folders) == (0, 10, [])


def test_what_cannot_be_read_is_read_again(folders):
    raw = save_raw(folders)
    torn = raw / "imagesTr" / "c_0000.nii.gz"
    torn.write_bytes(torn.read_bytes()[:60])
    check(folders)
    n_remembered, n_files, problems = check(folders)
    assert (n_remembered, n_files) == (9, 10)
    assert "c_0000.nii.gz: the file is truncated" in problems[0]


def test_the_new_data_set_is_known_after_it_was_made(folders):
    for case in "abcde":
        save_pair(folders, case)
    make(folders)
    assert check(folders)[:2] == (10, 10)


def test_an_image_is_no_mask(folders, tmp_path):
    path = tmp_path / "a.nii.gz"
    save(path, disc(4, 6, 8))
    for _ in range(2):
        memory = CheckedFiles(folders)
        assert memory.facts(path, None, is_mask=True).mask.values == {0, 1}
        assert memory.facts(path, None, is_mask=False).mask is None
        memory.save()
    assert memory.n_remembered == 2


def test_a_path_that_is_refused_stays_refused(folders, tmp_path):
    """The same content under a name that SimpleITK cannot take."""
    path = tmp_path / "a.nii.gz"
    save(path, disc(4, 6, 8))
    odd = tmp_path / os.fsdecode(b"\xff.nii.gz")
    try:
        shutil.copy(path, odd)
    except OSError:
        pytest.skip("this file system takes no such names")
    memory = CheckedFiles(folders)
    memory.facts(path, None, is_mask=True)
    memory.save()
    with pytest.raises(UnreadableFileError, match="not UTF-8"):
        CheckedFiles(folders).facts(odd, None, is_mask=True)


def test_a_file_that_changes_while_it_is_read_is_not_remembered(folders, tmp_path, monkeypatch):
    path = tmp_path / "a.nii.gz"
    save(path, disc(4, 6, 8))
    read = FileFacts.read

    def read_late(path, **options):
        save(path, disc(4, 6, 8, value=9))
        return read(path, **options)

    monkeypatch.setattr(FileFacts, "read", read_late)
    memory = CheckedFiles(folders)
    memory.facts(path, None, is_mask=True)
    memory.save()
    assert memory_files() == []


def test_few_data_sets_are_remembered(folders, tmp_path):
    path = tmp_path / "a.nii.gz"
    save(path, disc(4, 6, 8))
    for number in range(5):
        memory = CheckedFiles(folders / str(number))
        memory.facts(path, None, is_mask=True)
        memory.save(most_datasets=3)
        for age, file in enumerate(memory_files()):
            os.utime(file, (age, age + 10 * (file not in memory_files()[:-1])))
    assert len(memory_files()) == 3


def test_facts_survive_json(folders, tmp_path):
    array = noise(3, 8, 10)
    save(tmp_path / "a.png", np.moveaxis(array, 0, -1))
    save(tmp_path / "m.nii.gz", disc(4, 6, 8), spacing=(1, 2, 3))
    for name, is_mask in (("a.png", False), ("m.nii.gz", True)):
        facts = FileFacts.read(tmp_path / name, is_mask=is_mask)
        content = json.loads(json.dumps(facts.to_dict()))
        assert FileFacts.from_dict(tmp_path / name, content) == facts
