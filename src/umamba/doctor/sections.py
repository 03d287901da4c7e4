"""What a section of `umamba doctor` is, and which there are."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Section", "examine"]


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Args:
        name: Its heading.
        lines: What was found, by what was looked at, in order.
        problems: What the user asked for and cannot have, with what would mend it.
    """

    name: str
    lines: dict[str, str]
    problems: tuple[str, ...] = ()

    def to_text(self) -> str:
        """Return what a person reads."""
        width = max(map(len, self.lines), default=0)
        lines = [f"  {label:<{width}}  {text}" for label, text in self.lines.items()]
        problems = [f"  problem: {problem}" for problem in self.problems]
        return "\n".join([self.name, *lines, *problems, ""])


def examine() -> list[Section]:
    """Look at everything, in the order in which it is shown.

    Raises:
        UMambaError: If a setting cannot be understood at all.
    """
    from umamba.doctor.scan import examine_scan

    examinations: tuple[Callable[[], Section], ...] = (examine_scan,)
    return [examination() for examination in examinations]
