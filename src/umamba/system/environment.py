"""Environment variables: read, set for a while, and handed to child processes."""

import os
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "cache_folder",
    "child_environment",
    "environment",
    "environment_without",
    "expanded",
    "loopback",
    "portable_settings",
    "set_up_torch",
    "setting",
    "torch_settings",
]


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


def environment_without(*prefixes: str, but: Collection[str]) -> dict[str, str]:
    """Return the environment for a child process: ours, without groups of variables.

    Args:
        prefixes: What the names of those variables begin with.
        but: Names that stay.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name in but or not name.startswith(prefixes)
    }


def cache_folder() -> Path | None:
    """Return the user's cache folder; `None` if there is no home folder.

    The folder is not created.
    """
    named = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    try:
        return (Path(named) if named else Path.home() / ".cache") / "umamba"
    except RuntimeError:
        return None


def expanded(text: str) -> str:
    """Return a text with the values of environment variables such as `$TMPDIR` in their places."""
    return os.path.expandvars(text)


def loopback() -> dict[str, str]:
    """Return a variable that keeps gloo's processes of one machine to themselves, unless it is set.

    Otherwise they would meet under the machine's own name, which a network may not know, and listen
    to others.
    """
    name = "GLOO_SOCKET_IFNAME"
    interfaces = {label for _, label in socket.if_nameindex()} if os.name != "nt" else set()
    found = interfaces & {"lo", "lo0"}
    return {name: found.pop()} if found and name not in os.environ else {}


# With augmentation workers some threads always wait for a core, and by default the others spin
# until they come: on two busy cores a training step took up to ten times as long. Large tensors in
# huge pages spare the system a hundred thousand small ones each: a prediction took 0.9 of the time.
_TORCH = {"OMP_WAIT_POLICY": "PASSIVE", "THP_MEM_ALLOC_ENABLE": "1"}


def torch_settings() -> dict[str, str]:
    """Return variables that make torch quick on a CPU, without those that are set.

    Torch reads them when it is imported, or first takes memory.
    """
    return {name: value for name, value in _TORCH.items() if name not in os.environ}


def set_up_torch() -> None:
    """Set these variables for the rest of the process."""
    os.environ.update(torch_settings())


def portable_settings() -> dict[str, str]:
    """Return nnU-Net's variables and ours, for a process on another machine."""
    ours = ("nnUNet_", "UMAMBA_")
    return {name: value for name, value in os.environ.items() if name.startswith(ours)}


def setting(name: str) -> str | None:
    """Return an environment variable that other programs read, too; `None` if it is empty."""
    return os.environ.get(name) or None
