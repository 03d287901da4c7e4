"""`umamba part`, for executors only: begin or continue one part of `umamba predict`."""

import argparse
from typing import Any

from umamba.nnunet.prediction_request import PredictionRequest
from umamba.options import add_options, from_namespace

__all__ = ["add_parser", "run"]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser("part")
    add_options(parser, PredictionRequest)
    parser.set_defaults(run=run, go_on="the same prediction continues")


def run(args: argparse.Namespace) -> int:
    """Do what is left to do for the part."""
    from umamba.nnunet.prediction.parts import predict_part

    predict_part(from_namespace(PredictionRequest, args), _predict)
    return 0


def _predict(request: PredictionRequest) -> dict[str, Any]:
    from umamba.api import run_prediction

    result = run_prediction(request)
    return vars(result) | {"output": str(result.output)}
