"""A ranking in Markdown, and in short for the terminal."""

from collections.abc import Mapping

from umamba.comparison.ranking.ranking_tables import (
    consensus_note,
    consensus_table,
    decimals_of,
    models_table,
    pairs_table,
)
from umamba.comparison.ranking_records import Ranking, TaskRanking
from umamba.comparison.report.summary_notes import cases_of, verdict_sentences
from umamba.comparison.report.summary_tables import groups_table
from umamba.comparison.statistics.variance import FEWEST_FOLDS
from umamba.comparison.statistics.verdicts import Unit
from umamba.reporting.charts import Chart
from umamba.reporting.tables import Table, markdown_list, plain
from umamba.system.terminal import one_line

__all__ = [
    "MOST_PAIRS",
    "columns_explained",
    "limits_items",
    "settings_items",
    "short_text",
    "summarize_ranking",
]

MOST_PAIRS = 45


def summarize_ranking(ranking: Ranking, charts: Mapping[str, Mapping[str, Chart]]) -> str:
    """Write the summary.

    Args:
        ranking: The ranking.
        charts: The charts drawn in `figures`, by task and kind.

    Returns:
        Markdown, with paths relative to the folder of results.
    """
    parts = [
        f"# {len(ranking.models)} models in {plain(one_line(ranking.title))}",
        f"Taken for {plain(one_line(ranking.described))}.",
        _section("## All tasks", consensus_table(ranking) or consensus_note(ranking)),
    ]
    for task in ranking.tasks:
        parts += _task(ranking, task, charts.get(task.task, {}))
    parts += [
        "## Settings",
        markdown_list(settings_items(ranking)),
        "## What this does not show",
        markdown_list(limits_items(ranking)),
        "Files: [report.html](report.html), [results.json](results.json), "
        "[models.csv](models.csv), [pairs.csv](pairs.csv).",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def short_text(ranking: Ranking) -> str:
    """Return verdicts and ranks for the terminal."""
    parts = []
    for task in ranking.tasks:
        title = [f"task {one_line(task.task)}"] if task.task else []
        said = map(one_line, verdict_sentences(task.verdicts))
        parts.append("\n".join([*title, *said, "", models_table(ranking, task).to_markdown()]))
    consensus = consensus_table(ranking)
    parts.append(consensus.to_markdown() if consensus else consensus_note(ranking))
    return "\n\n".join(filter(None, parts)) + "\n"


def _task(ranking: Ranking, task: TaskRanking, charts: Mapping[str, Chart]) -> list[str]:
    settings = ranking.settings
    unit, decimals = Unit(settings.unit, settings.factor), decimals_of(task, settings.factor)
    few = len(task.pairs) <= MOST_PAIRS
    left_to = f"[pairs.csv](pairs.csv) has all {len(task.pairs):,} pairs."
    deep = "###" if task.task else "##"
    return [
        f"## Task {plain(one_line(task.task))}" if task.task else "",
        markdown_list([*map(one_line, verdict_sentences(task.verdicts))]),
        _figures(charts, "verdicts", "margin_probabilities", "paired_differences"),
        f"{deep} Models",
        models_table(ranking, task).to_markdown(),
        plain(columns_explained(ranking)),
        _figures(charts, "rank_stability"),
        f"{deep} All pairs",
        _figures(charts, "significance_map"),
        pairs_table(task, unit, decimals).to_markdown() if few else left_to,
        _section(f"{deep} Subgroups", groups_table(task.statistics.groups, unit, decimals)),
        _figures(charts, "subgroups"),
    ]


def _section(heading: str, body: Table | str) -> str:
    text = body if isinstance(body, str) else body.to_markdown()
    return f"{heading}\n\n{text}" if text else ""


def _figures(charts: Mapping[str, Chart], *kinds: str) -> str:
    return "\n\n".join(charts[kind].to_markdown("figures") for kind in kinds if kind in charts)


def columns_explained(ranking: Ranking) -> str:
    """Return what the columns of the table of models are."""
    return (
        f"Means are over cases, with 95 % intervals. Differences, in {ranking.settings.unit}, are "
        "corrected for the number of models only in their p values (Holm): of the mean difference "
        "(t test) and of the ranks of the cases (Wilcoxon's signed-rank test). The detectable "
        "difference is the one that would be shown in four of five such tables. d_z and the "
        "rank-biserial correlation are effect sizes. A rank's range holds, with 95 % confidence, "
        "what the intervals of all pairs leave possible. Better and worse models are counted after "
        "Holm's correction for all pairs."
    )


def settings_items(ranking: Ranking) -> list[str]:
    """Return the settings that the numbers depend on."""
    settings = ranking.settings
    clusters, groups = settings.clusters, settings.groups
    items = {
        "Credit": ranking.credit,
        "Baseline": settings.baseline,
        "Missing scores": settings.missing,
        "Margin": f"{settings.margin:g} {settings.unit}" if settings.margin else "",
        "Cases that belong together": cases_of(clusters, "clusters"),
        "Subgroups": cases_of(groups, "groups"),
    }
    return [f"{title}: {one_line(says)}" for title, says in items.items() if says]


def limits_items(ranking: Ranking) -> list[str]:
    """Return what such a table cannot support."""
    n_folds = len({row.fold for row in ranking.scores})
    n_missing = {
        f"{model} {n}" + (f" in {task.task}" if task.task else "")
        for task in ranking.tasks
        for model, n in task.n_filled.items()
    }
    how = "left out" if ranking.settings.missing == "omit" else "replaced"
    items = [
        ""
        if ranking.repeated
        else "At least one model has a single training, or trainings that are not told apart: "
        "what is said of it holds for that trained network on cases like these, not for the "
        "method behind it, as another training of the same method may do better or worse. "
        "Repeated trainings, told apart by a column seed, would show that.",
        "Fewer than three folds, or none in the table, cannot show how much the training data "
        "matter."
        if n_folds < FEWEST_FOLDS
        else "",
        ""
        if ranking.settings.clusters
        else "Cases are taken to be independent of each other; if "
        "several are of one patient, name the patients as clusters.",
        f"Missing scores that were {how}: {', '.join(sorted(n_missing))}." if n_missing else "",
        "The tasks are taken as given: the consensus says nothing about other tasks."
        if ranking.consensus
        else "",
        "A model that was tuned on these cases looks better here than it is; a table of scores "
        "does not tell.",
        '"No difference shown" does not mean that models are equal.',
    ]
    return [one_line(item) for item in items if item]
