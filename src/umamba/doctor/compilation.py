"""The section on torch.compile: whether nnU-Net will use it, and whether it can run."""

import shutil
import sys
import sysconfig
from pathlib import Path

from umamba.doctor.section import Section
from umamba.system.environment import setting

__all__ = ["examine_compilation"]

_VARIABLE = "nnUNet_compile"


def examine_compilation(device: str) -> Section:
    """Look for the compiler that torch.compile calls.

    Args:
        device: The kind of device that trains.
    """
    reason = _why_not(device)
    asked = setting(_VARIABLE)
    # As nnU-Net decides: always on a GPU unless the variable says no, never on a CPU.
    wanted = device == "cuda" and (asked is None or asked.lower() in ("true", "1", "t"))
    lines = {
        "torch.compile": reason or "available",
        _VARIABLE: asked or "not set",
        "nnU-Net": "compiles the network" if wanted else f"does not compile on {device}",
    }
    problems: tuple[str, ...] = ()
    if wanted and reason:
        problems = (
            f"nnU-Net will try to compile, but cannot: {reason}, or `export {_VARIABLE}=f`",
        )
    return Section("Compilation", lines, problems)


def _why_not(device: str) -> str | None:
    """Return why torch.compile cannot run, and the command that fixes it."""
    # Triton compiles its launcher with a C compiler, inductor its CPU code with a C++ compiler.
    variable, names = ("CC", ("gcc", "clang")) if device == "cuda" else ("CXX", ("g++", "clang++"))
    chosen = setting(variable)
    if any(shutil.which(name) for name in ([chosen] if chosen else names)):
        headers = Path(sysconfig.get_path("include"))
        if device == "cuda" and not (headers / "Python.h").is_file():
            return (
                f"no Python.h in {headers}, which launchers include; `sudo apt install python3-dev`"
            )
        return None
    kind = "C" if variable == "CC" else "C++"
    if chosen:
        return f"{variable}={chosen} is not a program on the PATH; `unset {variable}`"
    packages = (
        "`xcode-select --install`"
        if sys.platform == "darwin"
        else ("`sudo apt install build-essential`, or `conda install -c conda-forge cxx-compiler`")
    )
    return f"no {kind} compiler on the PATH; {packages}"
