"""Make nnU-Net data sets of public downloads, with the cases and folds of our comparisons.

`docs/evidence/README.md` says where to download them. Our cases are listed in `cases.json`.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skimage.io import imread, imsave

from benchmarks.evidence.sets import SETS, UMAMBA
from umamba.errors import UMambaError
from umamba.system.atomic_files import write_whole

_CASES = Path(__file__).parent / "cases.json"
_WHITE = 200  # a few masks of axons have stray values of 130 to 233
_FIRST_RATS = {"sub-rat1", "sub-rat3", "sub-rat5"}


class SourceError(Exception):
    """A download lacks what is needed."""


@dataclass(frozen=True)
class Source:
    """A download, and the way in which it becomes a data set.

    Attributes:
        needs: Contents of the folder.
        collect: Writes images and masks of the named cases into two folders; takes the download,
            the two folders and the names.
        channels: Names of the channels.
        labels: Names of the labels, background first.
    """

    needs: str
    collect: Callable[[Path, Path, Path, Sequence[str]], None]
    channels: tuple[str, ...]
    labels: tuple[str, ...]


def main() -> None:
    """Write one data set, and its folds where they are ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=SOURCES)
    parser.add_argument("source", type=Path, help="the download, unpacked")
    parser.add_argument("raw", type=Path, help="nnUNet_raw")
    parser.add_argument("preprocessed", type=Path, help="nnUNet_preprocessed")
    args = parser.parse_args()
    try:
        sys.exit(prepare(args.name, args.source, args.raw, args.preprocessed))
    except (SourceError, UMambaError) as error:
        parser.error(str(error))


def prepare(name: str, source: Path, raw: Path, preprocessed: Path) -> int:
    """Write one data set, and its folds where they are ours.

    Args:
        name: Name of the comparison.
        source: The download, unpacked.
        raw: nnU-Net's folder of raw data.
        preprocessed: nnU-Net's folder of preprocessed data.

    Returns:
        The exit code of `umamba dataset`.

    Raises:
        SourceError: If the download lacks a case.
        UMambaError: If the folds cannot be written.
    """
    of_set, dataset = SOURCES[name], SETS[name].dataset
    cases = json.loads(_CASES.read_text()).get(name) or _axon_cases(source)
    raw.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        images, masks = Path(folder) / "images", Path(folder) / "masks"
        images.mkdir()
        masks.mkdir()
        of_set.collect(source, images, masks, cases)
        labels = [f"{label}={value}" for value, label in enumerate(of_set.labels)]
        command = ["dataset", dataset, "--raw", str(raw), "--images", str(images)]
        command += ["--masks", str(masks), "--channels", *of_set.channels, "--labels", *labels]
        _write_folds(name, sorted(cases), preprocessed / dataset)  # first: no data without folds
        return subprocess.call([sys.executable, *UMAMBA, *command])


def _write_folds(name: str, cases: Sequence[str], preprocessed: Path) -> None:
    """Write the folds that nnU-Net would not choose itself, and which rat each axon is of."""
    if name in _FOLDS:
        preprocessed.mkdir(parents=True, exist_ok=True)
        splits = [
            {"train": sorted(set(cases) - set(fold)), "val": sorted(fold)}
            for fold in _FOLDS[name](cases)
        ]
        write_whole(preprocessed / "splits_final.json", json.dumps(splits, indent=1))
    if name == "axons":
        rows = "".join(f"{case},{_rat(case)}\n" for case in cases)
        write_whole(Path("axons_clusters.csv"), f"case,cluster\n{rows}")


def _found(name: str, source: Path, *patterns: str) -> Path:
    for pattern in patterns:
        if paths := sorted(source.glob(pattern)):
            return paths[0]
    msg = f"{source} has no {' or '.join(patterns)}; it should hold {SOURCES[name].needs}"
    raise SourceError(msg)


def _nuclei(source: Path, images: Path, masks: Path, cases: Sequence[str]) -> None:
    """Write images without alpha, and the union of all masks of single nuclei."""
    for case in cases:
        image = _found("nuclei", source, f"{case}/images/{case}.png", f"images/{case}.png")
        imsave(images / f"{case}.png", imread(image)[..., :3], check_contrast=False)
        single = sorted(source.glob(f"{case}/masks/*.png"))
        single = single or [_found("nuclei", source, f"labels/{case}.png")]
        mask = np.any([imread(path) > 0 for path in single], axis=0)
        imsave(masks / f"{case}.png", mask.astype(np.uint8), check_contrast=False)


def _tumours(source: Path, images: Path, masks: Path, cases: Sequence[str]) -> None:
    for case in cases:
        for kind, folder in (("image", images), ("mask", masks)):
            patterns = f"{case}/PET_{kind}.nii.gz", f"{case}/PET/{kind}/*.nii.gz"
            path = _found("pet", source, *patterns)
            (folder / f"{case}.nii.gz").symlink_to(path.resolve())


def _hippocampi(source: Path, images: Path, masks: Path, cases: Sequence[str]) -> None:
    for case in cases:
        for kinds, folder in ((("imagesTr", "images"), images), (("labelsTr", "labels"), masks)):
            path = _found("hippocampus", source, *(f"{kind}/{case}.nii.gz" for kind in kinds))
            (folder / path.name).symlink_to(path.resolve())


def _axon_cases(source: Path) -> list[str]:
    _found("axons", source, "sub-*/micr/*_SEM.png")
    return sorted(p.name.removesuffix("_SEM.png") for p in source.glob("sub-*/micr/*_SEM.png"))


def _axons(source: Path, images: Path, masks: Path, cases: Sequence[str]) -> None:
    """Write grey images, and masks in which axons cover myelin."""
    for case in cases:
        image = _grey(_found("axons", source, f"sub-*/micr/{case}_SEM.png"))
        mask = np.zeros(image.shape, np.uint8)
        for value, kind in ((2, "myelin"), (1, "axon")):
            pattern = f"derivatives/labels/sub-*/micr/{case}_SEM_seg-{kind}-manual.png"
            mask[_grey(_found("axons", source, pattern)) > _WHITE] = value
        imsave(images / f"{case}.png", image, check_contrast=False)
        imsave(masks / f"{case}.png", mask, check_contrast=False)


def _grey(path: Path) -> np.ndarray:
    image = imread(path)
    return image[..., 0] if image.ndim == 3 else image  # some have an alpha channel


def _rat(case: str) -> str:
    return re.sub("_.*", "", case)


def _halves(cases: Sequence[str]) -> list[list[str]]:
    order = np.random.RandomState(0).permutation(len(cases))
    half = len(cases) // 2
    return [[cases[i] for i in order[:half]], [cases[i] for i in order[half:]]]


def _by_rat(cases: Sequence[str]) -> list[list[str]]:
    """Keep the images of a rat in one fold."""
    return [[c for c in cases if (_rat(c) in _FIRST_RATS) is first] for first in (True, False)]


_FOLDS: Mapping[str, Callable[[Sequence[str]], list[list[str]]]] = {
    "pet": _halves,
    "axons": _by_rat,
}
SOURCES: dict[str, Source] = {
    "nuclei": Source(
        "the folders of stage1_train, a case each, or images/ and labels/",
        _nuclei,
        ("red", "green", "blue"),
        ("background", "nucleus"),
    ),
    "pet": Source(
        "ibsi_1_validation/nifti: a folder STS_001, ... for each case",
        _tumours,
        ("PET",),
        ("background", "tumour"),
    ),
    "axons": Source(
        "a clone of data_axondeepseg_sem", _axons, ("SEM",), ("background", "axon", "myelin")
    ),
    "hippocampus": Source(
        "Task04_Hippocampus, with imagesTr/ and labelsTr/",
        _hippocampi,
        ("MRI",),
        ("background", "anterior", "posterior"),
    ),
}

if __name__ == "__main__":
    main()
