"""The engines that run ONNX files: one function each, all on the CPU and in float32."""

import io
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.errors import DatasetError, ModelFileError, UMambaError, unknown_name
from umamba.runtime.engine_names import ENGINES
from umamba.runtime.onnx_files import checked_onnx
from umamba.runtime.pipeline import NetworkFile
from umamba.runtime.sliding_window import Network
from umamba.system.path_names import shown

__all__ = [
    "installed_engines",
    "is_installed",
    "load_network",
    "verified_engines",
    "warn_if_unverified",
]

log = logging.getLogger(__name__)

Array = npt.NDArray[np.float32]


_only_core = threading.Lock()


@cache
def _openvino_core() -> Any:
    """Return the only core of OpenVINO (2026.4) in this process, which stays until it ends.

    Each core gives the thread another stack for signals, and puts the earlier one back when it
    goes. Of two that do not go in turn, the last puts back one that is gone, and the next signal
    ends the process.
    """
    import openvino

    return openvino.Core()


def _load_openvino(content: bytes, threads: int) -> Network:
    from openvino.frontend import FrontEndManager

    with _only_core:  # a cache calls its function twice if two threads come at once
        core = _openvino_core()
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # by itself it takes bfloat16 where the CPU has that
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    # `core.read_model` takes bytes with a certain text for another format, which is not checked.
    reader = FrontEndManager().load_by_framework("onnx")
    model = reader.convert(reader.load(io.BytesIO(content)))
    compiled = core.compile_model(model, "CPU", settings)
    own = threading.local()  # a request serves one thread at a time

    def run(patch: Array) -> Array:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        return np.asarray(own.request.infer([patch])[0])

    return run


def _load_onnxruntime(content: bytes, threads: int) -> Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Otherwise bytes that begin in a certain way are read in its own format, which is not checked.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.log_severity_level = 4  # warnings are about its own optimisations, errors are raised
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(patch: Array) -> Array:
        return np.asarray(session.run(None, {name: patch})[0])

    return run


_LOADERS: Mapping[str, Callable[[bytes, int], Network]] = {
    "openvino": _load_openvino,
    "onnxruntime": _load_onnxruntime,
}


def is_installed(engine: str) -> bool:
    """Return whether an engine, and what checks its files, could be imported; they are not."""
    return find_spec(engine) is not None and find_spec("onnx") is not None


def installed_engines(engine: str = "auto") -> list[str]:
    """Return the engines that may be used, in the order in which they are tried.

    Args:
        engine: The only one that may, or `auto`.

    Raises:
        UMambaError: If it does not exist, or is not installed, or none is.
    """
    if engine not in (*ENGINES, "auto"):
        raise UMambaError(unknown_name("the engine", engine, ["auto", *ENGINES]))
    wanted = list(ENGINES) if engine == "auto" else [engine]
    found = [name for name in wanted if is_installed(name)]
    if not found:
        what = "no engine is" if engine == "auto" else f"the engine {engine} is not"
        checker = " onnx" if find_spec("onnx") is None else ""  # it checks their files
        ways = " or ".join(f"`pip install {name}{checker}`" for name in wanted)
        msg = f"{what} installed here; {ways}"
        raise UMambaError(msg)
    return found


def verified_engines(networks: Sequence[NetworkFile]) -> list[str]:
    """Return what gave torch's logits for all networks when they were exported, fastest first.

    Args:
        networks: The networks, with what their export found.

    Returns:
        Names of engines, `torch` among them if its time was taken.
    """
    common = set.intersection(*(set(network.checks) for network in networks))
    return sorted(common, key=lambda name: sum(n.checks[name].seconds for n in networks))


def warn_if_unverified(engine: str, networks: Sequence[NetworkFile]) -> None:
    """Warn of an engine that was not found to give torch's logits when networks were exported.

    Args:
        engine: The engine that is taken all the same.
        networks: The networks, with what their export found.
    """
    if engine not in verified_engines(networks):
        is_known = any(network.checks for network in networks)
        what = "found to give torch's logits" if is_known else "compared with torch"
        log.warning(
            "note: %s was not %s when this model was exported; labels may differ", engine, what
        )


def load_network(path: Path, engine: str, threads: int) -> Network:
    """Load an ONNX file.

    Args:
        path: The file, whose checksum was verified.
        engine: An installed engine.
        threads: How many threads it may use.

    Returns:
        A function of patches, which several threads may call. It raises a `DatasetError` where
        the engine fails on a patch.

    Raises:
        ModelFileError: If the file is not an ONNX file that stands for itself, or the engine
            cannot run it.
    """
    content = checked_onnx(path)
    try:
        run = _LOADERS[engine](content, threads)
    except Exception as error:
        msg = (
            f"{engine} cannot load {shown(path)} ({_reason(error)}); give another --engine, or "
            "export again"
        )
        raise ModelFileError(msg) from error

    def explained(patch: Array) -> Array:
        try:
            return run(patch)
        except MemoryError:
            raise
        except Exception as error:  # each engine has errors of its own
            size = " x ".join(map(str, patch.shape[2:]))
            msg = (
                f"{engine} failed on a patch of {size} voxels ({_reason(error)}); give another "
                "--engine, or use a machine with more memory"
            )
            raise DatasetError(msg) from error

    return explained


def _reason(error: Exception) -> str:
    """Return the first line of an engine's error."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
