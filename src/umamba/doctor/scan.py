"""The section on devices and the selective scan: what runs where, and why a faster one does not."""

import platform
import shutil
from warnings import catch_warnings, simplefilter

import torch

from umamba.doctor.sections import Section
from umamba.ops.backends import BACKENDS, check_backend, resolve_backend, why_not

__all__ = ["device_names", "examine_scan"]

_VARIABLE = "UMAMBA_SCAN_BACKEND"
# From the fastest to the slowest; each with what there is to say of it where it runs.
_REMARKS = {
    "triton": "compiled for the GPU",
    "cpu": "native code on all threads",
    "torch": "portable, several times slower than native code",
    "reference": "step by step: exact, for comparison only",
}


def examine_scan() -> Section:
    """Find out what each backend does on each device that is here.

    Raises:
        BackendError: If the environment variable names no backend.
    """
    asked = check_backend()
    devices = device_names()
    lines = {
        "threads": str(torch.get_num_threads()),
        _VARIABLE: "not set, or auto" if asked == "auto" else asked,
    }
    for device in devices:
        lines[device] = f"{_device_name(device)}; auto takes: {_auto(device)}"
        for backend in sorted(set(BACKENDS) - {"auto"}, key=list(_REMARKS).index):
            lines[f"{device}: {backend}"] = _verdict(backend, device)
    problems, warnings = _problems(asked, devices), _unused_gpu(devices) + _slow_gpu(devices)
    return Section("Devices and selective scan", lines, problems, warnings)


def device_names() -> list[str]:
    """Return the kinds of devices that torch finds here."""
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def _auto(device: str) -> str:
    with catch_warnings():
        simplefilter("ignore", RuntimeWarning)  # the lines below say it, too
        chosen: str = resolve_backend("auto", device)
    return chosen


def _verdict(backend: str, device: str) -> str:
    reason = why_not(backend, device)
    if reason is None:
        return f"runs; {_REMARKS[backend]}"
    # The CPU's own kernel is the only one that a command can mend; the reason may name it already.
    mendable = (backend, device) == ("cpu", "cpu") and "`pip install" not in reason
    remedy = "; `pip install --upgrade llvmlite` may mend it" if mendable else ""
    return f"does not run: {reason}{remedy}"


def _problems(asked: str, devices: list[str]) -> tuple[str, ...]:
    """Say so if the backend that is asked for runs on no device here."""
    if asked == "auto":
        return ()
    reasons = {device: why_not(asked, device) for device in devices}
    if None in reasons.values():
        return ()
    says = "; ".join(f"{device}: {reason}" for device, reason in reasons.items())
    return (
        f"{_VARIABLE} asks for {asked}, which runs on no device here ({says}); torch takes over. "
        f"Mend it, or unset {_VARIABLE}",
    )


def _unused_gpu(devices: list[str]) -> tuple[str, ...]:
    """Say so if there seems to be a GPU that torch cannot use."""
    if "cuda" in devices or shutil.which("nvidia-smi") is None:
        return ()
    if torch.version.cuda is None:
        mend = "this torch is for CPUs only; `pip install --force-reinstall torch` with CUDA, as "
        mend += "pytorch.org/get-started tells"
    else:
        mend = f"its driver may be too old for CUDA {torch.version.cuda}; `nvidia-smi` tells, and "
        mend += "`echo $CUDA_VISIBLE_DEVICES` whether it is hidden"
    return (f"an NVIDIA driver is installed, but torch finds no GPU: {mend}",)


def _slow_gpu(devices: list[str]) -> tuple[str, ...]:
    """Say so if a GPU is here whose own kernel does not run."""
    reason = why_not("triton", "cuda") if "cuda" in devices else None
    return () if reason is None else (f"the GPU runs the slow torch backend: {reason}",)


def _device_name(device: str) -> str:
    if device == "cuda":
        n_devices = torch.cuda.device_count()
        name = torch.cuda.get_device_name()
        return f"{n_devices} x {name}" if n_devices > 1 else name
    return platform.machine()
