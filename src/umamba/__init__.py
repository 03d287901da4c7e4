"""U-Mamba and its rivals as plug-ins for unmodified nnU-Net v2.

The names below are loaded on first use, so that `import umamba` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Mamba", "UMambaBot", "UMambaEnc", "__version__", "selective_scan"]

if TYPE_CHECKING:
    from umamba.layers.mamba_block import Mamba
    from umamba.networks.umamba import UMambaBot, UMambaEnc
    from umamba.ops.dispatch import selective_scan

_HOMES = {
    "Mamba": "umamba.layers.mamba_block",
    "UMambaBot": "umamba.networks.umamba",
    "UMambaEnc": "umamba.networks.umamba",
    "selective_scan": "umamba.ops.dispatch",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its home module."""
    if name not in _HOMES:
        msg = f"module 'umamba' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
