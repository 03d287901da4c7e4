"""Write the generated parts of `docs/verdict.md`, and its figure, from the evidence.

Run it again whenever a comparison has been finished: finished ones count, and what is missing is
said to be missing.
"""

import argparse
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from benchmarks.evidence.claims import Evidence, judge_claims
from benchmarks.evidence.forest import forest_chart
from benchmarks.evidence.published import published_tables
from benchmarks.evidence.questions import answer
from benchmarks.evidence.sets import ALL, EVIDENCE, SETS
from benchmarks.evidence.tables import (
    claims_table,
    commands_list,
    convergence_table,
    each_set_table,
    effects_table,
    longer_table,
    objects_table,
    repeat_list,
    sets_table,
)
from umamba.comparison.results import Results, read_results
from umamba.errors import ComparisonError, UMambaError
from umamba.reporting.charts import save_chart

__all__ = ["fill", "main", "read_evidence", "write_page"]

PAGE = Path("docs/verdict.md")
_MEASURED = Path("benchmarks/results")


def main() -> None:
    """Read the evidence, and write page and figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(), help="the repository (default: here)")
    parser.add_argument(
        "--measured",
        type=Path,
        metavar="DIR",
        help="costs and ranges that the commands of the page have measured again (default: ours, "
        f"{_MEASURED})",
    )
    args = parser.parse_args()
    root = args.root
    try:
        evidence = read_evidence(root, args.measured)
        write_page(root, evidence)
    except UMambaError as error:
        parser.exit(2, f"{error}\n")
    sys.stderr.write(f"{root / PAGE}: {len(evidence.results)} of {len(SETS)} data sets\n")


def read_evidence(root: Path, measured: Path | None = None) -> Evidence:
    """Read what there is.

    Args:
        root: The repository.
        measured: The folder of the measurements of costs; `None` is that of the repository.

    Raises:
        ComparisonError: If results are damaged.
    """
    begun = _begun(root / EVIDENCE, ALL)
    ended = {name: results for name, results in begun.items() if _has_ended(results)}
    results = {name: ended[name] for name in SETS if name in ended}
    unfinished = {name: begun[name] for name in SETS if name in begun and name not in ended}
    longer = {name: ended[f"{name}-longer"] for name in SETS if f"{name}-longer" in ended}
    full, half = ended.get("nuclei"), ended.get("nuclei-half-patch")
    both = (full, half) if full and half else None
    costs = measured or root / _MEASURED
    return Evidence(answer(results), results, unfinished, longer, both, costs)


def _begun(folder: Path, names: Collection[str]) -> dict[str, Results]:
    there = [name for name in names if (folder / name / "results.json").is_file()]
    return {name: read_results(folder / name) for name in there}


def _has_ended(results: Results) -> bool:
    """Return whether no training is still to be done, and statistics have been made."""
    ended = all(training.status in {"done", "failed"} for training in results.trainings)
    return ended and bool(results.statistics)


def write_page(root: Path, evidence: Evidence) -> None:
    """Write the generated parts of the pages, and the forest plot.

    Args:
        root: The repository.
        evidence: What the claims are judged by.

    Raises:
        ComparisonError: If a page lacks the place of a part.
        UMambaError: If a file of measurements is damaged.
    """
    chart = forest_chart(evidence.answers)
    if chart is not None:
        save_chart(chart, root / EVIDENCE)
    parts = {
        "claims": claims_table(judge_claims(evidence)),
        "figure": chart.to_markdown(EVIDENCE.name) if chart else "There is no comparison yet.",
        "effects": effects_table(evidence.answers),
        "each": each_set_table(evidence.answers),
        "sets": sets_table(evidence),
        "convergence": convergence_table(evidence),
        "longer": longer_table(evidence),
        "objects": objects_table(evidence),
        "published": published_tables(),
        "repeat": repeat_list(),
    }
    pages = {PAGE: parts, EVIDENCE / "README.md": {"commands": commands_list()}}
    for page, filled in pages.items():
        (root / page).write_text(fill((root / page).read_text(), filled))


def fill(page: str, parts: Mapping[str, str]) -> str:
    """Replace the generated parts of a page, which stand between `<!-- NAME -->` and `<!-- / -->`.

    Args:
        page: The page.
        parts: The parts by their names.

    Raises:
        ComparisonError: If the page lacks the place of a part.
    """
    for name, text in parts.items():
        before, mark, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- / -->")
        if not end:
            msg = f"the page has no place for {name}; add <!-- {name} --> and <!-- / --> to it"
            raise ComparisonError(msg)
        page = f"{before}{mark}\n{text}\n\n{end}{after}"
    return page


if __name__ == "__main__":
    main()
