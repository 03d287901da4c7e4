"""Published Dice of others, and what it says over their data sets."""

from itertools import starmap

import numpy as np

from benchmarks.evidence.measured import mean_of
from umamba.reporting.tables import Table

__all__ = ["REVISITED", "U_MAMBA", "published_tables"]

_REVISITED_SETS = ("BTCV", "ACDC", "LiTS", "BraTS", "KiTS", "AMOS")
# Dice in per cent, mean of 5 folds: nnU-Net Revisited (Isensee et al. 2024, arXiv:2404.09556), read
# in its authors' table at github.com/MIC-DKFZ/nnUNet, documentation/resenc_presets.md.
REVISITED: dict[str, tuple[float, ...]] = {
    "nnU-Net (org.)": (83.08, 91.54, 80.09, 91.24, 86.04, 88.64),
    "nnU-Net ResEnc L": (83.35, 91.69, 81.60, 91.13, 88.17, 89.41),
    "U-Mamba without Mamba": (83.69, 91.89, 80.57, 91.26, 85.98, 89.04),
    "U-Mamba Bot": (83.51, 91.79, 80.40, 91.26, 86.22, 89.13),
    "U-Mamba Enc": (82.41, 91.22, 80.27, 90.91, 86.34, 88.38),
    "SwinUNETR": (78.89, 91.29, 76.50, 90.68, 81.27, 83.81),
}
_DIFFERENCES = (
    ("U-Mamba Bot", "U-Mamba without Mamba"),
    ("U-Mamba Enc", "U-Mamba without Mamba"),
    ("U-Mamba Bot", "nnU-Net (org.)"),
    ("U-Mamba Enc", "nnU-Net (org.)"),
    ("U-Mamba Enc", "U-Mamba Bot"),
)
# Dice in per cent: U-Mamba (Ma et al. 2024, arXiv:2401.04722v1), Table 3, 3D.
U_MAMBA: dict[str, tuple[float, ...]] = {
    "nnU-Net": (86.15, 83.09),
    "U-Mamba_Bot": (86.83, 84.53),
    "U-Mamba_Enc": (86.38, 85.01),
}
_MINUS = "\N{MINUS SIGN}"


def published_tables() -> str:
    """Return the published numbers as tables in Markdown, with differences over data sets."""
    rows = [(name, *map("{:.2f}".format, values)) for name, values in REVISITED.items()]
    revisited = Table(("network", *_REVISITED_SETS), tuple(rows), title="nnU-Net Revisited, Dice")
    over = Table(
        ("difference", "mean over the six data sets", "95 % interval"),
        tuple(starmap(_difference, _DIFFERENCES)),
        title="From that table (our arithmetic: Student's interval over data sets; how much each "
        "of their numbers varies is not published)",
    )
    rows = [(name, *map("{:.2f}".format, values)) for name, values in U_MAMBA.items()]
    theirs = Table(
        ("network", "abdomen CT", "abdomen MR"), tuple(rows), title="U-Mamba, Table 3, Dice in 3D"
    )
    return "\n\n".join(table.to_markdown() for table in (revisited, over, theirs))


def _difference(model: str, baseline: str) -> tuple[str, str, str]:
    found = mean_of(np.subtract(REVISITED[model], REVISITED[baseline]).tolist())
    ends = f"{found.interval.low:+.2f} to {found.interval.high:+.2f}".replace("-", _MINUS)
    return f"{model} {_MINUS} {baseline}", f"{found.value:+.2f}".replace("-", _MINUS), ends
