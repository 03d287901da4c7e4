"""Write figures, gallery and summary of a comparison, from its files, without any training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umamba.comparison.figures import draw_figures
from umamba.comparison.gallery import draw_gallery
from umamba.comparison.summary import summarize
from umamba.errors import ComparisonError, UMambaError
from umamba.nnunet.json_files import load_json
from umamba.nnunet.paths import Paths
from umamba.nnunet.whole_files import write_whole

__all__ = ["read_results", "write_report"]

_SCHEMA = "umamba-comparison"
_VERSION = 1
_PARTS = {
    "dataset": dict,
    "settings": dict,
    "models": list,
    "cells": list,
    "cases": list,
    "instances": list,
    "curves": list,
    "cost": dict,
    "dynamics": dict,
    "statistics": dict,
    "verdicts": dict,
}


def read_results(output: Path) -> dict[str, Any]:
    """Read `results.json` of a comparison.

    Args:
        output: Its folder of results.

    Raises:
        ComparisonError: If it is missing, broken, or of another version.
    """
    file = output / "results.json"
    do_again = "run the same `umamba compare` again: it trains nothing that is done"
    try:
        results = load_json(file)
    except UMambaError as error:
        msg = f"{error}; {do_again}"
        raise ComparisonError(msg) from None
    found = results.get("schema"), results.get("schema_version")
    if found != (_SCHEMA, _VERSION):
        msg = (
            f"{file} is of schema {found[0]!r}, version {found[1]!r}; this umamba reads "
            f"{_SCHEMA!r}, version {_VERSION}: {do_again}"
        )
        raise ComparisonError(msg)
    lacking = [name for name, kind in _PARTS.items() if not isinstance(results.get(name), kind)]
    if lacking:
        msg = f"{file} lacks {', '.join(lacking)}, or has it in another form; {do_again}"
        raise ComparisonError(msg)
    return results


def write_report(output: Path, paths: Paths, results: Mapping[str, Any] | None = None) -> None:
    """Write `summary.md`, `figures` and `gallery`.

    Args:
        output: The folder of results.
        paths: nnU-Net's folders, for the images of the gallery.
        results: The contents of `results.json`; `None` reads them.

    Raises:
        ComparisonError: If `results.json` cannot be used.
        UMambaError: If a file cannot be written.
    """
    if results is None:
        results = read_results(output)
    manifest: Mapping[str, Any] = {}
    if (output / "manifest.json").is_file():
        manifest = load_json(output / "manifest.json")
    try:
        figures = draw_figures(results, output / "figures")
        gallery = draw_gallery(results, output / "gallery", paths)
    except OSError as error:
        msg = f"cannot draw into {output}: {error}; make room, or the folder writable"
        raise UMambaError(msg) from None
    write_whole(output / "summary.md", summarize(results, manifest, figures, gallery))
