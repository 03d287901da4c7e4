"""The option by which reports credit the data that they show."""

from collections.abc import Mapping

from umamba.options import Option, option

__all__ = ["CREDIT", "credit_option"]

CREDIT = (
    "origin and licence of the data, for the foot of report.html, such as 'BBBC038, CC0 1.0'; "
    "kept with the results"
)


def credit_option() -> Mapping[str, Option]:
    """Return the metadata of `--credit`."""
    return option(f"{CREDIT} (default: none)", metavar="TEXT")
