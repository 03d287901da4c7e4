"""Errors that a user can act on: what is wrong, where, what would fit, and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches
from reprlib import Repr

__all__ = [
    "OTHER_COPY",
    "BackendError",
    "CheckpointError",
    "ComparisonError",
    "DatasetError",
    "EvaluationError",
    "ModelFileError",
    "PlansError",
    "ResumableInterruptError",
    "SupersededError",
    "TrainingError",
    "UMambaError",
    "UserInterruptError",
    "closest",
    "quoted",
    "unknown_name",
]

# The end of messages about files of models that were damaged, or made to harm.
OTHER_COPY = "get another copy, from a source that you trust"


def closest(name: str, known: Iterable[str]) -> str:
    """Return "did you mean ...? " with the known name most similar to a name; "" if none is."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    folded = name.casefold()
    found = get_close_matches(folded, by_folded, n=1, cutoff=0.65)
    if not found and len(folded) > 2:  # such as a data set's name without its number
        found = [candidate for candidate in by_folded if folded in candidate]
    return f"did you mean {by_folded[found[0]]}? " if found else ""


def unknown_name(what: str, name: str, known: Iterable[str], listed_by: str = "") -> str:
    """Return the message for a name that does not exist.

    Args:
        what: The kind of thing that has such names.
        name: The name.
        known: The names that exist.
        listed_by: A hint at where all names are listed, if they are too many for one line.
    """
    known = list(known)
    choice = f"choose one of {', '.join(known)}"
    likely = closest(name, known)
    if listed_by:
        choice = listed_by if likely else f"choose one of {', '.join(known[:3])}, ...; {listed_by}"
    return f"{what} {name!r} does not exist; {likely}{choice}"


_repr = Repr()
_repr.maxlist = _repr.maxtuple = _repr.maxdict = _repr.maxset = 8
_repr.maxstring = _repr.maxother = 120
_repr.maxlevel = 3


def quoted(value: object) -> str:
    """Return a value from a file for use in a message: one short line, no control characters."""
    return _repr.repr(value).replace("\n", " ")  # between the rows of a tensor


class ResumableInterruptError(SystemExit):
    """The user interrupted work that can be continued; the process exits with code 75.

    As this is a `SystemExit`, nnU-Net's own commands exit with 75 as well.
    """

    EXIT_CODE = 75

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = self.EXIT_CODE


class SupersededError(SystemExit):
    """Another attempt at the same job has taken over; the process exits with code 76.

    As this is a `SystemExit`, nothing goes on after it as after an error of one file.
    """

    EXIT_CODE = 76

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = self.EXIT_CODE


class UserInterruptError(KeyboardInterrupt):
    """The user interrupted a function of the Python API; the message says how to continue."""


class UMambaError(ValueError):
    """The user's input is at fault; a command prints the message and exits with `EXIT_CODE`.

    A subclass may set another code.
    """

    EXIT_CODE = 2


class DatasetError(UMambaError):
    """Images, masks or `dataset.json` do not fit together."""


class EvaluationError(UMambaError):
    """Masks cannot be compared as they stand."""


class PlansError(UMambaError):
    """Plans or a network's arguments cannot be used as they stand."""


class CheckpointError(UMambaError):
    """A checkpoint cannot be read, or holds something it should not."""


class TrainingError(UMambaError):
    """A training cannot continue; its checkpoints are in place."""


class ModelFileError(UMambaError):
    """A shared model is damaged, or is not what it should be."""


class BackendError(UMambaError):
    """A selective-scan backend is unknown or cannot run here."""


class ComparisonError(UMambaError):
    """Scores or learning curves cannot be compared as they stand."""
