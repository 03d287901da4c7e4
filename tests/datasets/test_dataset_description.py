"""What dataset.json promises, against nnU-Net's own painting of regions and its converters."""

import ast
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from dataset_files import NAME, findings_of, make_folders, save_raw
from umamba.cli.main import main
from umamba.datasets.description import check_description, read_labels
from umamba.errors import DatasetError

FILE = Path("raw/Dataset001_A/dataset.json")
PEDIATRIC = {"background": 0, "whole": [1, 2, 3, 4], "core": [1, 2, 3], "enhancing": 1}


def description(labels: dict[str, Any], **more: Any) -> dict[str, Any]:
    channels = {"channel_names": {"0": "MRI"}}
    return {**channels, "labels": labels, "file_ending": ".nii.gz", "numTraining": 1, **more}


def texts(labels: dict[str, Any], **more: Any) -> list[str]:
    return [str(problem) for problem in check_description(description(labels, **more), FILE)]


def nnunet_loses(labels: dict[str, Any], order: list[int]) -> bool:
    """Paint every value from perfect regions as nnU-Net does; tell whether a region differs."""
    manager = LabelManager(labels, order)
    values = np.asarray(manager.all_labels)
    perfect = np.stack([np.isin(values, region) for region in manager.foreground_regions])
    written = manager.convert_probabilities_to_segmentation(perfect.astype(np.float32))
    again = np.stack([np.isin(written, region) for region in manager.foreground_regions])
    return bool((again != perfect).any())


REGIONS = st.lists(
    st.lists(st.integers(1, 4), min_size=1, max_size=4, unique=True), min_size=1, max_size=4
).filter(lambda regions: any(len(region) > 1 for region in regions))


@settings(max_examples=200)
@given(regions=REGIONS, data=st.data())
def test_regions_are_painted_as_nnunet_does(regions: list[list[int]], data: st.DataObject) -> None:
    order = data.draw(st.lists(st.integers(1, 4), min_size=len(regions), max_size=len(regions)))
    every = sorted({value for region in regions for value in region})
    close = {value: n for n, value in enumerate(every, start=1)}  # values without gaps
    labels: dict[str, Any] = {"background": 0}
    labels |= {f"r{n}": [close[v] for v in region] for n, region in enumerate(regions)}
    found = texts(labels, regions_class_order=order)
    assert bool(found) == nnunet_loses(labels, order)
    for text in found:
        better = re.search(r'write "regions_class_order": (\[.*\])', text)
        listing = re.search(r"list them as (.*) and write", text)
        if better:
            names = listing[1].split(", ") if listing else list(labels)[1:]
            sorted_labels = {"background": 0} | {name: labels[name] for name in names}
            assert not nnunet_loses(sorted_labels, ast.literal_eval(better[1]))


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (None, "labels has regions, but regions_class_order is missing"),
        ([1, 2], "regions_class_order [1, 2] has 2 values for 3 regions"),
        ([4, 2, 1, 1], "has 4 values for 3 regions"),
        ("421", "regions_class_order is '421', not a list of integers"),
        ([4, 2, 1.0], "not a list of integers"),
        ([4, 2, True], "not a list of integers"),
        ([1, 2, 3], "nnU-Net would write 1 as 3, 4 as 1"),
        ([4, 4, 1], "nnU-Net would write 2 as 4, 3 as 4"),
    ],
)
def test_an_order_that_cannot_be_right(order: Any, message: str) -> None:
    (text,) = texts(PEDIATRIC, regions_class_order=order)
    assert message in text
    assert text.endswith('; write "regions_class_order": [4, 2, 1]')
    assert texts(PEDIATRIC, regions_class_order=[4, 2, 1]) == []


def test_regions_that_no_order_gives_back() -> None:
    crossed = {"background": 0, "left": [1, 2], "right": [2, 3]}
    (text,) = texts(crossed, regions_class_order=[1, 2])
    assert "no order would: of two regions that overlap, one must hold the other" in text
    inside_out = {"background": 0, "core": [2], "whole": [1, 2]}
    (text,) = texts(inside_out, regions_class_order=[2, 1])
    assert text.endswith('list them as whole, core and write "regions_class_order": [1, 2]')


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"background": 0, "a": [1, 2], "ignore": 2}, "label a holds 2, which is the value to ign"),
        ({"background": 0, "a": [0, 1]}, "label a holds 0, which is the background"),
    ],
)
def test_values_that_mean_two_things(labels: dict[str, Any], message: str) -> None:
    assert message in texts(labels, regions_class_order=[1])[0]


def test_more_labels_than_a_mask_can_hold() -> None:
    labels = {"background": 0, **{f"a{i}": i for i in range(1, 2**16 + 1)}}
    with pytest.raises(DatasetError, match="it has 65537 labels, more than 65536"):
        check_description(description(labels), FILE)


def test_an_ignore_label_needs_one_value() -> None:
    with pytest.raises(DatasetError, match=r"label ignore is \[3\]; give it one integer"):
        read_labels(description({"background": 0, "a": 1, "ignore": [3]}), FILE)


def test_values_that_regions_do_not_tell_apart_are_only_warned_of(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2]}
    save_raw(make_folders(tmp_path), labels=labels, regions_class_order=[2])
    lines = findings_of(tmp_path)
    assert [line for line in lines if "dataset.json" in line] == [
        "warning: Dataset007_Test/dataset.json: the regions do not distinguish 1 from 2: "
        "predictions hold 2 for both; give it a region of its own, unless both mean the same"
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channel_names": {"0": "R", "1": "G", "3": "B"}}, "without number 2; nnU-Net needs the"),
        ({"channel_names": {}}, "channel_names is {}; nnU-Net needs the name of every channel"),
    ],
)
def test_channels_with_a_hole(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        texts({"background": 0, "a": 1}, **change)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        ("NaturalImage2DIO", "'NaturalImage2DIO', which does not read .nii.gz; remove it, or"),
        ("FastReader", "'FastReader', which is not a reader of nnU-Net"),
        (7, "is 7, which is not a reader of nnU-Net"),
    ],
)
def test_a_reader_that_does_not_read_the_files(reader: Any, message: str) -> None:
    labels = {"background": 0, "a": 1}
    (text,) = texts(labels, overwrite_image_reader_writer=reader)
    assert message in text
    for fitting in ("NibabelIO", "NibabelIOWithReorient", "SimpleITKIO", "None"):
        assert texts(labels, overwrite_image_reader_writer=fitting) == []


def test_a_data_set_of_nnunet_1_is_converted_by_the_command_that_is_offered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = save_raw(make_folders(tmp_path))
    old = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "left lung"}}
    old |= {"numTraining": 5, "tensorImageSize": "3D", "training": [], "test": [], "numTest": 0}
    (raw / "dataset.json").write_text(json.dumps(old))
    folders = ["--raw", str(tmp_path / "raw"), "--preprocessed", str(tmp_path / "preprocessed")]
    for command in (["check", NAME], ["plan", NAME, "--model", "umamba_bot"]):
        assert main([*command, *folders]) == 2
        message = capsys.readouterr().err
        assert (
            "this is the format of nnU-Net 1 and of the Medical Segmentation Decathlon" in message
        )
    assert "nnUNetv2_convert_old_nnUNet_dataset" in message
    _, *command = shlex.split(re.search(r"with: (umamba dataset .*?)  or with", message)[1])
    assert main(command) == 0
    made = json.loads((tmp_path / "raw" / "Dataset008_Test" / "dataset.json").read_text())
    assert made["labels"] == {"background": 0, "left lung": 1}
    assert made["channel_names"] == {"0": "CT"}
    assert main(["check", "8", *folders]) == 0
