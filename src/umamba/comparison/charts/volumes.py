"""Charts of the agreement of volumes, after Bland and Altman: one for each label."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from umamba.comparison.charts.model_styles import ModelStyles
from umamba.comparison.charts.parts import drawn_cases, quantity, rounded
from umamba.comparison.records import VolumeAgreement
from umamba.comparison.results import Results
from umamba.evaluation.overlap_metrics import VOLUME_BIAS
from umamba.reporting.charts import CASES, Chart, Layer, link_params, linked_dots
from umamba.system.terminal import one_line

__all__ = ["volume_charts"]

_MOST_LABELS = 8
_SUPERSCRIPTS = {2: "\N{SUPERSCRIPT TWO}", 3: "\N{SUPERSCRIPT THREE}"}


def volume_charts(results: Results, styles: ModelStyles) -> list[Chart]:
    """Return a chart for each of the first labels whose agreement is known."""
    found: dict[str, list[VolumeAgreement]] = {}
    for one in results.of(VOLUME_BIAS.name).agreement:
        if math.isfinite(one.bias):
            found.setdefault(one.label, []).append(one)
    shown = list(found.items())[:_MOST_LABELS]
    return [
        _chart(results, styles, label, of_label, number if len(shown) > 1 else None)
        for number, (label, of_label) in enumerate(shown, start=1)
    ]


def _chart(
    results: Results,
    styles: ModelStyles,
    label: str,
    found: Sequence[VolumeAgreement],
    number: int | None,
) -> Chart:
    models = [one.model for one in found]
    unit = results.dataset.spacing_unit + _power(results)
    x, y = f"mean of predicted and reference volume, {unit}", f"predicted minus reference, {unit}"
    colour = styles.colour(models, legend=True)
    dots = {
        "x": quantity("volume", x),
        "y": quantity("difference", y),
        "color": colour,
        "shape": styles.points(models, legend=True)["shape"],
        "tooltip": [{"field": n} for n in ("case", "model", "volume", "difference")],
    }
    rows = _rows(results, label, models)
    cases, thinned = drawn_cases([*dict.fromkeys(row["case"] for row in rows)], len(models))
    drawn = {*cases}
    told = [f"{one_line(o.model)} {o.bias:+.3g} [{o.low:.3g}, {o.high:.3g}]" for o in found]
    return Chart(
        name="volume_agreement" + (f"_{number}" if number else ""),
        title=f"Agreement of volumes: {one_line(label)}",
        alt=f"Differences of volumes in {unit}. Bias [limits of agreement]: {'; '.join(told)}.",
        caption="Each dot is a case, mean over trainings (Bland and Altman 1986). The solid line "
        "of a model is its bias, the dashed ones are its limits of agreement, within which 95 % of "
        f"normally distributed differences lie.{thinned}",
        spec={
            "params": link_params(),
            "datasets": {CASES: [row for row in rows if row["case"] in drawn]},
            "height": 300,
            "layer": [*_lines(found, colour, y), *linked_dots(dots, ["x", "y"])],
        },
    )


def _power(results: Results) -> str:
    return _SUPERSCRIPTS[2 if results.dataset.configuration == "2d" else 3]


def _rows(results: Results, label: str, models: Sequence[str]) -> list[dict[str, Any]]:
    pairs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in results.cases:
        if row.label == label and row.model in models and row.training in results.compared:
            volumes = row.prediction_volume, row.reference_volume
            pairs.setdefault((row.case, row.model), []).append(volumes)
    return [
        {
            "case": case,
            "model": one_line(model),
            "volume": rounded(fmean((predicted + there) / 2 for predicted, there in found)),
            "difference": rounded(fmean(predicted - there for predicted, there in found)),
        }
        for (case, model), found in pairs.items()
    ]


def _lines(found: Sequence[VolumeAgreement], colour: dict[str, Any], title: str) -> list[Layer]:
    rows = {
        name: [{"model": one_line(o.model), "difference": rounded(getattr(o, name))} for o in found]
        for name in ("bias", "low", "high")
    }
    return [
        {
            "data": {"values": values},
            "mark": {"type": "rule", "strokeWidth": 1.5}
            | ({} if name == "bias" else {"strokeDash": [4, 4], "opacity": 0.7}),
            "encoding": {"y": quantity("difference", title), "color": colour},
        }
        for name, values in rows.items()
    ]
