"""nnU-Net's three folders, taken from arguments or from nnU-Net's environment variables."""

import argparse
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from umamba.errors import UMambaError
from umamba.nnunet.file_names import is_utf8, shown

__all__ = [
    "VARIABLES",
    "Paths",
    "add_path_arguments",
    "augmentation_workers",
    "available_cores",
    "cache_folder",
    "check_utf8",
    "check_writable",
    "child_environment",
    "environment",
    "folders_below",
    "memory_bytes",
    "set_default_workers",
    "setting",
    "share_cores",
]

VARIABLES = {
    "raw": "nnUNet_raw",
    "preprocessed": "nnUNet_preprocessed",
    "results": "nnUNet_results",
}


@dataclass(frozen=True)
class Paths:
    """nnU-Net's folders; `None` where neither an argument nor a variable names one."""

    raw: Path | None = None
    preprocessed: Path | None = None
    results: Path | None = None

    @classmethod
    def from_arguments(cls, args: argparse.Namespace) -> "Paths":
        """Take each folder from its option, else from nnU-Net's environment variable.

        The variables are then set to the same values, because nnU-Net reads nothing else.
        """
        found: dict[str, Path | None] = {}
        for name, variable in VARIABLES.items():
            value = getattr(args, name, None) or os.environ.get(variable)
            found[name] = Path(value).expanduser().resolve() if value else None
            if found[name] is not None:
                os.environ[variable] = str(found[name])
        return cls(**found)

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


@contextmanager
def folders_below(root: Path) -> Iterator[Paths]:
    """Use nnU-Net's three folders below one folder, whatever the environment says.

    Args:
        root: Where they are; they are made if need be.

    Yields:
        The folders.
    """
    folders = {name: root.resolve() / variable for name, variable in VARIABLES.items()}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    with environment(**{VARIABLES[name]: str(folder) for name, folder in folders.items()}):
        yield Paths(**folders)


def cache_folder() -> Path | None:
    """Return where the user's programs keep what they can make again; `None` if there is no home.

    Nothing is made there.
    """
    named = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    try:
        return (Path(named) if named else Path.home() / ".cache") / "umamba"
    except RuntimeError:
        return None


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int:
    """Return how much memory this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def share_cores() -> None:
    """Let OpenMP threads sleep while they wait; to be called before torch is imported.

    Beside augmentation workers some threads always wait for a core, and by default the others
    spin until they come: on two busy cores a training step took up to ten times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def set_default_workers(device: str) -> None:
    """Size nnU-Net's worker pools for this machine, unless the user has done so.

    On a CPU the workers share the cores with the network, so half of the cores augment;
    beside a GPU nnU-Net's own rule is right for augmentation.
    """
    cores = available_cores()
    os.environ.setdefault("nnUNet_def_n_proc", str(min(8, cores)))
    if device == "cpu":
        os.environ.setdefault("nnUNet_n_proc_DA", str(_workers_beside_cpu()))


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
