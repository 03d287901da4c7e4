"""The section on nnU-Net's three folders: whether they are set and writable, and free space."""

import os
import shutil
from pathlib import Path

from umamba.doctor.section import Section
from umamba.errors import UMambaError
from umamba.nnunet.paths import VARIABLES, Paths
from umamba.system.path_names import check_writable

__all__ = ["examine_folders"]

_GIB = 2**30
# A checkpoint of a large network takes about half a GiB, and three are kept.
_NEEDED_SPACE = 2 * _GIB
_AMPLE_SPACE = 20 * _GIB


def examine_folders(paths: Paths) -> Section:
    """Examine each folder, without creating anything in it.

    Args:
        paths: The folders.
    """
    lines: dict[str, str] = {}
    problems: list[str] = []
    warnings: list[str] = []
    for name, variable in VARIABLES.items():
        path: Path | None = getattr(paths, name)
        if path is None:
            lines[variable] = "not set"
            problems.append(f"{variable} is not set; `export {variable}=/path/to/{variable}`")
            continue
        state, problem, warning = _examine(path, variable, is_read_only=name == "raw")
        lines[variable] = f"{path}: {state}"
        problems += [problem] if problem else []
        warnings += [warning] if warning else []
    return Section("nnU-Net's folders", lines, tuple(problems), tuple(warnings))


def _examine(path: Path, variable: str, *, is_read_only: bool) -> tuple[str, str, str]:
    """Return the state of a folder, a problem and a warning; "" for none."""
    if path.exists() and not path.is_dir():
        return "no folder", f"{path} is a file; `export {variable}=/another/folder`", ""
    if is_read_only and path.is_dir():
        if os.access(path, os.R_OK | os.X_OK):
            return "readable", "", ""
        return "not readable", f"{path} cannot be read; `chmod u+rx {path}`", ""
    try:
        check_writable(path, variable)
    except UMambaError:
        there = path if path.is_dir() else next(p for p in path.parents if p.exists())
        mend = f"`sudo chown $USER {there}`, or `export {variable}=/another/folder`"
        return "not writable", f"nothing can be written to {path}; {mend}", ""
    if not path.is_dir():
        return "does not exist yet", "", f"{path} does not exist; `mkdir -p {path}`"
    return _examine_space(path, variable)


def _examine_space(path: Path, variable: str) -> tuple[str, str, str]:
    free = shutil.disk_usage(path).free
    state = f"writable, {free / _GIB:.1f} GiB free"
    text = (
        f"{path} has only {free / _GIB:.1f} GiB left; `export {variable}=/folder/on/another/disk`"
    )
    if free < _NEEDED_SPACE:
        return state, text, ""
    return state, "", text if free < _AMPLE_SPACE else ""
