"""nnU-Net's three folders, taken from arguments or from nnU-Net's environment variables."""

import argparse
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from umamba.errors import UMambaError
from umamba.options import OPTION, Compound
from umamba.system.environment import environment, setting
from umamba.system.path_names import check_utf8

__all__ = [
    "VARIABLES",
    "Paths",
    "add_path_arguments",
    "path_options",
]

VARIABLES = {
    "raw": "nnUNet_raw",
    "preprocessed": "nnUNet_preprocessed",
    "results": "nnUNet_results",
}


Folder = str | os.PathLike[str]

# The environment belongs to the whole process, so one thread at a time works in it.
_at_work = threading.RLock()


@dataclass(frozen=True, init=False)
class Paths:
    """nnU-Net's three folders.

    Args:
        raw: Raw data; `None` means the environment variable `nnUNet_raw`, read when work begins.
        preprocessed: Plans and preprocessed data; `None` means `nnUNet_preprocessed`.
        results: Trained models; `None` means `nnUNet_results`.
        root: A folder that holds those of the three that are not given, named like the variables.
    """

    raw: Path | None
    preprocessed: Path | None
    results: Path | None

    def __init__(
        self,
        raw: Folder | None = None,
        preprocessed: Folder | None = None,
        results: Folder | None = None,
        *,
        root: Folder | None = None,
    ) -> None:
        for name, given in (("raw", raw), ("preprocessed", preprocessed), ("results", results)):
            below = None if root is None else Path(root) / VARIABLES[name]
            path = below if given is None else Path(given)
            object.__setattr__(self, name, path and path.expanduser().resolve())

    @classmethod
    def from_arguments(cls, args: argparse.Namespace) -> "Paths":
        """Take each folder from its option, else from nnU-Net's environment variable."""
        return cls(**{name: getattr(args, name, None) for name in VARIABLES}).completed()

    def as_arguments(self) -> list[str]:
        """Return the options that name those of the folders that are known."""
        known = {name: path for name, path in vars(self).items() if path is not None}
        return [part for name, path in known.items() for part in (f"--{name}", str(path))]

    def completed(self) -> "Paths":
        """Return these folders, with those of nnU-Net's variables where none is given."""
        return Paths(*(getattr(self, name) or setting(VARIABLES[name]) for name in VARIABLES))

    @contextmanager
    def in_use(self) -> Iterator["Paths"]:
        """Make nnU-Net, and the processes that it starts, use these folders and no others.

        nnU-Net reads its variables whenever it needs a folder, so they are set while the context
        lasts, whatever the environment says, and put back on leaving.

        Yields:
            The folders, completed.

        Raises:
            UMambaError: If another thread of this process is in such a context.
        """
        if not _at_work.acquire(blocking=False):
            msg = (
                "another thread of this process uses nnU-Net, which has one set of folders per "
                "process; wait for it, or start a process for each"
            )
            raise UMambaError(msg)
        try:
            paths = self.completed()
            folders = {VARIABLES[name]: getattr(paths, name) for name in VARIABLES}
            with environment(**{name: str(path) for name, path in folders.items() if path}):
                yield paths
        finally:
            _at_work.release()

    def require(self, name: str) -> Path:
        """Return one folder.

        Raises:
            UMambaError: If it was not given.
        """
        path: Path | None = getattr(self, name)
        if path is None:
            msg = (
                f"the folder {VARIABLES[name]} is not known; give --{name} DIR, "
                f"or set the environment variable {VARIABLES[name]}"
            )
            raise UMambaError(msg)
        check_utf8(path, f"--{name}")
        return path


def add_path_arguments(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add `--raw`, `--preprocessed` and `--results`, or those of them that are named."""
    group = parser.add_argument_group("nnU-Net's folders")
    for name in names or VARIABLES:
        group.add_argument(
            f"--{name}", type=Path, metavar="DIR", help=f"default: ${VARIABLES[name]}"
        )


def path_options(*names: str) -> Mapping[str, Compound]:
    """Return the metadata of a field `paths`: the options of `add_path_arguments`."""
    text = "folders of nnU-Net (default: those of its environment variables)"
    return {
        OPTION: Compound(
            text,
            lambda parser: add_path_arguments(parser, *names),
            Paths.from_arguments,
            lambda paths: paths.as_arguments(),
        )
    }
