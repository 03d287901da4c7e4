"""The page of a comparison: what its summary says, to be pointed at, sorted and looked through."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from umamba.comparison.charts.differences import for_each_baseline
from umamba.comparison.report import summary_costs as costs
from umamba.comparison.report import summary_external as external
from umamba.comparison.report import summary_notes as notes
from umamba.comparison.report import summary_tables as tables
from umamba.comparison.report.figures import difference_chart
from umamba.comparison.report.page_scores import OBJECTS, comparison_scores
from umamba.comparison.results import Results
from umamba.comparison.statistics.analysis import with_each_baseline
from umamba.reporting.charts import Chart
from umamba.reporting.page.content import (
    Block,
    CaseBrowser,
    ChosenCases,
    ModelTable,
    Page,
    ScoreCube,
    Section,
)
from umamba.reporting.tables import Note, Table

__all__ = ["MOST_BASELINES", "comparison_page", "without_empty"]

MOST_BASELINES = 20  # models, above which only one baseline is shown
_VERDICTS = ("verdicts", "margin_probabilities")
_DETAILS = {
    "detection": ("false_alarms_and_misses",),
    "subgroups": ("subgroups",),
    "volumes": ("volume_agreement",),
}
_Take = Callable[..., list[Chart]]


def comparison_page(
    results: Results,
    manifest: Mapping[str, Any],
    charts: Sequence[Chart],
    browser: CaseBrowser | None = None,
) -> Page:
    """Return the page of a comparison.

    Args:
        results: Results of the comparison, with statistics.
        manifest: The contents of `manifest.json`; empty if there is none.
        charts: Its charts.
        browser: Its cases; `None` if there are none to show.
    """
    scores = comparison_scores(results)
    left = {chart.name: chart for chart in charts}

    def take(*names: str) -> list[Chart]:
        found = [n for wanted in names for n in left if n.rstrip("_0123456789") == wanted]
        return [left.pop(name) for name in found]

    sections = [
        Section("verdicts", "Verdicts", (_verdicts(results), *take(*_VERDICTS))),
        Section("models", "Models", _models(results, scores, take)),
        *_details(results, take),
        Section("test-set", "On the test set", _external(results)),
        Section("cost", "Cost", (*take("dice_against_cost"), costs.cost_table(results))),
        Section(
            "training", "Training", (*take("learning_curves"), *costs.dynamics_tables(results))
        ),
        Section("sizes", "Objects by size", _sizes(results, scores, take)),
        Section("cases", "Cases", (browser,) if browser else ()),
    ]
    more = Section("more", "More charts", tuple(left.values()))
    dataset, baseline = results.dataset, results.settings.baseline
    return Page(
        title=f"{dataset.name}, {dataset.configuration}: models against {baseline}",
        subtitle=_subtitle(results),
        sections=without_empty([*sections, more, *_about(results, manifest)]),
        scores=scores,
        credit=dataset.credit,
    )


def without_empty(sections: Iterable[Section]) -> tuple[Section, ...]:
    """Return the sections that have anything to show, with only such blocks."""
    kept = (replace(s, blocks=tuple(filter(_is_shown, s.blocks))) for s in sections)
    return tuple(s for s in kept if any(not isinstance(b, ChosenCases) for b in s.blocks))


def _is_shown(block: Block) -> bool:
    if isinstance(block, Table):
        return bool(block.rows)
    return not isinstance(block, Note) or bool(block.text or block.items)


def _subtitle(results: Results) -> str:
    n_trainings = len(results.compared)
    n_cases = len({row.case for row in results.cases if row.training in results.compared})
    return (
        f"{len(results.model_names)} models, {n_trainings:,} trainings, {n_cases:,} validation "
        "cases. Point at a dot to find its case in every chart, click it to open the case, and "
        "draw a box around dots to choose cases."
    )


def _verdicts(results: Results) -> Note:
    if not results.verdicts:
        return Note(notes.NO_VERDICT)
    return Note(items=tuple(notes.verdict_sentences(results.verdicts)))


def _models(results: Results, scores: ScoreCube, take: _Take) -> tuple[Block, ...]:
    baseline, names = results.settings.baseline, scores.models
    others = [name for name in names if name != baseline and len(names) <= MOST_BASELINES]
    compared = {**with_each_baseline(results, others), baseline: results}
    found = {name: tables.models_table(compared[name]) for name in names if name in compared}
    found.setdefault(baseline, tables.models_table(results))
    shown = [m.name for m in scores.metrics if not m.name.startswith(OBJECTS)]
    differences = take("paired_differences")
    if differences and len(found) > 1:
        followed = {n: difference_chart(compared[n]) for n in found if n != baseline}
        differences = [for_each_baseline(chart, followed) for chart in differences]
    charts = take("rank_stability", "significance_map")
    return (ModelTable(baseline, found), ChosenCases(shown), *differences, *charts)


def _external(results: Results) -> tuple[Block, ...]:
    remarks = external.external_notes(results, whole_paths=False)  # pages are sent to others
    said = (external.external_verdicts(results), remarks)
    return (*external.external_tables(results), *(Note(items=tuple(items)) for items in said))


def _sizes(results: Results, scores: ScoreCube, take: _Take) -> tuple[Block, ...]:
    shown = [m.name for m in scores.metrics if m.name.startswith(OBJECTS)]
    return (*take("size_strata"), ChosenCases(shown), tables.strata_table(results))


def _details(results: Results, take: _Take) -> Iterator[Section]:
    """Yield the parts of the section on models."""
    found: dict[str, tuple[str, Table]] = {
        "controls": ("Models and their controls", tables.controls_table(results)),
        "detection": ("False alarms and misses", tables.detection_table(results)),
        "subgroups": ("Subgroups", tables.groups_table(results.dice.groups)),
        "assumptions": ("Under other assumptions", tables.sensitivity_table(results)),
        "metrics": ("All metrics", tables.metrics_table(results)),
        "volumes": ("Agreement of volumes", tables.volumes_table(results)),
    }
    for name, (heading, table) in found.items():
        yield Section(name, heading, (*take(*_DETAILS.get(name, ())), table), level=3)


def _about(results: Results, manifest: Mapping[str, Any]) -> Iterator[Section]:
    trainings = (Note(notes.trainings_text(results)), notes.left_out_table(results))
    yield Section("trainings", "Trainings", trainings)
    settings = notes.settings_texts(results, manifest)
    items = tuple(f"{title}: {says}" for title, says in settings.items())
    yield Section("settings", "Settings", (Note(items=items),))
    limits = Note(items=tuple(notes.limits_texts(results)))
    yield Section("limits", "What this does not show", (limits,))
