"""Find out whether Triton can compile and launch here."""

import sysconfig
from functools import cache
from pathlib import Path

__all__ = ["why_unavailable"]

_OLDEST = 80  # compute capability x 10 that Triton supports
_OLDEST_TRITON = (3, 3)  # the first with tuples


@cache
def why_unavailable(device_type: str) -> str | None:
    """Return why this backend cannot run on a device, or `None` if it can.

    Args:
        device_type: As `torch.device.type`.
    """
    try:
        import triton
        from triton.runtime import driver
        from triton.runtime.jit import JITFunction

        from umamba.ops.triton.kernels import carry_kernel
    except Exception as error:  # noqa: BLE001 - a broken installation raises anything
        return f"Triton cannot be imported ({error}); `pip install triton` installs it"
    if not isinstance(carry_kernel, JITFunction):
        return None  # TRITON_INTERPRET=1: it runs on any device, slowly
    if device_type != "cuda":
        return f"it runs on NVIDIA GPUs, and the tensors are on {device_type}"
    if tuple(int(part) for part in triton.__version__.split(".")[:2]) < _OLDEST_TRITON:
        return f"Triton {triton.__version__} is too old; 3.3 is needed, which comes with torch 2.7"
    try:
        target = driver.active.get_current_target()  # compiles a little C, as launchers do
    except Exception as error:  # noqa: BLE001 - no compiler, no headers, no driver: all differ
        return f"Triton cannot launch ({error}){_missing(error)}"
    if target.backend != "cuda" or target.arch < _OLDEST:
        return f"it runs on NVIDIA GPUs of compute capability 8.0 or later; this is {target.arch}"
    return None


def _missing(error: Exception) -> str:
    """Name what is missing for the launcher, which Triton compiles."""
    if "compiler" in str(error):
        return "; it needs a C compiler, `sudo apt install gcc`"
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        return f"; it needs Python.h in {headers}, `sudo apt install python3-dev`"
    return ""
