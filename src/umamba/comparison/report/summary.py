"""A comparison in Markdown: verdicts first, then figures, tables, and what was not measured."""

import re
from collections.abc import Mapping
from typing import Any

from umamba.comparison.report import summary_costs as costs
from umamba.comparison.report import summary_external as external
from umamba.comparison.report import summary_notes as notes
from umamba.comparison.report import summary_tables as tables
from umamba.comparison.report.gallery import Gallery
from umamba.comparison.results import Results
from umamba.reporting.charts import Chart
from umamba.reporting.tables import Table, markdown_list, plain

__all__ = ["summarize"]


def summarize(
    results: Results,
    manifest: Mapping[str, Any],
    charts: Mapping[str, Chart],
    gallery: Gallery,
) -> str:
    """Write the summary.

    Args:
        results: Results of the comparison.
        manifest: The contents of `manifest.json`; empty if there is none.
        charts: The charts drawn in `figures`, by name.
        gallery: The pictures in `gallery`.

    Returns:
        Markdown, with paths relative to the folder of results.
    """
    dataset, baseline = results.dataset, results.settings.baseline
    settings = notes.settings_texts(results, manifest)
    parts = [
        f"# {plain(f'{dataset.name}, {dataset.configuration}: models against {baseline}')}",
        _verdicts(results),
        _figures(charts, "verdicts", "margin_probabilities", "paired_differences"),
        "## Models",
        tables.models_table(results).to_markdown(),
        _figures(charts, "rank_stability"),
        _section("### All pairs of models", _figures(charts, "significance_map")),
        _section("### Models and their controls", tables.controls_table(results)),
        _external(results),
        _section(
            "### False alarms and misses",
            _figures(charts, "false_alarms_and_misses"),
            tables.detection_table(results),
        ),
        _section(
            "### Subgroups",
            _figures(charts, "subgroups"),
            tables.groups_table(results.dice.groups),
        ),
        _section("### Under other assumptions", tables.sensitivity_table(results)),
        _section("### All metrics", tables.metrics_table(results)),
        _section(
            "### Agreement of volumes",
            _figures(charts, "volume_agreement"),
            tables.volumes_table(results),
        ),
        _section("## Cost", _figures(charts, "dice_against_cost"), costs.cost_table(results)),
        _section(
            "## Training", _figures(charts, "learning_curves"), *costs.dynamics_tables(results)
        ),
        _section(
            "## Objects by size", _figures(charts, "size_strata"), tables.strata_table(results)
        ),
        _gallery(gallery),
        "## Trainings",
        notes.trainings_text(results),
        notes.left_out_table(results).to_markdown(),
        "## Settings",
        markdown_list([f"{title}: {says}" for title, says in settings.items()]),
        "## What this does not show",
        markdown_list(notes.limits_texts(results)),
        _files(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _external(results: Results) -> str:
    return _section(
        "## On the test set",
        *external.external_tables(results),
        markdown_list(external.external_verdicts(results)),
        markdown_list(external.external_notes(results)),
    )


def _files(results: Results) -> str:
    names = ["results.json", "cases.csv", "models.csv", "manifest.json"]
    if results.test is not None:
        names.insert(2, "test_cases.csv")
    return f"Files: {', '.join(f'[{name}]({name})' for name in names)}."


def _verdicts(results: Results) -> str:
    if not results.verdicts:
        return notes.NO_VERDICT
    return markdown_list(notes.verdict_sentences(results.verdicts))


def _figures(charts: Mapping[str, Chart], *names: str) -> str:
    """Return the charts that have one of the names, or one of them with a number behind it."""
    found = [c for n in names for name, c in charts.items() if re.fullmatch(rf"{n}(_\d+)?", name)]
    return "\n\n".join(chart.to_markdown("figures") for chart in found)


def _section(heading: str, *parts: str | Table) -> str:
    """Return a section; nothing if all its parts are empty."""
    texts = [part if isinstance(part, str) else part.to_markdown() for part in parts]
    return "\n\n".join([heading, *filter(None, texts)]) if any(texts) else ""


def _gallery(gallery: Gallery) -> str:
    pictures = [f"![{plain(shows)}](gallery/{name})" for name, shows in gallery.pictures.items()]
    left_out = [f"Left out: {plain(note)}." for note in gallery.notes]
    explained = (
        "<sub>Best, median and worst are by the mean Dice of all models; the most disputed case "
        "has the largest spread between them. Dice is that of the training shown, for the whole "
        "case. In 3D, the planes pass through the slices in which the reference is largest; large "
        "2D images are cropped to the part in which the models err most.</sub>"
    )
    return _section("## Cases", *pictures, explained if pictures else "", *left_out)
