"""Damaged files get one explained error, or are read; nothing hangs, crashes or stays behind.

The mutants run in a process of their own, so that a crash of a C library is seen as one.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
from skimage.io import imsave

from model_factory import write_image, write_model
from toy import voxels
from umamba.cli.main import main
from umamba.images.contents import UnreadableFileError
from umamba.images.files import read_image
from umamba.nnunet.image_readers import nnunet_reader

# nnU-Net's reader for `.nii`.
NIBABEL = {"image_reader_writer": "NibabelIO"}
N_MUTANTS = 120  # of each kind of file
SECONDS = 120

READER = """
import json, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from umamba.datasets.checks import Case, inspect_case
from umamba.datasets.inputs import check_case
outcomes = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    ending = "." + path.name.partition(".")[2]
    outcomes[path.name] = ["crashed"]
    print(path.name, file=sys.stderr, flush=True)
    description = {"channel_names": {"0": "A"}, "file_ending": ending}
    _, problems = check_case(Case(path.name, (path,), None), description)
    _, as_mask = inspect_case(Case(path.name, (), path))
    outcomes[path.name] = problems + [f"{p.problem}; {p.fix}" for p in as_mask]
Path(sys.argv[2]).write_text(json.dumps(outcomes))
"""


def mutate(content: bytes, header: int, rng: np.random.Generator) -> bytes:
    """Flip bits, fill a piece of the header with garbage, cut, or lengthen."""
    kind = rng.integers(5)
    data = bytearray(content)
    if kind == 0:  # one to eight bits of the header
        for bit in rng.integers(0, 8 * header, rng.integers(1, 9)):
            data[bit // 8] ^= 1 << (bit % 8)
    elif kind == 1:  # of the body
        for bit in rng.integers(8 * header, 8 * len(data), rng.integers(1, 9)):
            data[bit // 8] ^= 1 << (bit % 8)
    elif kind == 2:  # noise, zeros or ones where a field of the header is
        start, size = int(rng.integers(0, header - 8)), int(rng.choice([2, 4, 8]))
        fill = (rng.bytes(size), b"\0" * size, b"\xff" * size)[rng.integers(3)]
        data[start : start + size] = fill
    elif kind == 3:
        del data[int(rng.integers(0, len(data))) :]
    else:
        data += rng.bytes(int(rng.integers(1, 1000)))
    return bytes(data)


def nifti_header_with(content: bytes, offset: int, value: bytes) -> bytes:
    return content[:offset] + value + content[offset + len(value) :]


def png_with_right_checksums(content: bytes) -> bytes:
    """Let damage in the header pass the checksum, so that it reaches what reads it."""
    chunk = content[12:29]
    return content[:29] + zlib.crc32(chunk).to_bytes(4, "big") + content[33:]


def write_mutants(folder: Path, source: Path) -> None:
    rng = np.random.default_rng(0)
    nifti = write_image(source / "a.nii", shape=(4, 9, 7)).read_bytes()
    packed = write_image(source / "a.nii.gz", shape=(4, 9, 7)).read_bytes()
    imsave(source / "a.png", rng.integers(0, 255, (20, 30), np.uint8), check_contrast=False)
    png = (source / "a.png").read_bytes()
    for i in range(N_MUTANTS):
        (folder / f"n{i:03d}.nii").write_bytes(mutate(nifti, 352, rng))
        (folder / f"p{i:03d}.png").write_bytes(mutate(png, 33, rng))
        fixed = png_with_right_checksums(mutate(png, 33, rng))
        (folder / f"q{i:03d}.png").write_bytes(fixed)
        if i < 30:
            (folder / f"z{i:03d}.nii.gz").write_bytes(mutate(packed, 20, rng))
    huge = np.array([3, 30000, 30000, 30000, 1, 1, 1, 1], "<i2").tobytes()
    for number, kept in enumerate((huge, b"\xff" * 16, b"\0" * 16)):
        (folder / f"dims{number}.nii").write_bytes(nifti_header_with(nifti, 40, kept))
    for number, value in enumerate((np.nan, np.inf, -1e30, 1e30)):
        bits = np.float32(value).tobytes()
        (folder / f"spacing{number}.nii").write_bytes(nifti_header_with(nifti, 80, bits))
        (folder / f"offset{number}.nii").write_bytes(nifti_header_with(nifti, 108, bits))


@pytest.mark.parametrize("limit", [8 * 2**30], ids=["8 GiB"])
def test_every_mutant_is_explained_or_read(limit: int, tmp_path: Path) -> None:
    import resource

    folder = tmp_path / "mutants"
    folder.mkdir()
    write_mutants(folder, tmp_path / "source")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(before) >= 200
    result = tmp_path / "outcomes.json"
    done = subprocess.run(
        [sys.executable, "-c", READER, str(folder), str(result)],
        timeout=SECONDS,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = json.loads(result.read_text())
    assert outcomes.keys() == before.keys()
    explained = {name: problems for name, problems in outcomes.items() if problems}
    assert len(explained) > len(before) // 4
    for name, problems in explained.items():
        assert all("; " in problem and "Traceback" not in problem for problem in problems), name
    assert any("truncated" in problem for problem in outcomes["dims0.nii"])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_prediction_leaves_whole_outputs_of_whole_images_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("mutants", "in"):
        (tmp_path / name).mkdir()
    write_mutants(tmp_path / "mutants", tmp_path / "source")
    chosen = [*(f"n{i:03d}" for i in range(30)), "dims0", "offset0", "spacing0", "spacing3"]
    for name in chosen:
        (tmp_path / "mutants" / f"{name}.nii").rename(tmp_path / "in" / f"{name}_0000.nii")
    model = write_model(tmp_path / "model", file_ending=".nii", plans_changes=NIBABEL)
    command = ["predict", "-m", str(model), "-i", str(tmp_path / "in"), "-device", "cpu", "--json"]
    assert main([*command, "-o", str(tmp_path / "out"), "--disable_tta"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert sorted([*report["predicted"], *report["failed"]]) == sorted(chosen)
    assert len(report["predicted"]) > 5
    assert "voxel size of" in report["failed"]["spacing3"]
    outputs = sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix != ".json")
    assert outputs == sorted(f"{name}.nii" for name in report["predicted"])
    for name in outputs:
        assert set(np.unique(voxels(tmp_path / "out" / name))) <= {0, 1, 2}


def test_a_small_tiff_that_claims_a_large_image_is_not_read(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.tif", tmp_path / "claims.tif"
    tifffile.imwrite(whole, np.arange(20 * 30, dtype=np.uint16).reshape(20, 30))
    assert read_image(whole).array.shape == (1, 20, 30)
    shutil.copy(whole, path)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["ImageLength"].overwrite(100_000_000)
    with pytest.raises(UnreadableFileError, match="its header claims 6000000000 bytes of voxels"):
        read_image(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_small_nifti_that_claims_a_large_image_is_not_read(tmp_path: Path, ending: str) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_data_shape((1000, 1000, 1000))
    header.set_data_offset(352)
    content = header.binaryblock + bytes(4 + 64)
    path = tmp_path / f"claims{ending}"
    path.write_bytes(gzip.compress(content) if ending == ".nii.gz" else content)
    most = "truncated: its header claims 4000000352 bytes"
    tracemalloc.start()
    with pytest.raises(UnreadableFileError, match=most):
        read_image(path)
    description = {"file_ending": ending}
    assert nnunet_reader(description, path) == nnunet_reader(description, None)
    assert tracemalloc.get_traced_memory()[1] < 2**28
    tracemalloc.stop()


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".tif"])
def test_an_image_larger_than_the_memory_is_not_read(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"large{ending}"
    array = np.arange(40 * 50 * 60, dtype=np.int16).reshape(40, 50, 60)
    if ending == ".tif":
        tifffile.imwrite(path, array, compression="zlib")
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path))
    assert np.array_equal(read_image(path).array[0], array)
    monkeypatch.setattr("umamba.images.contents.usable_memory", lambda: 8 * 240_000 - 1)
    with pytest.raises(UnreadableFileError, match=r"claims 240...? bytes of voxels, more than fit"):
        read_image(path)


def test_what_follows_the_voxels_cannot_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = nibabel.Nifti1Image(np.ones((5, 6, 7), np.uint8), np.eye(4))
    path = tmp_path / "tail.nii.gz"
    path.write_bytes(gzip.compress(image.to_bytes() + bytes(5_000_000)))
    assert read_image(path).array.shape == (1, 7, 6, 5)
    monkeypatch.setattr("umamba.images.nifti.usable_memory", lambda: 4_000_000)
    with pytest.raises(UnreadableFileError, match="unpacks to more than fits into the memory"):
        read_image(path)
