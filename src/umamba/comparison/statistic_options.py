"""Options of statistics that several commands share."""

from collections.abc import Mapping

from umamba.option_checks import folder_or_file
from umamba.options import Option, Section, option

__all__ = ["clusters_option", "groups_option"]


def clusters_option(section: Section | None = None) -> Mapping[str, Option]:
    """Return the metadata of `--clusters`, in a section of the help."""
    return option(
        "table with the columns case,cluster: cases that belong together, such as slices of a "
        "patient (default: all cases are independent)",
        check=folder_or_file,
        metavar="FILE.csv",
        section=section,
    )


def groups_option(section: Section | None = None) -> Mapping[str, Option]:
    """Return the metadata of `--groups`, in a section of the help."""
    return option(
        "table with the columns case,group: subgroups to analyse separately, such as scanners "
        "(default: none)",
        check=folder_or_file,
        metavar="FILE.csv",
        section=section,
    )
