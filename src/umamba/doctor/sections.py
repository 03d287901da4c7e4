"""What a section of `umamba doctor` is, and which there are."""

from dataclasses import dataclass

from umamba.nnunet.paths import Paths

__all__ = ["Section", "examine"]


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


def examine(paths: Paths) -> list[Section]:
    """Look at everything, in the order in which it is shown.

    Args:
        paths: nnU-Net's folders.

    Raises:
        UMambaError: If a setting cannot be understood at all.
    """
    from umamba.doctor.compilation import examine_compilation
    from umamba.doctor.folders import examine_folders
    from umamba.doctor.nnunet import examine_nnunet
    from umamba.doctor.plans import examine_plans
    from umamba.doctor.scan import device_names, examine_scan
    from umamba.doctor.versions import examine_versions
    from umamba.doctor.workers import examine_workers

    device = "cuda" if "cuda" in device_names() else "cpu"
    return [
        examine_versions(),
        examine_scan(),
        examine_compilation(device),
        examine_nnunet(),
        examine_folders(paths),
        examine_plans(paths),
        examine_workers(device),
    ]
