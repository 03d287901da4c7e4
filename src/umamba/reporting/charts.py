"""Charts as Vega-Lite specifications, drawn to files here and by a browser in pages.

A specification holds its data, but neither width nor theme: whoever draws it adds them. A row of
data that stands for a case has its name in the field `case`. Whoever shows charts tells them of
cases by the parameter `chosen` (a list of cases), and listens to the selection `brush`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from umamba.reporting.tables import plain
from umamba.system.atomic_files import whole_file, write_whole

__all__ = [
    "CASES",
    "FONT",
    "THEMES",
    "VEGA_LITE",
    "BaselineChart",
    "Chart",
    "Layer",
    "Spec",
    "link_params",
    "linked_dots",
    "save_chart",
]

Spec = Mapping[str, Any]
Layer = dict[str, Any]

VEGA_LITE = "6.4"  # the version that draws here, and the one that pages carry
CASES = "cases"  # name of the data set whose rows stand for cases
FONT = "Helvetica, Arial, sans-serif"

# A press on a dot opens its case; it begins no box, which would clear the present one. Filters
# know the mark by `event.item` alone: Vega's interpreter leaves `datum` undefined in them.
_NO_DOT = "!event.item || !event.item.datum || !event.item.datum.case"
_BESIDE_DOTS = f"[pointerdown[{_NO_DOT}], window:pointerup] > window:pointermove!"
_WIDTH = 760  # of the plots of a drawn chart, in pixels
_BETWEEN = 70  # pixels for axes between plots
_SCALE = 2.0  # pixels of a PNG for each pixel of a chart


@dataclass(frozen=True)
class Chart:
    """A chart, with all that a report says of it.

    Attributes:
        name: Name of its files and its identifier in pages, of `[a-z0-9_]`.
        title: A short title.
        alt: A text in its place: what it shows, and what came out.
        caption: One or two sentences on how to read it.
        spec: The specification in Vega-Lite, with its data: one plot, or several in `hconcat`.
    """

    name: str
    title: str
    alt: str
    caption: str
    spec: Spec

    def to_markdown(self, folder: str) -> str:
        """Return the drawn chart with its caption; names in the texts do not become markup.

        Args:
            folder: The folder of the drawings, relative to the text.
        """
        alt = re.sub(r"(?<!\\)([\[\]])", r"\\\1", plain(self.alt))
        file = f"{folder}/{self.name}"
        return f"[![{alt}]({file}.png)]({file}.svg)\n\n<sub>{plain(self.caption)}</sub>"


@dataclass(frozen=True)
class BaselineChart(Chart):
    """A chart of differences from a baseline, and the same from others that a reader may choose.

    Attributes:
        others: The chart for each other baseline, by its name.
    """

    others: Mapping[str, Chart] = field(default_factory=dict)


def _config(text: str, faint: str, line: str, background: str) -> dict[str, Any]:
    """Return the part of a theme that Vega-Lite knows as `config`."""
    return {
        "background": background,
        "font": FONT,
        "view": {"stroke": None},
        "title": {"color": text, "fontSize": 14, "anchor": "start", "offset": 12, "limit": 0},
        "axis": {
            "labelColor": text,
            "titleColor": text,
            "titleFontWeight": "normal",
            "labelFontSize": 12,
            "titleFontSize": 12,
            "gridColor": faint,
            "domainColor": line,
            "ticks": False,
            "labelPadding": 6,
            "labelLimit": 240,
            "labelSeparation": 8,
        },
        "axisY": {"domain": False},
        "axisX": {"labelFlush": False},
        "legend": {
            "labelColor": text,
            "titleColor": text,
            "labelFontSize": 12,
            "titleFontWeight": "normal",
            "labelLimit": 240,
            "symbolSize": 90,
        },
        "header": {"labelColor": text, "titleColor": text},
        "text": {"color": text, "fontSize": 12},
        "style": {
            "reference": {"color": text, "strokeWidth": 1},
            "span": {"color": text, "fillOpacity": 0.12},
            "note": {"color": text, "fontSize": 11},
            "halo": {"color": background, "stroke": background},
        },
    }


# `colours` replaces colours of models that would vanish on the background.
THEMES: dict[str, dict[str, Any]] = {
    "light": {"config": _config("#333333", "#e8e8e8", "#bbbbbb", "#ffffff"), "colours": {}},
    "dark": {
        "config": _config("#e2e4e8", "#33383f", "#5a626c", "#16191d"),
        "colours": {"#333333": "#d8dade", "#332288": "#9d8df1", "#882255": "#d9669c"},
    },
}


def link_params() -> list[dict[str, Any]]:
    """Return the parameters by which a page tells a chart of cases; they go to its top level."""
    return [{"name": "chosen", "value": None}]


def linked_dots(
    encoding: Mapping[str, Any], brush: Sequence[str], *, size: int = 22
) -> list[Layer]:
    """Return the layers of a dot for each row of the data set `cases`.

    Args:
        encoding: Channels of the dots.
        brush: The channels along which cases can be brushed: `x`, `y` or both.
        size: Area of a dot in square pixels.
    """
    data = {"name": CASES}
    box = {"type": "interval", "encodings": list(brush), "on": _BESIDE_DOTS}
    mark = {"type": "point", "filled": True, "size": size}
    return [
        {
            "data": data,
            "params": [{"name": "brush", "select": box}],
            "mark": mark | {"opacity": {"expr": "chosen ? 0.12 : 0.55"}},
            "encoding": dict(encoding),
        },
        {
            "data": data,
            "transform": [{"filter": "chosen && indexof(chosen, datum.case) >= 0"}],
            "mark": mark | {"opacity": 0.85},
            "encoding": dict(encoding),
        },
    ]


def save_chart(chart: Chart, folder: Path) -> None:
    """Draw a chart to `NAME.svg` and `NAME.png`, in light; the same one gives the same bytes.

    Args:
        chart: The chart.
        folder: Their folder.

    Raises:
        UMambaError: If a file cannot be written.
        ValueError: If the specification is not valid.
    """
    import vl_convert

    svg = vl_convert.vegalite_to_svg(
        _whole_spec(chart),
        vl_version=VEGA_LITE,
        config=THEMES["light"]["config"],
        allowed_base_urls=[],
    )
    svg = _with_own_numbers(svg)
    write_whole(folder / f"{chart.name}.svg", svg)
    with whole_file(folder / f"{chart.name}.png") as partial:
        partial.write_bytes(vl_convert.svg_to_png(svg, scale=_SCALE))


def _with_own_numbers(svg: str) -> str:
    """Number the clipping paths of a drawing from 1; Vega counts those of all drawings."""
    numbers: dict[str, int] = {}

    def renumber(found: re.Match[str]) -> str:
        number = numbers.setdefault(found[2], len(numbers) + 1)
        return f"{found[1]}{number}"

    return re.sub(r'(id="clip|url\(#clip)(\d+)', renumber, svg)


def _whole_spec(chart: Chart) -> dict[str, Any]:
    """Return the specification with width, title and description."""
    spec = {**chart.spec, "title": {"text": chart.title}, "description": chart.alt}
    plots = spec.get("hconcat")
    if plots is None:
        return {"width": _WIDTH, **spec}
    width = (_WIDTH - _BETWEEN * (len(plots) - 1)) // len(plots)
    return {**spec, "hconcat": [{"width": width, **plot} for plot in plots]}
