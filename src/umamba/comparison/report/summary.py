"""A comparison in Markdown: verdicts first, then figures, tables, and what was not measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from umamba.comparison.report import summary_costs as costs
from umamba.comparison.report import summary_external as external
from umamba.comparison.report import summary_notes as notes
from umamba.comparison.report import summary_tables as tables
from umamba.comparison.report.gallery import Gallery
from umamba.comparison.results import Results
from umamba.reporting.tables import Table, markdown_list

__all__ = ["summarize"]

_CAPTIONS = {
    "paired_differences": (
        "Differences in Dice from the baseline. Left: each case, mean over trainings. Right: the "
        "means with their 95 % intervals, over cases and, where trainings were repeated, seeds; "
        "not corrected for the number of models, unlike the p values below."
    ),
    "dice_against_cost": "Mean Dice with its 95 % interval against memory and time of training.",
    "learning_curves": (
        "nnU-Net's pseudo Dice on validation patches, smoothed as nnU-Net does: mean over folds; "
        "the bands span the lowest to the highest training of each fold. It is not the Dice of "
        "whole cases."
    ),
    "size_strata": (
        "Objects by size, mean over cases with 95 % interval; n is the number of reference objects."
    ),
    "rank_stability": (
        "Share of bootstraps over cases and trainings in which each model has each rank."
    ),
}


def summarize(
    results: Results,
    manifest: Mapping[str, Any],
    figures: Sequence[str],
    gallery: Gallery,
) -> str:
    """Write the summary.

    Args:
        results: Results of the comparison.
        manifest: The contents of `manifest.json`; empty if there is none.
        figures: Names of the figures in `figures`.
        gallery: The pictures in `gallery`.

    Returns:
        Markdown, with paths relative to the folder of results.
    """
    dataset, baseline = results.dataset, results.settings.baseline
    settings = notes.settings_texts(results, manifest)
    parts = [
        f"# {dataset.name}, {dataset.configuration}: models against {baseline}",
        _verdicts(results),
        _figure(figures, "paired_differences"),
        "## Models",
        tables.models_table(results).to_markdown(),
        _figure(figures, "rank_stability"),
        _section("### Models and their controls", tables.controls_table(results)),
        _external(results),
        _section("### False alarms and misses", tables.detection_table(results)),
        _section("### Subgroups", tables.groups_table(results.dice.groups)),
        _section("### Under other assumptions", tables.sensitivity_table(results)),
        _section("### All metrics", tables.metrics_table(results)),
        _section("### Agreement of volumes", tables.volumes_table(results)),
        _section("## Cost", _figure(figures, "dice_against_cost"), costs.cost_table(results)),
        _section(
            "## Training", _figure(figures, "learning_curves"), *costs.dynamics_tables(results)
        ),
        _section(
            "## Objects by size", _figure(figures, "size_strata"), tables.strata_table(results)
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
    return markdown_list(notes.verdict_sentences(results))


def _figure(figures: Sequence[str], name: str) -> str:
    if name not in figures:
        return ""
    title = name.replace("_", " ").capitalize()
    return f"[![{title}](figures/{name}.png)](figures/{name}.svg)\n\n<sub>{_CAPTIONS[name]}</sub>"


def _section(heading: str, *parts: str | Table) -> str:
    """Return a section; nothing if all its parts are empty."""
    texts = [part if isinstance(part, str) else part.to_markdown() for part in parts]
    return "\n\n".join([heading, *filter(None, texts)]) if any(texts) else ""


def _gallery(gallery: Gallery) -> str:
    pictures = [f"![{shows}](gallery/{name})" for name, shows in gallery.pictures.items()]
    left_out = [f"Left out: {note}." for note in gallery.notes]
    explained = (
        "<sub>Best, median and worst are by the mean Dice of all models; the most disputed case "
        "has the largest spread between them. Dice is that of the training shown, for the whole "
        "case. In 3D, the planes pass through the slices in which the reference is largest; large "
        "2D images are cropped to the part in which the models err most.</sub>"
    )
    return _section("## Cases", *pictures, explained if pictures else "", *left_out)
