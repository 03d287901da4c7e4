"""Predict with an exported model, by an ONNX engine: free of torch and nnU-Net.

`from umamba.runtime import Predictor`, or `python -m umamba.runtime MODEL -i IMAGES -o OUTPUT`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["Pipeline", "Predictor", "read_pipeline"]

if TYPE_CHECKING:
    from umamba.runtime.pipeline import Pipeline, read_pipeline
    from umamba.runtime.predictor import Predictor

_HOMES = {
    "Pipeline": "umamba.runtime.pipeline",
    "Predictor": "umamba.runtime.predictor",
    "read_pipeline": "umamba.runtime.pipeline",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its home module."""
    if name not in _HOMES:
        msg = f"module 'umamba.runtime' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
