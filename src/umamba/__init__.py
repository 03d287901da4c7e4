"""U-Mamba and its rivals as plug-ins for unmodified nnU-Net v2.

The names below are loaded on first use, so that `import umamba` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Mamba",
    "Paths",
    "PlanResult",
    "PredictionResult",
    "TrainingResult",
    "UMambaBot",
    "UMambaEnc",
    "UMambaError",
    "UserInterruptError",
    "__version__",
    "plan",
    "predict",
    "selective_scan",
    "train",
]

if TYPE_CHECKING:
    from umamba.api import plan, predict, train
    from umamba.errors import UMambaError, UserInterruptError
    from umamba.layers.mamba_block import Mamba
    from umamba.networks.umamba import UMambaBot, UMambaEnc
    from umamba.nnunet.paths import Paths
    from umamba.ops.dispatch import selective_scan
    from umamba.results import PlanResult, PredictionResult, TrainingResult

_HOMES = {
    "Mamba": "umamba.layers.mamba_block",
    "Paths": "umamba.nnunet.paths",
    "PlanResult": "umamba.results",
    "PredictionResult": "umamba.results",
    "TrainingResult": "umamba.results",
    "UMambaBot": "umamba.networks.umamba",
    "UMambaEnc": "umamba.networks.umamba",
    "UMambaError": "umamba.errors",
    "UserInterruptError": "umamba.errors",
    "plan": "umamba.api",
    "predict": "umamba.api",
    "selective_scan": "umamba.ops.dispatch",
    "train": "umamba.api",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its home module."""
    if name not in _HOMES:
        msg = f"module 'umamba' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
