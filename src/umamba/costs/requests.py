"""Which models to list: keywords of the Python API, and options of the command."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from umamba.nnunet.paths import Paths, path_options
from umamba.nnunet.requests import BATCH_SIZE, PATCH_SIZE, TRUST
from umamba.option_checks import model_names, text, texts
from umamba.options import Request, argument, option

__all__ = ["CostsRequest"]


@dataclass(frozen=True, kw_only=True)
class CostsRequest(Request):
    """Models, and the plans on which to count or measure what they cost."""

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
            "the data set's plans to derive from (default: nnUNetPlans)", "--from", metavar="PLANS"
        ),
    )
    configurations: Sequence[str] | None = field(
        default=None,
        metadata=option("default: all that the plans have", nargs="+", check=texts, metavar="C"),
    )
    models: Sequence[str] | None = field(
        default=None,
        metadata=option(
            "some of the models, separated by commas (default: all)",
            check=model_names,
            metavar="NAME,...",
        ),
    )
    patch_size: Sequence[int] | None = field(default=None, metadata=PATCH_SIZE)
    batch_size: int | None = field(default=None, metadata=BATCH_SIZE)
    time: bool = field(
        default=False,
        metadata=option(
            "measure time and peak memory of training steps, too: on a CPU minutes per model"
        ),
    )
    device: str | None = field(
        default=None,
        metadata=option(
            "for --time; default: cuda where there is one",
            "-device",
            "--device",
            choices=("cpu", "cuda"),
        ),
    )
    trust_plans: bool = field(default=False, metadata=TRUST)
    paths: Paths = field(default=Paths(), metadata=path_options())
