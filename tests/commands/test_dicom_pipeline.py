"""From a scanner's series to a model that is shared: nothing of the patients goes along."""

import gzip
import io
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dicom_files import PATIENT, write_series
from dicom_segmentations import MAKER
from toy import folder_options
from umamba.cli.main import main
from umamba.dicom.finding import find_series
from umamba.dicom.rtstruct_writing import write_rtstruct
from umamba.dicom.segments import segments_of
from umamba.system.environment import environment

pytestmark = [pytest.mark.nnunet, pytest.mark.slow]

NAME = "Dataset902_Study"
UID = "1.2.826.0.1.3680043.9.7777"
ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be")


def write_study(root: Path, n_patients: int = 5) -> None:
    """Write CT series in folders named after patients, and physicians' contours of a bright box."""
    rng = np.random.default_rng(0)
    (root / "contours").mkdir(parents=True)
    for number in range(n_patients):
        labels = np.zeros((12, 24, 20), np.uint8)
        labels[2:8, 5:17, 4 + number : 14 + number] = 1
        stored = (labels * 400.0 + rng.normal(0, 40, labels.shape)).astype(np.int16)
        folder = root / "in" / f"Mustermann_{number}"
        write_series(folder, stored, uid=f"{UID}.{number + 10}")
        (series,) = find_series(folder).series
        target = root / "contours" / f"Mustermann_{number}.dcm"
        write_rtstruct(target, labels, series, segments_of({"GTV": (1,)}), MAKER)


def contents(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a file and, if it is packed, all that is in it."""
    yield name, name.encode() + content
    if name.endswith(".gz"):
        yield from contents(name.removesuffix(".gz"), gzip.decompress(content))
    elif zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                yield from contents(f"{name}/{member}", archive.read(member))


def told(root: Path, said: str) -> list[tuple[str, str]]:
    """Return the files that tell something of the patients, and what, in any encoding."""
    found = []
    secrets = [*PATIENT.values(), UID, "Mustermann", "2019-08-17", "1941-02-03"]
    files = [path for path in root.rglob("*") if path.is_file()]
    texts = [pair for path in files for pair in contents(str(path), path.read_bytes())]
    for name, content in [*texts, ("what the commands said", said.encode())]:
        found += [
            (name, secret)
            for secret in secrets
            for encoding in ENCODINGS
            if secret.encode(encoding) in content
        ]
    return found


def test_nothing_of_the_patients_is_in_anything_that_commands_write(tmp_path, capfd, unchecked):
    source, root = tmp_path / "source", tmp_path / "made"
    write_study(source)
    folders = folder_options(root)
    images = ["--images", str(source / "in"), "--masks", str(source / "contours")]
    key = ["--key", str(tmp_path / "key.json")]
    model = ["--model", "attention_unet"]
    small = ["--features", "4,8", "--patch-size", "8", "16", "16", "--batch-size", "2"]
    few = ["--epochs", "1", "--iterations", "2", "--validation-tta", "off", "-device", "cpu"]
    labels = ["--labels", "tumour=1", "--rois", "tumour=GTV*"]
    unpacked, out = str(root / "unpacked"), str(root / "out")
    learning = [
        ["dataset", NAME, *images, "--channels", "CT", *labels, "--raw", str(root / "raw"), *key],
        ["check", "902", *folders[:4]],
        ["plan", "902", *model, *small, *folders],
        ["train", "902", "3d_fullres", "0", *model, *few, *folders],
        ["export", "902", "3d_fullres", *model, "--onnx", "-o", f"{unpacked}.zip", *folders],
    ]
    using = [
        ["predict", "-m", unpacked, "-i", str(source / "in"), "-o", out, "-device", "cpu", *key],
        ["evaluate", out, str(source / "contours"), *labels, *key, "--csv", f"{out}.csv"],
    ]
    with environment(nnUNet_def_n_proc="1", nnUNet_n_proc_DA="0"):
        assert [main(command) for command in learning] == [0] * len(learning)
        shutil.unpack_archive(f"{unpacked}.zip", unpacked)
        assert [main(command) for command in using] == [0] * len(using)

    captured = capfd.readouterr()
    assert len(list((root / "out").glob("case_*.nii.gz"))) == 5
    assert told(root, captured.out + captured.err) == []
    assert {secret for _, secret in told(tmp_path / "source", "")} > {"Mustermann", UID}
