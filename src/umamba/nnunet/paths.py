"""nnU-Net's three folders, taken from arguments or from nnU-Net's environment variables."""

import argparse
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from umamba.errors import UMambaError
from umamba.nnunet.file_names import is_utf8, shown
from umamba.options import OPTION, Compound
from umamba.system.limits import available_cores

__all__ = [
    "VARIABLES",
    "Paths",
    "add_path_arguments",
    "augmentation_workers",
    "cache_folder",
    "check_utf8",
    "check_writable",
    "child_environment",
    "default_workers",
    "environment",
    "path_options",
    "patient_threads",
    "setting",
    "share_cores",
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
        raw: Raw data; `None` is what nnU-Net's variable `nnUNet_raw` says when work begins.
        preprocessed: Plans and preprocessed data; `None` likewise, `nnUNet_preprocessed`.
        results: Trained models; `None` likewise, `nnUNet_results`.
        root: A folder that holds those of the three that are not given, named as the variables.
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

    def completed(self) -> "Paths":
        """Return these folders, and those of nnU-Net's variables for what is not given."""
        return Paths(*(getattr(self, name) or setting(VARIABLES[name]) for name in VARIABLES))

    @contextmanager
    def in_use(self) -> Iterator["Paths"]:
        """Have nnU-Net, and the processes that it starts, use these folders and no others.

        nnU-Net reads its variables whenever it needs a folder, so they are set while the context
        lasts, whatever the environment says, and put back on leaving.

        Yields:
            The folders, completed.

        Raises:
            UMambaError: If another thread of this process is in such a context.
        """
        if not _at_work.acquire(blocking=False):
            msg = (
                "another thread of this process works with nnU-Net, whose folders are those of the "
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
    text = "nnU-Net's folders (default: those of its environment variables)"
    return {
        OPTION: Compound(
            text, lambda parser: add_path_arguments(parser, *names), Paths.from_arguments
        )
    }


def check_utf8(folder: Path, option: str) -> None:
    """Check that libraries can read and write below a folder: other paths end the interpreter.

    Raises:
        UMambaError: If its path is not UTF-8.
    """
    path = folder.absolute()
    if not is_utf8(path):
        msg = f"{option} {shown(path)}: this path is not UTF-8; rename the folder, or give another"
        raise UMambaError(msg)


def check_writable(folder: Path, option: str) -> None:
    """Check that a folder, which need not be there yet, can be written to; nothing is left there.

    Args:
        folder: The folder.
        option: Where the user can name another one, for the message.

    Raises:
        UMambaError: If it cannot.
    """
    check_utf8(folder, option)
    ancestry = (folder, *folder.absolute().parents)
    try:
        there = next(path for path in ancestry if os.path.lexists(path))
        with tempfile.NamedTemporaryFile(prefix=".umamba-", dir=there):
            pass
    except OSError as error:
        msg = (
            f"nothing can be written to {folder} ({error.strerror or error}); give another folder "
            f"as {option}, or make this one writable"
        )
        raise UMambaError(msg) from None


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables, and put them back on leaving."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def child_environment(**variables: str) -> dict[str, str]:
    """Return the environment for a child process: ours, with some variables set."""
    return {**os.environ, **variables}


def cache_folder() -> Path | None:
    """Return where the user's programs keep what they can make again; `None` if there is no home.

    Nothing is made there.
    """
    named = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    try:
        return (Path(named) if named else Path.home() / ".cache") / "umamba"
    except RuntimeError:
        return None


def patient_threads() -> dict[str, str]:
    """Return a variable that lets OpenMP threads sleep while they wait, unless it is set.

    Torch heeds it when it is imported. Beside augmentation workers some threads always wait for a
    core, and by default the others spin until they come: on two busy cores a training step took up
    to ten times as long.
    """
    return {} if "OMP_WAIT_POLICY" in os.environ else {"OMP_WAIT_POLICY": "PASSIVE"}


def share_cores() -> None:
    """Set this variable for the rest of the process."""
    os.environ.update(patient_threads())


def default_workers(device: str) -> dict[str, str]:
    """Return variables that size nnU-Net's worker pools for this machine, as far as none do.

    On a CPU the workers share the cores with the network, so half of the cores augment;
    beside a GPU nnU-Net's own rule is right for augmentation.
    """
    sizes = {"nnUNet_def_n_proc": str(min(8, available_cores()))}
    if device == "cpu":
        sizes["nnUNet_n_proc_DA"] = str(_workers_beside_cpu())
    return {name: size for name, size in sizes.items() if name not in os.environ}


def augmentation_workers(device: str) -> int:
    """Return how many workers will augment: as the user says, or by default.

    Raises:
        UMambaError: If what the user says is no number.
    """
    text = setting("nnUNet_n_proc_DA")
    if text is None and device == "cpu":
        return _workers_beside_cpu()
    try:
        return min(int(text or 12), os.cpu_count() or 1)  # as nnU-Net does
    except ValueError:
        msg = f"nnUNet_n_proc_DA is {text!r}, which is not a number"
        raise UMambaError(msg) from None


def _workers_beside_cpu() -> int:
    return max(1, min(12, available_cores() // 2))


def setting(name: str) -> str | None:
    """Return an environment variable that other programs read, too; `None` if it is empty."""
    return os.environ.get(name) or None
