"""Formulas of the documentation as MathML, which browsers draw themselves, without a network."""

from typing import Any

__all__ = ["to_mathml"]


def to_mathml(source: str, *_: Any, **__: Any) -> str:
    """Return the HTML of a block of LaTeX; the builder of the site calls this for `math` blocks.

    Args:
        source: The formula, as GitHub draws it in a block of the same name.
    """
    from latex2mathml.converter import convert

    formula = convert(source.strip(), display="block")
    # One that is wider than the page is scrolled by itself.
    return f'<div style="margin: 1em 0; overflow-x: auto">{formula}</div>'
