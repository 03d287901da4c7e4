"""Find the volumes in a folder of DICOM, whatever its files are called and wherever they lie."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from umamba.dicom.grids import grid_of, in_order
from umamba.dicom.headers import SourceFile, read_header
from umamba.dicom.library import require_pydicom
from umamba.dicom.series import FoundSeries, LeftOut, Plane, Series, SeriesError
from umamba.images.dicom_files import seems_dicom
from umamba.images.file_names import visible_files

__all__ = ["find_series"]


def find_series(folder: Path, *, resample: bool = False) -> FoundSeries:
    """Sort the DICOM files below a folder into volumes; no pixel is read.

    Args:
        folder: Searched with its subfolders, but without links to folders; or a file.
        resample: Whether slices that lie on no regular grid are resampled onto one.

    Returns:
        The volumes, what cannot be used and why, and what is not a volume.

    Raises:
        UMambaError: If the extra `dicom` is not installed.
        OSError: If a folder cannot be read.
    """
    require_pydicom()
    by_series: dict[str, list[SourceFile]] = defaultdict(list)
    failed: list[LeftOut] = []
    kinds: Counter[str] = Counter()
    for path in visible_files(folder, deep=True) if folder.is_dir() else [folder]:
        file = _header(path) if seems_dicom(path) else "file that is not DICOM"
        if isinstance(file, str):
            kinds[file] += 1
        elif isinstance(file, LeftOut):
            failed.append(file)
        elif file is not None:
            by_series[file.head.uid].append(file)
    found = [
        _volume(files, resample=resample)
        for files in sorted(by_series.values(), key=lambda files: files[0].path)
    ]
    failed += [one for one in found if isinstance(one, LeftOut)]
    series = tuple(one for one in found if isinstance(one, Series))
    return FoundSeries(series, tuple(failed), _notes(kinds))


def _header(path: Path) -> SourceFile | LeftOut | str | None:
    """Return a header, or why it cannot be read, or the kind of a file that is not a volume."""
    try:
        file = read_header(path)
    except SeriesError as error:
        return LeftOut(None, path, str(error))
    return file.kind if file is not None and file.kind else file


def _notes(kinds: Mapping[str, int]) -> tuple[str, ...]:
    if not kinds:
        return ()
    some = ", ".join(f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in sorted(kinds.items()))
    plain = some.replace("files that is", "files that are")
    return (f"left out, because they are not slices of a volume: {plain}",)


def _volume(files: Sequence[SourceFile], *, resample: bool) -> Series | LeftOut:
    try:
        return _checked_volume(files, resample=resample)
    except SeriesError as error:
        return LeftOut(files[0].head, files[0].path, str(error))


def _checked_volume(files: Sequence[SourceFile], *, resample: bool) -> Series:
    """Make one volume of the files of one series.

    Raises:
        SeriesError: If they are none.
    """
    bad = [file for file in files if file.problem]
    if bad:
        many = f" ({len(bad)} of {len(files)} files)" if len(files) > 1 else ""
        raise SeriesError(bad[0].problem + many, bad[0].fix)
    frames_of_reference = {file.head.frame_of_reference_uid for file in files}
    if len(frames_of_reference) > 1:
        problem = f"its slices belong to {len(frames_of_reference)} frames of reference"
        raise SeriesError(problem, "export each of them as a series of its own")
    if len({file.head.patient_id for file in files}) > 1:
        problem = "its files name several patients"
        raise SeriesError(problem, "export the series of each patient again")
    planes, n_copies = _without_copies(plane for file in files for plane in file.planes)
    ordered = in_order(planes)
    geometry, shape, resampling = grid_of(ordered, resample=resample)
    notes = [f"{n_copies} slices were there twice, and are used once"] if n_copies else []
    if len(ordered) == 1:
        size = f"{geometry.spacing[2]:g} mm"
        said = f"taken for {size} thick" if ordered[0].thickness else f"assumed to be {size} thick"
        notes.append(f"it has one slice, which is {said}")
    notes += [resampling.text] if resampling else []
    return Series(files[0].head, ordered, geometry, shape, resampling, tuple(notes))


def _without_copies(planes: Iterable[Plane]) -> tuple[list[Plane], int]:
    """Keep one of all copies of a slice, and count the others."""
    kept: dict[tuple[str, int], Plane] = {}
    n_copies = 0
    for plane in planes:
        known = kept.setdefault((plane.sop_instance_uid, plane.frame), plane)
        if known is plane:
            continue
        if replace(plane, path=known.path) != known:
            problem = "two different slices have the same SOPInstanceUID"
            raise SeriesError(problem, "export the series again")
        n_copies += 1
    return list(kept.values()), n_copies
