import numpy as np
import pytest
from skimage.io import imread

from dataset_files import disc, make, make_folders, nnunet_accepts, problems_of, save_png_pair
from umamba.datasets.labels import LabelRules
from umamba.errors import DatasetError


@pytest.fixture
def folders(tmp_path):
    return make_folders(tmp_path)


def written_mask(folders, mask, **rules):
    save_png_pair(folders, "a", mask=mask)
    created = make(folders, rules=rules)
    assert nnunet_accepts(created.path)
    return created.labels, imread(created.path / "labelsTr" / "a.png")


def test_instances_become_one_label(folders):
    mask = (np.arange(80).reshape(8, 10) * 500).astype(np.uint16)
    labels, written = written_mask(folders, mask, instances=True, names={"nucleus": 1})
    assert labels == {"background": 0, "nucleus": 1}
    np.testing.assert_array_equal(written, mask > 0)


def test_ignore_becomes_the_highest_label(folders):
    mask = disc(8, 10)
    mask[-1] = 255
    labels, written = written_mask(folders, mask, ignore=255)
    assert labels == {"background": 0, "label_1": 1, "ignore": 2}
    np.testing.assert_array_equal(written[-1], 2)


def test_mapping_is_not_chained(folders):
    mask = np.zeros((8, 10), np.uint8)
    mask[2], mask[3], mask[4] = 1, 2, 255
    _, written = written_mask(folders, mask, mapping={1: 2, 2: 1, 255: 0})
    assert (written[2, 0], written[3, 0], written[4, 0]) == (2, 1, 0)


def test_values_with_gaps_name_the_cases_and_the_option(folders):
    for case in "abcd":
        save_png_pair(folders, case, mask=disc(8, 10, value=255))
    save_png_pair(folders, "e", mask=disc(8, 10, value=130))
    (line,) = problems_of(folders)
    assert "130 in e; 255 in 4 cases" in line
    assert "--map 130=1 255=2" in line


def test_the_proposed_map_is_whole(folders):
    mask = np.zeros((8, 10), np.uint8)
    mask[:3] = 2 * np.arange(30).reshape(3, 10)
    save_png_pair(folders, "a", mask=mask)
    (line,) = problems_of(folders)
    assert "and 19 more values" in line
    proposed = line.split("--map ")[1].split(" (")[0]
    assert proposed == " ".join(f"{2 * n}={n}" for n in range(1, 30))


def test_instance_maps_are_not_taken_for_classes(folders):
    save_png_pair(folders, "a", mask=(np.arange(80).reshape(8, 10)).astype(np.uint8))
    (line,) = problems_of(folders)
    assert "0 to 79; if they number single objects, use --instances" in line


def test_values_that_no_label_has(folders):
    save_png_pair(folders, "a")
    save_png_pair(folders, "b", mask=disc(8, 10, value=130))
    (line,) = problems_of(folders, rules={"names": {"axon": 1}})
    assert line.startswith("case b: masks/b.png: the mask holds the value 130, which no label has")
    assert "--map 130=LABEL" in line


def test_empty_masks_and_unused_rules_are_warned_of(folders):
    save_png_pair(folders, "a")
    save_png_pair(folders, "b", mask=np.zeros((8, 10), np.uint8))
    rules = {"names": {"axon": 1, "myelin": 2}, "mapping": {77: 1}, "ignore": 255}
    text = "\n".join(make(folders, rules=rules).warnings)
    assert "case b: masks/b.png: the mask holds no foreground" in text
    for unused in ("label myelin=2", "--map 77=1", "--ignore 255"):
        assert f"{unused}: no mask holds a voxel of it" in text


def test_only_empty_masks(folders):
    save_png_pair(folders, "a", mask=np.zeros((8, 10), np.uint8))
    assert any("no mask holds any foreground" in line for line in problems_of(folders))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"names": {"a": 2}}, r"without gaps.*--map 2=1"),
        ({"names": {"a": 1, "b": 1}}, r"a value of its own"),
        ({"names": {"a": 0, "b": 1}}, r"0 is the background"),
        ({"names": {"ignore": 1}}, r"use --ignore VALUE"),
        ({"names": {"a": 1}, "mapping": {255: 3}}, r"--map turns a value into 3"),
        ({"instances": True, "mapping": {255: 1}}, r"leave out --map"),
        ({"instances": True, "names": {"a": 1, "b": 2}}, r"makes one label, of value 1"),
        ({"ignore": 255, "mapping": {255: 1}}, r"--ignore 255: .*--map uses it"),
    ],
)
def test_label_rules_that_cannot_be(rules, message):
    with pytest.raises(DatasetError, match=message):
        LabelRules(**rules)
