"""Damaged DICOM: whatever is wrong with a file, the answer is one line, soon, about its series."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from dicom_files import enhanced, write_series
from umamba.dicom.derived import Maker
from umamba.dicom.finding import find_series
from umamba.dicom.image_grid import ImageGrid
from umamba.dicom.pixels import read_series
from umamba.dicom.rtstruct_writing import write_rtstruct
from umamba.dicom.seg_writing import write_seg
from umamba.dicom.segments import segments_of
from umamba.dicom.series import Series, SeriesError
from umamba.dicom.structures import read_structures

STORED = np.random.default_rng(8).integers(0, 900, (3, 32, 32)).astype(np.int16)
N_MUTANTS, N_MASK_MUTANTS = 300, 90
WORST = ["", "x", "nan", "1e308", "-1", "0", "99999999999", "1\\2", "1\\2\\3\\4\\5\\6\\7", "\0\0"]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """One valid file per kind: plain, three compressions, multi-frame."""
    root = tmp_path_factory.mktemp("originals")
    files = write_series(root / "plain", STORED[:1])
    for syntax in (JPEG2000Lossless, JPEGLSLossless, RLELossless):
        ds = dcmread(files[0])
        ds.compress(syntax, generate_instance_uid=False)
        files.append(root / syntax)
        ds.save_as(files[-1])
    files.append(root / "frames")
    enhanced(files[-1], STORED, [1, 2, 3], "1.2.3")
    return [file.read_bytes() for file in files]


def damaged(rng: random.Random, content: bytes, header: int = 1400) -> bytes:
    """Cut, overwrite or repeat bytes, mostly of the header."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        reach = len(data) if rng.random() < 0.4 else min(len(data), header)
        start = rng.randrange(128, max(reach, 129))
        kind = rng.choice(["flip", "fill", "cut", "end", "repeat", "text"])
        if kind == "flip" and start < len(data):
            data[start] ^= 1 << rng.randrange(8)
        elif kind == "fill":
            data[start : start + rng.choice([1, 2, 4, 8])] = rng.choice([b"\xff", b"\0"]) * 4
        elif kind == "cut":
            del data[start : start + rng.randint(1, 40)]
        elif kind == "end":
            del data[start:]
        elif kind == "repeat":
            data[start:start] = data[start : start + 60]
        else:
            text = rng.choice(WORST).encode()
            data[start : start + len(text)] = text
    return bytes(data)


def outcomes(folder: Path) -> Iterator[str]:
    """Yield the reason of all that failed, and "" for what was read."""
    found = find_series(folder, resample=True)
    yield from (failed.reason for failed in found.failed)
    for series in found.series:
        yield from why_not_read(series)


def why_not_read(series: Series) -> list[str]:
    try:
        read_series(series)
    except SeriesError as error:
        return [str(error)]
    return []


def test_every_damage_is_read_or_explained_in_one_line(originals, tmp_path, capfd):
    kinds = set()
    for seed in range(N_MUTANTS):
        rng = random.Random(seed)
        content = damaged(rng, originals[seed % len(originals)])
        (tmp_path / "a.dcm").write_bytes(content)
        for reason in outcomes(tmp_path):
            assert "\n" not in reason
            assert "; " in reason, reason
            kinds.add(reason.partition(";")[0])
    assert len(kinds) >= 6
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_damaged_contours_and_segments_are_read_or_explained_in_one_line(tmp_path, capfd):
    write_series(tmp_path / "ct", STORED)
    (series,) = find_series(tmp_path / "ct").series
    labels = (STORED % 3).astype(np.uint8)[:, :9, :9].repeat(4, 1).repeat(4, 2)[:, :32, :32]
    given = (labels, series, segments_of({"a": (1,), "b": (2,)}), Maker("model", "1"))
    write_rtstruct(tmp_path / "0", *given)
    write_seg(tmp_path / "1", *given)
    write_seg(tmp_path / "2", *given, as_label_map=True)
    originals = [(tmp_path / name).read_bytes() for name in "012"]
    grid = ImageGrid(series.geometry, series.shape, series.head.frame_of_reference_uid)

    reasons = []
    for seed in range(N_MASK_MUTANTS):
        original = originals[seed % len(originals)]
        (tmp_path / "mutant").write_bytes(damaged(random.Random(seed), original, len(original)))
        try:
            structures = read_structures(tmp_path / "mutant")
            if structures is not None:
                list(structures.masks(range(len(structures.names)), grid))
        except SeriesError as error:
            reasons.append(str(error))

    assert len(set(reasons)) >= 3
    assert [text for text in reasons if "\n" in text or "; " not in text] == []
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
