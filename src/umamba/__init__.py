"""U-Mamba and its rivals as plug-ins for unmodified nnU-Net v2.

The names below are loaded on first use, so that `import umamba` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "ComparisonResult",
    "EvaluationResult",
    "FoldsResult",
    "Mamba",
    "ModelsResult",
    "Paths",
    "PlanResult",
    "PredictionResult",
    "Predictor",
    "RankResult",
    "TrainingResult",
    "UMambaBot",
    "UMambaEnc",
    "UMambaError",
    "UserInterruptError",
    "__version__",
    "build",
    "compare",
    "evaluate",
    "models",
    "plan",
    "predict",
    "rank",
    "report",
    "selective_scan",
    "sliding_window",
    "train",
]

if TYPE_CHECKING:
    from umamba.api import compare, evaluate, models, plan, predict, rank, report, train
    from umamba.errors import UMambaError, UserInterruptError
    from umamba.layers.mamba_block import Mamba
    from umamba.networks.umamba import UMambaBot, UMambaEnc
    from umamba.nnunet.building import build
    from umamba.nnunet.paths import Paths
    from umamba.nnunet.prediction.predictor import Predictor
    from umamba.ops.dispatch import selective_scan
    from umamba.results import (
        ComparisonResult,
        EvaluationResult,
        FoldsResult,
        ModelsResult,
        PlanResult,
        PredictionResult,
        RankResult,
        TrainingResult,
    )
    from umamba.windows import sliding_window

_HOMES = {
    "ComparisonResult": "umamba.results",
    "EvaluationResult": "umamba.results",
    "FoldsResult": "umamba.results",
    "Mamba": "umamba.layers.mamba_block",
    "ModelsResult": "umamba.results",
    "Paths": "umamba.nnunet.paths",
    "PlanResult": "umamba.results",
    "PredictionResult": "umamba.results",
    "Predictor": "umamba.nnunet.prediction.predictor",
    "RankResult": "umamba.results",
    "TrainingResult": "umamba.results",
    "UMambaBot": "umamba.networks.umamba",
    "UMambaEnc": "umamba.networks.umamba",
    "UMambaError": "umamba.errors",
    "UserInterruptError": "umamba.errors",
    "build": "umamba.nnunet.building",
    "compare": "umamba.api",
    "evaluate": "umamba.api",
    "models": "umamba.api",
    "plan": "umamba.api",
    "predict": "umamba.api",
    "rank": "umamba.api",
    "report": "umamba.api",
    "selective_scan": "umamba.ops.dispatch",
    "sliding_window": "umamba.windows",
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
