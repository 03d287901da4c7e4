"""A page with two charts of the same cases, and tables."""

from dataclasses import replace

from umamba.reporting.charts import CASES, BaselineChart, Chart, link_params, linked_dots
from umamba.reporting.page.content import (
    ChosenCases,
    ModelTable,
    Page,
    ScoreCube,
    ScoredMetric,
    Section,
)
from umamba.reporting.tables import BoldCell, Note, Table

MODELS = ("plain", "new", "other *x* **y** `z`")
HOSTILE = "</script><img src=x onerror=alert(1)>"
CASE_NAMES = [*(f"case_{i}" for i in range(10)), HOSTILE, 'it\'s "quoted" \u202eabc', "x" * 200]
NAMES = "#000000", "#0072b2", "#d55e00"


def value(case: int, model: int) -> float:
    """The Dice of a model in a case; the difference to the first model grows with the case."""
    return round(0.5 + (case * 7 % 13) / 40 + model * (0.004 * case - 0.02), 4)


def gained(case: int, model: int = 1) -> float:
    """The Dice points of a model above the first in a case."""
    return 100 * (value(case, model) - value(case, 0))


def dots(name: str, brush: tuple[str, ...]) -> Chart:
    """A chart with a dot for each case and model but the first."""
    rows = [
        {"case": case, "model": MODELS[m], "points": gained(i, m)}
        for i, case in enumerate(CASE_NAMES)
        for m in (1, 2)
    ]
    encoding = {
        "x": {"field": "points", "type": "quantitative"},
        "y": {"field": "model", "type": "nominal"},
    }
    layers = linked_dots(encoding, brush, size=80)
    spec = {"params": link_params(), "datasets": {CASES: rows}, "layer": layers}
    return Chart(name, f"Chart {name}", "Dots", "Each dot is a case.", spec)


def dots_for_each_baseline() -> BaselineChart:
    """The first chart, and another one against the model `new`."""
    other = replace(dots("first", ("x",)), title=f"Above {HOSTILE}", alt="Other dots", caption="O.")
    rows = [{**row, "points": -row["points"]} for row in other.spec["datasets"][CASES][:4]]
    other = replace(other, spec={**other.spec, "datasets": {CASES: rows}})
    return BaselineChart(**vars(dots("first", ("x",))), others={"new": other})


def table_of(baseline: str) -> Table:
    """The table of the models against a baseline."""
    means = [sum(value(i, m) for i in range(len(CASE_NAMES))) / len(CASE_NAMES) for m in range(3)]
    of = means[MODELS.index(baseline)]
    rows = [
        (
            BoldCell(name, "(baseline)") if name == baseline else name,
            f"{mean:.3f}",
            "\N{EN DASH}" if name == baseline else f"{100 * (mean - of):+.2f} [\N{MINUS SIGN}9, 9]",
            "< 0.001" if name == "new" else "0.020",
        )
        for name, mean in zip(MODELS, means, strict=True)
    ]
    head = ("model", "Dice", f"Dice points above {baseline} [95 % interval]", "p of mean")
    return Table(head, tuple(rows), notes=(Note(f"Of {HOSTILE}, *not* **bold**."),))


def example() -> Page:
    """A page with two charts of the same cases, and tables."""
    values = [[value(i, m) for i in range(len(CASE_NAMES))] for m in range(3)]
    values[2][0] = None
    cube = ScoreCube(
        cases=CASE_NAMES,
        models=MODELS,
        metrics=[ScoredMetric("dice", "Dice", factor=100.0, unit="Dice points")],
        labels=[""],
        values={"dice": {"": values}},
        facts={"fold": [i % 2 for i in range(len(CASE_NAMES))]},
    )
    tables = ModelTable("plain", {name: table_of(name) for name in MODELS})
    return Page(
        title=f"Models of {HOSTILE}",
        subtitle="Thirteen cases",
        sections=(
            Section("verdicts", "Verdicts", (Note(items=("new against plain: better.",)),)),
            Section("models", "Models", (tables, ChosenCases(["dice"]), dots_for_each_baseline())),
            Section("part", "A part", (dots("second", ("x", "y")),), level=3),
        ),
        scores=cube,
        credit="Pictures by somebody (CC BY-SA 4.0)",
    )
