"""Requests for a list of models: keywords of the Python API, and options of the command."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from umamba.nnunet.paths import Paths, path_options
from umamba.nnunet.requests import BATCH_SIZE, PATCH_SIZE, TRUST
from umamba.option_checks import model_names, text, texts
from umamba.options import Request, argument, option

__all__ = ["CostsRequest"]


@dataclass(frozen=True, kw_only=True)
class CostsRequest(Request):
    """Models, and the plans with which to count or measure their costs."""

    dataset: str | int | None = field(
        default=None,
        metadata=argument(
            "DatasetXXX_Name, or its number (default: plans for large isotropic images)",
            nargs="?",
            check=text,
        ),
    )
    source: str = field(
        default="nnUNetPlans",
        metadata=option(
            "plans of the data set to derive from (default: nnUNetPlans)", "--from", metavar="PLANS"
        ),
    )
    configurations: Sequence[str] | None = field(
        default=None,
        metadata=option(
            "configurations to show (default: all in the plans)",
            nargs="+",
            check=texts,
            metavar="C",
        ),
    )
    models: Sequence[str] | None = field(
        default=None,
        metadata=option(
            "models to show, separated by commas (default: all)",
            check=model_names,
            metavar="NAME,...",
        ),
    )
    patch_size: Sequence[int] | None = field(default=None, metadata=PATCH_SIZE)
    batch_size: int | None = field(default=None, metadata=BATCH_SIZE)
    time: bool = field(
        default=False,
        metadata=option(
            "also measure time and peak memory of training steps: minutes per model on a CPU"
        ),
    )
    device: str | None = field(
        default=None,
        metadata=option(
            "device for --time (default: cuda if there is a GPU)",
            "-device",
            "--device",
            choices=("cpu", "cuda"),
        ),
    )
    trust_plans: bool = field(default=False, metadata=TRUST)
    paths: Paths = field(default=Paths(), metadata=path_options())
