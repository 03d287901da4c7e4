"""Inputs of the selective scan for tests, and its gradients."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from reference_cases import golden_loss
from umamba import selective_scan
from umamba.ops import backends

# Relative L2 error: about 4 x the worst value measured over the tables of the tests.
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-14}


def scan_inputs(
    batch: int = 2,
    d_inner: int = 4,
    d_state: int = 3,
    length: int = 50,
    layout: str = "bnl",
    dtype: torch.dtype = torch.float64,
) -> dict[str, Tensor]:
    shapes = {
        "dn": (d_inner, d_state),
        "bnl": (batch, d_state, length),
        "bgnl": (batch, 2, d_state, length),
    }

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64).to(dtype)

    return {
        "u": draw(batch, d_inner, length),
        "dt": draw(batch, d_inner, length),
        "A": -torch.rand(d_inner, d_state, dtype=torch.float64).to(dtype) - 0.1,
        "B": draw(*shapes[layout]),
        "C": draw(*shapes[layout]),
        "D": draw(d_inner),
        "z": draw(batch, d_inner, length),
        "dt_bias": draw(d_inner),
        "initial_state": draw(batch, d_inner, d_state),
    }


def replace_backend(monkeypatch: pytest.MonkeyPatch, name: str, **changes: Any) -> None:
    """Declare a backend otherwise, e.g. `why_not=lambda device_type: "no compiler"`."""
    changed = replace(backends.find_backend(name), **changes)
    monkeypatch.setitem(backends.BACKENDS, name, changed)


def run_with_gradients(inputs: dict[str, Tensor], backend: str) -> dict[str, Tensor]:
    """Outputs, last state and every gradient of a fixed loss on both."""
    leaves = {name: x.detach().clone().requires_grad_() for name, x in inputs.items()}
    y, last = selective_scan(**leaves, dt_softplus=True, return_last_state=True, backend=backend)
    (golden_loss([y]) + last.double().square().mean()).backward()
    return {"y": y, "last": last} | {f"d{name}": x.grad for name, x in leaves.items()}
