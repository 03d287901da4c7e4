"""Tests replace nothing private of the code that they test."""

import ast
from collections.abc import Iterator
from contextlib import suppress

import pytest

from reference_cases import REPOSITORY

OURS = ("umamba", "benchmarks")
PATCHES = {"setattr", "delattr", "setitem", "delitem", "patch", "object"}


def packages_of(tree: ast.AST) -> dict[str, str]:
    """Return the package that each imported name comes from."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module = getattr(node, "module", None)
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                found[name] = (module or alias.name).partition(".")[0]
    return found


def replaced_by(node: ast.AST) -> list[ast.expr]:
    """Return the expressions that name what is replaced, such as an object and its attribute."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in PATCHES:
        return node.args[:2]
    is_place = isinstance(node, (ast.Attribute, ast.Subscript))
    return [node] if is_place and isinstance(node.ctx, (ast.Store, ast.Del)) else []


def names_in(place: ast.expr) -> Iterator[str]:
    for node in ast.walk(place):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from node.value.split(".")


def package_of(place: ast.expr, imported: dict[str, str]) -> str:
    """Return whose it is: of a package, "self", or of ours where that cannot be seen."""
    if isinstance(place, ast.Constant):
        return str(place.value).partition(".")[0]
    while isinstance(place, (ast.Attribute, ast.Subscript)):
        place = place.value
    name = place.id if isinstance(place, ast.Name) else ""
    return name if name == "self" else imported.get(name, OURS[0])


def replaced_privates(code: str) -> Iterator[str]:
    """Yield what replaces something private of ours; code in strings is looked at, too."""
    tree = ast.parse(code)
    imported = packages_of(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value:
            with suppress(SyntaxError, ValueError):  # most are not code
                yield from replaced_privates(node.value)
        places = replaced_by(node)
        names = [name for place in places for name in names_in(place)]
        is_private = any(name.startswith("_") and not name.endswith("__") for name in names)
        if is_private and package_of(places[0], imported) in OURS:
            yield ast.unparse(node)


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ('monkeypatch.setattr("umamba.system.archives._MOST_BYTES", 1)', 1),
        ('from umamba.runs import engine\nmonkeypatch.setattr(engine, "_SECONDS", 0)', 1),
        ('import benchmarks.gpu\npatched.setattr(benchmarks.gpu, "_X", 0)', 1),
        ("from umamba.costs import scaling\npatched.setitem(scaling._CLOCKS, 'cpu', clock)", 1),
        ("from umamba.system import run_lock as lock\nlock._held, lock._x[0] = set(), 1", 2),
        ("def test(trainer):\n    trainer._saved_at = 0.0", 1),
        ('CODE = """\nfrom umamba.runs import executor\nexecutor._CHILD = ()\n"""', 1),
        ('from umamba.ops import backends\npatched.setitem(backends.BACKENDS, "cpu", new)', 0),
        ('import tempfile\nmonkeypatch.setattr(tempfile, "_candidates", list)', 0),
        ('monkeypatch.setattr("tempfile._candidates", list)', 0),
        ("class Fake:\n    def __init__(self):\n        self._x = 1", 0),
    ],
)
def test_what_is_replaced_is_found(code: str, count: int) -> None:
    assert len(list(replaced_privates(code))) == count


def test_nothing_private_of_ours_is_replaced() -> None:
    """What has to be replaced is an argument, or public; else tests break with every new name."""
    found = {
        f"{path.relative_to(REPOSITORY)}: {what}"
        for path in (REPOSITORY / "tests").rglob("*.py")
        for what in replaced_privates(path.read_text(encoding="utf-8"))
        if path.name != "test_conventions.py"
    }
    assert found == set()
