"""The section on devices and the selective scan: which backends run where, and why others don't."""

import platform
import shutil
from warnings import catch_warnings, simplefilter

import torch

from umamba.doctor.section import Section
from umamba.ops.backends import (
    BACKENDS,
    VARIABLE,
    check_backend,
    fastest,
    find_backend,
    resolve_backend,
)
from umamba.ops.scan_backend import ScanBackend

__all__ = ["device_names", "examine_scan"]


def examine_scan() -> Section:
    """Examine what each backend does on each available device.

    Raises:
        BackendError: If the environment variable does not name a backend.
    """
    asked = check_backend()
    devices = device_names()
    lines = {
        "threads": str(torch.get_num_threads()),
        VARIABLE: "not set, or auto" if asked == "auto" else asked,
    }
    for device in devices:
        lines[device] = f"{_device_name(device)}; auto takes: {_auto(device)}"
        for backend in BACKENDS.values():
            lines[f"{device}: {backend.name}"] = _verdict(backend, device)
    problems, warnings = _problems(asked, devices), _unused_gpu(devices) + _slow_gpu(devices)
    return Section("Devices and selective scan", lines, problems, warnings)


def device_names() -> list[str]:
    """Return the types of devices that torch finds and that a backend supports, CPU first."""
    known = dict.fromkeys(("cpu", *(device for b in BACKENDS.values() for device in b.devices)))
    return [device for device in known if torch.get_device_module(device).is_available()]


def _auto(device: str) -> str:
    with catch_warnings():
        simplefilter("ignore", RuntimeWarning)  # the lines below say so as well
        chosen: str = resolve_backend("auto", device)
    return chosen


def _verdict(backend: ScanBackend, device: str) -> str:
    reason = backend.why_not(device)
    return f"runs; {backend.remark}" if reason is None else f"does not run: {reason}"


def _problems(asked: str, devices: list[str]) -> tuple[str, ...]:
    """Return a problem if the requested backend runs on no device here."""
    if asked == "auto":
        return ()
    reasons = {device: find_backend(asked).why_not(device) for device in devices}
    if None in reasons.values():
        return ()
    says = "; ".join(f"{device}: {reason}" for device, reason in reasons.items())
    return (
        f"{VARIABLE} asks for {asked}, which runs on no device here ({says}), so torch is used. "
        f"Fix this, or unset {VARIABLE}",
    )


def _unused_gpu(devices: list[str]) -> tuple[str, ...]:
    """Return a warning if there seems to be a GPU that torch cannot use."""
    if "cuda" in devices or shutil.which("nvidia-smi") is None:
        return ()
    if torch.version.cuda is None:
        mend = (
            "this torch is for CPUs only; run `pip install --force-reinstall torch` with CUDA, as "
        )
        mend += "explained at pytorch.org/get-started"
    else:
        mend = (
            f"its driver may be too old for CUDA {torch.version.cuda} (see `nvidia-smi`), or the "
        )
        mend += "GPU is hidden (see `echo $CUDA_VISIBLE_DEVICES`)"
    return (f"an NVIDIA driver is installed, but torch finds no GPU: {mend}",)


def _slow_gpu(devices: list[str]) -> tuple[str, ...]:
    """Return a warning if there is a GPU whose own kernel does not run."""
    reasons = (fastest(device).why_not(device) for device in devices if device != "cpu")
    return tuple(f"the GPU runs the slow torch backend: {reason}" for reason in reasons if reason)


def _device_name(device: str) -> str:
    if device == "cuda":
        n_devices = torch.cuda.device_count()
        name = torch.cuda.get_device_name()
        return f"{n_devices} x {name}" if n_devices > 1 else name
    return platform.machine()
