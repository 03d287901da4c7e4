"""Writing figures, gallery and summary of a comparison from its files, without any training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umamba.comparison.report.browsed_cases import browsed_cases
from umamba.comparison.report.figures import comparison_charts, save_charts
from umamba.comparison.report.gallery import draw_gallery
from umamba.comparison.report.page import comparison_page
from umamba.comparison.report.summary import summarize
from umamba.comparison.results import Results, read_results
from umamba.errors import UMambaError
from umamba.nnunet.paths import Paths
from umamba.reporting.page.writing import write_page
from umamba.system.atomic_files import write_whole
from umamba.system.json_files import load_json

__all__ = ["write_report"]


def write_report(output: Path, paths: Paths, results: Results | None = None) -> None:
    """Write `summary.md`, `report.html`, `figures` and `gallery`.

    Args:
        output: The folder of results.
        paths: nnU-Net's folders, for the images of the gallery.
        results: The results; `None` reads them from the folder.

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
        charts = comparison_charts(results)
        save_charts(charts.values(), output / "figures")
        gallery = draw_gallery(results, output / "gallery", paths)
    except OSError as error:
        msg = f"cannot draw into {output}: {error}; make room, or make the folder writable"
        raise UMambaError(msg) from None
    write_whole(output / "summary.md", summarize(results, manifest, charts, gallery))
    file = output / "report.html"
    browser = browsed_cases(results, paths, file)
    write_page(comparison_page(results, manifest, [*charts.values()], browser), file)
