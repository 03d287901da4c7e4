"""Any byte string is a legal file name: every file is used or named, whatever the command.

Commands run in processes of their own, as a name that is not UTF-8 can end the interpreter.
"""

import gzip
import json
import multiprocessing
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from model_factory import write_model
from umamba.cli.main import main
from umamba.system.path_names import shown

PARTS = [
    *(b"a", b"B", b"b", "é".encode(), "e\u0301".encode(), "片".encode(), b"\xff", b"\xe9"),
    *(b"\n", b"\t", b"\x1b[2J", b" ", b"-", b"'", b'"', b"$HOME", b"~", b"%s", b"{0}", b"\\"),
    *(b"*", b"_0000", b"_0001", b".", b"x" * 60),
]
ENDINGS = [*[b".nii.gz"] * 4, b".nii", b".NII.GZ", b".Nii.gz", b".jpg", b".csv", b""]
NAMES = st.lists(
    st.builds(
        lambda parts, ending: b"".join(parts) + ending,
        st.lists(st.sampled_from(PARTS), min_size=1, max_size=5),
        st.sampled_from(ENDINGS),
    ).filter(lambda name: len(name) <= 255 and name.strip(b".")),
    unique=True,
    max_size=6,
)
ODD = settings(
    deadline=None,
    derandomize=True,
    max_examples=5,
    phases=[Phase.generate],  # shrinking would start hundreds of processes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image and a mask."""
    folder = tmp_path_factory.mktemp("contents")
    mask = np.zeros((8, 16, 16), np.uint8)
    mask[2:6, 3:9, 3:9] = 1
    noise = np.random.default_rng(0).normal(size=mask.shape).astype(np.float32)
    for kind, array in (("image", noise), ("mask", mask)):
        image = SimpleITK.GetImageFromArray(array)
        SimpleITK.WriteImage(image, str(folder / f"{kind}.nii"))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def write(folder: Path, names: list[bytes], source: Path) -> None:
    folder.mkdir()
    content = source.read_bytes()
    for name in [b"good.nii.gz", *names]:
        packed = name.lower().endswith(b".gz")
        path = folder / os.fsdecode(name)
        path.write_bytes(gzip.compress(content, 1) if packed else content)


def _run(arguments: list[str], output: Path) -> None:
    for descriptor in (1, 2):
        file = os.open(output / str(descriptor), os.O_WRONLY | os.O_CREAT)
        os.dup2(file, descriptor)
    sys.exit(main(arguments))


def outcome(*arguments: object) -> tuple[int, Any, str]:
    """Run a command; return its exit code, its JSON, and what it said."""
    context = multiprocessing.get_context("forkserver")
    with tempfile.TemporaryDirectory() as folder:
        process = context.Process(target=_run, args=([*map(str, arguments)], Path(folder)))
        process.start()
        process.join(300)
        text, talk = ((Path(folder) / name).read_bytes() for name in ("1", "2"))
        assert process.exitcode in (0, 1, 2), talk.decode(errors="replace")
        return process.exitcode, json.loads(text or "null"), talk.decode()


def stems(name: bytes) -> set[str]:
    """Return what a case of that file may be called, and as what it may be shown."""
    found = {os.fsdecode(name)}
    for text in list(found):
        for ending in (".nii.gz", ".nii"):
            if text.lower().endswith(ending):
                found |= {text[: -len(ending)], re.sub("_000[01]$", "", text[: -len(ending)])}
                break
    return {*found, *map(shown, found)}


def expect_all(names: list[bytes], known: set[str], talk: str) -> None:
    for name in names:
        if name.startswith(b"."):
            assert not stems(name) & known
        elif name.lower().endswith((b".nii.gz", b".nii", b".jpg")):
            assert stems(name) & known, (name, known)
        elif name.isalnum():
            assert name.decode() in talk
        else:  # not an image: escaped in a note
            assert "note: " in talk


@ODD
@given(names=NAMES)
def test_predict(names: list[bytes], contents: Path, model: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        images, output = Path(folder) / "in", Path(folder) / "out"
        write(images, names, contents / "image.nii")
        where = ("-i", images, "-o", output, "-m", model, "-device", "cpu", "--disable_tta")
        code, report, talk = outcome("predict", *where, "--json")
        expect_all(names, {*report["predicted"], *report["failed"]}, talk)
        assert code == (1 if report["failed"] else 0)
        written = {path.name for path in output.glob("*.nii.gz")}
        assert written == {f"{case}.nii.gz" for case in report["predicted"]}
        assert "good" in report["predicted"]


@ODD
@given(names=NAMES)
def test_evaluate(names: list[bytes], contents: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder) / name for name in ("predictions", "references")]
        for masks in folders:
            write(masks, names, contents / "mask.nii")
        table = Path(folder) / "scores.csv"
        code, result, talk = outcome("evaluate", *folders, "--workers", 1, "--json", "--csv", table)
        assert "error" not in result, result
        evaluated = {row["case"] for row in result["cases"]}
        expect_all(names, {*evaluated, *result["failed"]}, talk)
        assert code == (1 if result["failed"] else 0)
        assert "good" in evaluated
        assert table.read_text(encoding="utf-8").startswith("case,")


@ODD
@given(names=NAMES)
def test_dataset_and_check(names: list[bytes], contents: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root / "images", names, contents / "image.nii")
        write(root / "masks", names, contents / "mask.nii")
        where = ("--images", root / "images", "--masks", root / "masks", "--raw", root / "raw")
        code, made, _ = outcome("dataset", "Dataset001_Odd", *where, "--json")
        if code == 0:
            code, report, _ = outcome("check", 1, "--raw", root / "raw", "--json")
            assert report["cases"] == made["cases"]
            assert not [p for p in report["problems"] if "UTF-8" in p["problem"]]
        else:
            assert code == 2
            assert made["problems"]
            assert not (root / "raw" / "Dataset001_Odd").exists()


def test_plan_refuses_a_name_that_is_not_utf8(contents: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw" / "Dataset001_Odd"
    raw.mkdir(parents=True)
    odd = b"latin\xe9"
    write(raw / "imagesTr", [odd + b"_0000.nii.gz"], contents / "image.nii")
    write(raw / "labelsTr", [odd + b".nii.gz"], contents / "mask.nii")
    (raw / "imagesTr" / "good.nii.gz").rename(raw / "imagesTr" / "good_0000.nii.gz")
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "a": 1},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(description))
    code, report, _ = outcome("check", 1, "--raw", tmp_path / "raw", "--json")
    assert code == 2
    assert [p["problem"] for p in report["problems"]] == ["its name is not UTF-8"] * 2
    folders = ("--raw", tmp_path / "raw", "--preprocessed", tmp_path / "preprocessed")
    code, _, talk = outcome("plan", 1, "--model", "umamba_bot", *folders)
    assert code == 2
    assert "latin\\udce9_0000.nii.gz: its name is not UTF-8; rename it" in talk


@pytest.mark.parametrize("odd", ["-i", "-o"])
def test_a_folder_whose_path_is_not_utf8(
    odd: str, contents: Path, model: Path, tmp_path: Path
) -> None:
    folders = {"-i": tmp_path / "in", "-o": tmp_path / "out"}
    folders[odd] = tmp_path / os.fsdecode(b"latin\xe9")
    write(folders["-i"], [], contents / "image.nii")
    where = [part for pair in folders.items() for part in pair]
    code, _, talk = outcome("predict", *where, "-m", model, "-device", "cpu", "--json")
    assert code == 2
    assert f"{odd} {tmp_path}/latin\\udce9: this path is not UTF-8; rename the folder" in talk
