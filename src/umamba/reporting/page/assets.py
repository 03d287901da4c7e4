"""Scripts, styles and libraries of a page, and the policy that lets the browser run no others."""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

__all__ = ["libraries", "policy", "scripts", "styles"]

_FOLDER = Path(__file__).parent
_LIBRARIES = ("vega.min.js", "vega-lite.min.js")
_INTERPRETER = "vega-interpreter.js"
_SCRIPTS = (
    "state.js",
    "theme.js",
    "charts.js",
    "tables.js",
    "selection.js",
    "case_data.js",
    "slices.js",
    "viewer.js",
    "viewer_pointer.js",
    "viewer_controls.js",
    "case_list.js",
)
_IMPORT = re.compile(r"^import (\{[^}]*\}) from 'vega-util';", re.MULTILINE)
_EXPORT = re.compile(r"^export \{ (\w+) as (\w+) \};", re.MULTILINE)
_SOURCE_MAP = re.compile(r"^//# sourceMappingURL=.*$", re.MULTILINE)


@cache
def libraries() -> str:
    """Return vega, vega-lite and vega's interpreter, which needs no `eval`, as one script."""
    whole = "\n".join(_text(f"vendor/{name}") for name in _LIBRARIES)
    # The interpreter is published as a module only, and modules do not load from files.
    module = _IMPORT.sub(r"const \1 = vega;", _text(f"vendor/{_INTERPRETER}"))
    module = _EXPORT.sub(r"vega.\2 = \1;", module)
    return _SOURCE_MAP.sub("", f"{whole}\n(() => {{\n{module}\n}})();\n")


@cache
def scripts() -> str:
    """Return our own scripts as one."""
    return "\n".join(_text(f"scripts/{name}") for name in _SCRIPTS)


@cache
def styles() -> str:
    """Return the styles."""
    return _text("page.css") + _text("viewer.css")


def policy(*, with_files: bool) -> str:
    """Return the Content-Security-Policy, which names no remote source.

    Args:
        with_files: Whether the page has scripts in files of its own next to it.
    """
    allowed = " ".join([*map(_hash, (libraries(), scripts())), *["'self' file:"] * with_files])
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(styles())}; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
