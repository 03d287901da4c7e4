"""A section of `umamba doctor`."""

from dataclasses import dataclass

__all__ = ["Section"]


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Args:
        name: Its heading.
        lines: The findings, by what was examined, in order.
        problems: Reasons why a training would fail, or why a request cannot be met, each with a
            remedy.
        warnings: Things that make a training slow or risky, each with a remedy.
    """

    name: str
    lines: dict[str, str]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_text(self) -> str:
        """Return the section as text."""
        width = max(map(len, self.lines), default=0)
        lines = [f"  {label:<{width}}  {text}" for label, text in self.lines.items()]
        problems = [f"  problem: {problem}" for problem in self.problems]
        warnings = [f"  warning: {warning}" for warning in self.warnings]
        return "\n".join([self.name, *lines, *problems, *warnings, ""])
