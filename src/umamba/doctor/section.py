"""A section of `umamba doctor`."""

from dataclasses import dataclass

__all__ = ["Section"]


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Args:
        name: Its heading.
        lines: What was found, by what was looked at, in order.
        problems: What a training would fail of, or what was asked for and cannot be had; each with
            what would mend it.
        warnings: What makes a training slow or risky, likewise.
    """

    name: str
    lines: dict[str, str]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_text(self) -> str:
        """Return what a person reads."""
        width = max(map(len, self.lines), default=0)
        lines = [f"  {label:<{width}}  {text}" for label, text in self.lines.items()]
        problems = [f"  problem: {problem}" for problem in self.problems]
        warnings = [f"  warning: {warning}" for warning in self.warnings]
        return "\n".join([self.name, *lines, *problems, *warnings, ""])
