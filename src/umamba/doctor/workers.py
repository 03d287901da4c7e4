"""The section on augmentation workers: whether the machine can run them all."""

from umamba.doctor.section import Section
from umamba.errors import UMambaError
from umamba.nnunet.workers import augmentation_workers
from umamba.system.environment import setting
from umamba.system.limits import Limits, measure_limits

__all__ = ["examine_workers"]

_VARIABLE = "nnUNet_n_proc_DA"
_MIB, _GIB = 2**20, 2**30
# Batches of several tens of MiB lie in shared memory, several for each worker.
_LEAST_SHARED, _AMPLE_SHARED = 64 * _MIB, 128 * _MIB
# Every tensor in transit is an open file.
_LEAST_FILES, _FILES, _FILES_PER_WORKER = 256, 256, 64
# Each worker imports torch and holds a few cases; half as many more augment for validation.
_MEMORY, _MEMORY_PER_WORKER = 4 * _GIB, 3 * _GIB // 2
_LEAST_MEMORY = 2 * _GIB


def examine_workers(device: str) -> Section:
    """Compare the machine's limits with the number of workers.

    Args:
        device: The kind of device that trains.
    """
    limits = measure_limits()
    try:
        workers = augmentation_workers(device)
    except UMambaError as error:
        return Section("Workers", _lines(limits, "?"), (f"{error}; `export {_VARIABLE}=4`",))
    origin = _VARIABLE if setting(_VARIABLE) else f"by default on {device}"
    checks = (_check_shared, _check_files, _check_memory, _check_cores)
    found = [check(limits, workers) for check in checks]
    return Section(
        "Workers",
        _lines(limits, f"{workers} ({origin})"),
        tuple(problem for problem, _ in found if problem),
        tuple(warning for _, warning in found if warning),
    )


def _lines(limits: Limits, workers: str) -> dict[str, str]:
    return {
        "workers": workers,
        "cores": f"{limits.cores} of {limits.processors} may be used",
        "memory": _gib(limits.memory)
        + (f", limited to {_gib(limits.memory_limit)}" if limits.memory_limit else ""),
        "shared memory": f"{_gib(limits.shared_memory)} in /dev/shm",
        "open files": f"{limits.open_files or 'unlimited'} (ulimit -n)",
    }


def _gib(n_bytes: int | None) -> str:
    return "unknown" if n_bytes is None else f"{n_bytes / _GIB:.3g} GiB"


def _check_shared(limits: Limits, workers: int) -> tuple[str, str]:
    shared = limits.shared_memory
    if shared is None or shared >= workers * _AMPLE_SHARED:
        return "", ""
    fewer = shared // _AMPLE_SHARED
    text = (
        f"/dev/shm has {shared // _MIB} MiB, but {workers} workers need {workers * 128}: "
        "`docker run --shm-size=8g ...`, or `sudo mount -o remount,size=8G /dev/shm`, "
        f"or `export {_VARIABLE}={fewer}`"
    )
    return (text, "") if shared < workers * _LEAST_SHARED else ("", text)


def _check_files(limits: Limits, workers: int) -> tuple[str, str]:
    files, wanted = limits.open_files, _FILES + workers * _FILES_PER_WORKER
    if files is None or files >= wanted or not workers:
        return "", ""
    hard = limits.open_files_hard
    text = f"{files} open files are allowed, but {workers} workers may need {wanted}: "
    if hard is None or hard >= wanted:
        text += f"`ulimit -n {wanted}`"
    else:
        fewer = max(0, (hard - _FILES) // _FILES_PER_WORKER)
        text += f"`export {_VARIABLE}={fewer}`; the administrator can raise the limit of {hard}"
    return (text, "") if files < _LEAST_FILES else ("", text)


def _check_memory(limits: Limits, workers: int) -> tuple[str, str]:
    memory, wanted = limits.usable_memory, _MEMORY + workers * _MEMORY_PER_WORKER
    if memory is None or memory >= wanted:
        return "", ""
    fewer = max(0, (memory - _MEMORY) // _MEMORY_PER_WORKER)
    text = f"{_gib(memory)} of memory is little for {workers} workers, which may take "
    text += f"{_gib(wanted)}: `export {_VARIABLE}={fewer}`"
    if memory < _LEAST_MEMORY:
        return f"{_gib(memory)} of memory is too little for training: give the job more", ""
    return ("", text) if fewer < workers else ("", "")


def _check_cores(limits: Limits, workers: int) -> tuple[str, str]:
    if workers <= limits.cores:
        return "", ""
    text = f"{workers} workers share {limits.cores} cores: `export {_VARIABLE}={limits.cores}`"
    return "", text
