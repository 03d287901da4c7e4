"""The reference page of all public functions and classes, made from their docstrings.

`python -m umamba.cli.functions_page > docs/reference/python-functions.md` writes it anew.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

import umamba
from umamba import runtime

__all__ = ["functions_as_markdown"]

_INTRODUCTION = """\
# Functions and classes

Everything in `umamba.__all__`, and in `umamba.runtime`, which needs neither torch nor nnU-Net; made
from the docstrings, which `help(umamba.train)` shows as well.
The [Python API](python-api.md) shows how they are used together.
"""
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Source):\n", re.MULTILINE)
_ENTRY = re.compile(r"^(\w+): (.*(?:\n +.*)*)", re.MULTILINE)


def functions_as_markdown() -> str:
    """Return the page."""
    names = sorted((name for name in umamba.__all__ if name != "__version__"), key=_order)
    things = {name: getattr(umamba, name) for name in names}
    things |= {f"runtime.{name}": getattr(runtime, name) for name in sorted(runtime.__all__)}
    parts = [part for name, thing in things.items() for part in _describe(name, thing)]
    return "\n\n".join([_INTRODUCTION.strip(), *parts]) + "\n"


def _order(name: str) -> tuple[int, str]:
    """Put functions first, then what they return and raise."""
    is_class = not name.islower()
    return is_class + name.endswith(("Result", "Error")), name


def _describe(name: str, thing: Any) -> Iterator[str]:
    yield f"## umamba.{name}"
    about, *sections = _SECTION.split(inspect.getdoc(thing) or "")
    yield about.strip()
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        lines = body.splitlines()
        inside = [line[4:] for line in lines if line.startswith("    ")]
        yield _section(title, "\n".join(inside), thing)
        outside = [line for line in lines if line and not line.startswith("    ")]
        yield from filter(None, ["\n".join(outside)])
    if inspect.isclass(thing):
        members = [row for key, member in vars(thing).items() for row in _member(key, member)]
        if members:
            yield "\n".join(["| member | meaning |", "|---|---|", *members])


def _section(title: str, body: str, thing: Any) -> str:
    if title in ("Returns", "Source"):
        return f"**{title}:** {_cell(' '.join(body.split()))}"
    entries = [(name, " ".join(text.split())) for name, text in _ENTRY.findall(body)]
    if title == "Raises":
        return "\n".join(["**Raises:**", "", *(f"- `{name}`: {text}" for name, text in entries)])
    if title == "Attributes":
        rows = [f"| `{name}` | {_cell(text)} |" for name, text in entries]
        return "\n".join(["| attribute | meaning |", "|---|---|", *rows])
    defaults = {name: _default(p) for name, p in inspect.signature(thing).parameters.items()}
    rows = [f"| `{name}` | {defaults.get(name, '')} | {_cell(text)} |" for name, text in entries]
    return "\n".join(["| keyword | default | meaning |", "|---|---|---|", *rows])


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return "required"
    is_plain = isinstance(parameter.default, bool | int | float | str)
    return f"`{parameter.default!r}`" if is_plain else ""


def _cell(text: str) -> str:
    """Return a text with what Markdown would take for emphasis or a column's end escaped."""
    return re.sub(r"(`[^`]*`)|\*", lambda found: found[1] or "\\*", text.replace("|", "\\|"))


def _member(name: str, member: Any) -> Iterator[str]:
    """Return the row of a public method or property that says what it is."""
    about = (inspect.getdoc(member) or "").partition("\n\n")[0]
    is_method = inspect.isfunction(member)
    if not name.startswith("_") and about and (is_method or isinstance(member, property)):
        yield f"| `{name}{'()' if is_method else ''}` | {_cell(' '.join(about.split()))} |"


if __name__ == "__main__":
    sys.stdout.write(functions_as_markdown())
