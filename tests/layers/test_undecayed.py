"""The mark that spares parameters weight decay survives whatever makes new parameters."""

import pickle
from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import nn

from umamba import Mamba
from umamba.layers.lti_block import LTI

CASES = [(Mamba, {"A_log", "D"}), (LTI, {"log_dt", "A_log", "A_imag", "D"})]


def loaded(block: nn.Module, *, assign: bool) -> nn.Module:
    weights = {name: w.clone() for name, w in block.state_dict().items()}
    block.load_state_dict(weights, assign=assign)
    return block


def from_meta(block: nn.Module) -> nn.Module:
    with torch.device("meta"):
        return type(block)(8).to_empty(device="cpu")


CHANGES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "new": lambda block: block,
    "deepcopy": deepcopy,
    "pickle": lambda block: pickle.loads(pickle.dumps(block)),
    "load_state_dict": lambda block: loaded(block, assign=False),
    "assign": lambda block: loaded(block, assign=True),
    "to(dtype)": lambda block: block.to(torch.float64),
    "from meta": from_meta,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("kind", "want"), CASES)
def test_the_mark_stays(kind: type[nn.Module], want: set[str], change: str) -> None:
    network = CHANGES[change](nn.Sequential(kind(8)) if change != "from meta" else kind(8))
    marked = {n for n, p in network.named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert {name.removeprefix("0.") for name in marked} == want
