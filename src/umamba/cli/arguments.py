"""Arguments that several commands take."""

import argparse
import math
from itertools import chain
from typing import Any

from umamba import registry
from umamba.errors import unknown_name
from umamba.numerals import integer, whole_number

__all__ = [
    "add_device_argument",
    "add_model_arguments",
    "add_patch_arguments",
    "add_trust_argument",
    "model_name",
    "model_names",
    "natural",
    "numbers",
    "part",
    "plans_name",
    "positive",
    "positive_hours",
    "positive_points",
]


def positive(text: str) -> int:
    """Parse a number of at least one."""
    number = whole_number(text)
    if not number:
        msg = f"{text!r} is not a positive number"
        raise argparse.ArgumentTypeError(msg)
    return number


def positive_hours(text: str) -> float:
    """Parse a length of time in hours, such as 0.5."""
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 < hours < math.inf:
        msg = f"{text!r} is not a positive number of hours"
        raise argparse.ArgumentTypeError(msg)
    return hours


def part(text: str) -> float:
    """Parse a part of a whole, above 0 and at most 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        msg = f"{text!r} is not a number above 0 and at most 1"
        raise argparse.ArgumentTypeError(msg)
    return value


def positive_points(text: str) -> float:
    """Parse a difference in points of a hundred, such as 1.0."""
    try:
        points = float(text)
    except ValueError:
        points = math.nan
    if not 0 < points < 100:
        msg = f"{text!r} is not a number of points between 0 and 100"
        raise argparse.ArgumentTypeError(msg)
    return points


def natural(text: str) -> int:
    """Parse a number of at least zero."""
    number = whole_number(text)
    if number is None:
        msg = f"{text!r} is not zero or a positive number"
        raise argparse.ArgumentTypeError(msg)
    return number


def numbers(text: str) -> tuple[int, ...]:
    """Parse a list of numbers of at least one, such as 8,16,32."""
    try:
        parsed = tuple(integer(part.strip()) for part in text.split(","))
    except ValueError:
        parsed = ()
    if not parsed or min(parsed) < 1:
        msg = f"{text!r} is not a list of positive numbers such as 8,16,32"
        raise argparse.ArgumentTypeError(msg)
    return parsed


class _Chained(argparse.Action):
    """Keep the numbers of several lists as one: `32 40 32` is what `32,40,32` is."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        _option: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, tuple(chain.from_iterable(values)))


def add_patch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the size of patches and of batches, for configurations with as many axes."""
    parser.add_argument(
        "--patch-size",
        type=numbers,
        nargs="+",
        action=_Chained,
        metavar="N",
        help="voxels along each axis, for the configurations with as many axes (default: those of "
        "the plans); each divisible by the product of the strides along its axis, and a size that "
        "is not is answered with one that fits",
    )
    parser.add_argument(
        "--batch-size", type=positive, metavar="N", help="patches in a batch (default: the plans')"
    )


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    """Add what lets plans and checkpoints name code that neither nnU-Net nor we bring along."""
    parser.add_argument(
        "--trust-plans",
        action="store_true",
        help="import whatever classes plans and checkpoints name; only for files that you trust",
    )


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add the device to run on."""
    parser.add_argument(
        "-device",
        "--device",
        choices=("cpu", "cuda", "mps"),
        help="where to compute (default: cuda where there is one, else cpu)",
    )


def add_model_arguments(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add what names a training: plans by name or by model, and trainer."""
    plans = parser.add_mutually_exclusive_group(required=required)
    plans.add_argument("-p", dest="plans_name", metavar="PLANS", help="name of the plans")
    plans.add_argument(
        "--model",
        type=model_name,
        metavar="NAME",
        help="the model's default plans, as `umamba plan` wrote them; `umamba models` lists models",
    )
    parser.add_argument(
        "-tr",
        dest="trainer",
        default="nnUNetTrainerUMamba",
        metavar="TRAINER",
        help="trainer that the model is, or was, trained by (default: nnUNetTrainerUMamba)",
    )


def plans_name(args: argparse.Namespace) -> str | None:
    """Return the name of the plans, given as such or by the model."""
    if args.model is not None:
        return registry.find_architecture(args.model).plans_name
    name: str | None = args.plans_name
    return name


def model_names(text: str) -> tuple[str, ...]:
    """Parse names of models, separated by commas; each counts once."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in registry.names()]
    if unknown or not names:
        raise argparse.ArgumentTypeError(_no_model(unknown[0] if unknown else text))
    return names


def model_name(text: str) -> str:
    """Parse the name of a model."""
    if text not in registry.names():
        raise argparse.ArgumentTypeError(_no_model(text))
    return text


def _no_model(name: str) -> str:
    return unknown_name("model", name, registry.names(), "`umamba models` lists all")
