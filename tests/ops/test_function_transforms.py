"""The scan and the Mamba block inside torch.func's transforms, and with no channels at all."""

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, jvp, vmap

from scan_cases import run_with_gradients, scan_inputs
from umamba import Mamba, selective_scan

BACKENDS = ["reference", "torch", "cpu"]


def loss(inputs: dict[str, Tensor], backend: str) -> Tensor:
    y, last = selective_scan(**inputs, dt_softplus=True, return_last_state=True, backend=backend)
    return y.square().mean() + last.sin().mean()


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_of_torch_func_are_those_of_autograd(backend: str) -> None:
    inputs = scan_inputs(length=20)
    leaves = {name: x.clone().requires_grad_() for name, x in inputs.items()}
    loss(leaves, "reference").backward()
    for name, found in grad(loss)(inputs, backend).items():
        torch.testing.assert_close(found, leaves[name].grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_forward_derivative_is_the_limit_of_differences(backend: str) -> None:
    inputs = scan_inputs(length=20)

    def of_u(u: Tensor) -> Tensor:
        return loss({**inputs, "u": u}, backend)

    direction = torch.randn_like(inputs["u"])
    _, found = jvp(of_u, (inputs["u"],), (direction,))
    step = 1e-6
    ends = [of_u(inputs["u"] + sign * step * direction) for sign in (1, -1)]
    torch.testing.assert_close(found, (ends[0] - ends[1]) / (2 * step), rtol=1e-6, atol=1e-9)


def test_gradients_per_sample_of_a_block_are_those_of_single_samples() -> None:
    block = Mamba(8).double()
    parameters = dict(block.named_parameters())
    tokens = torch.randn(3, 10, 8, dtype=torch.float64)

    def of_sample(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        return functional_call(block, parameters, (sample[None],)).square().sum()

    found = vmap(grad(of_sample), in_dims=(None, 0))(parameters, tokens)
    for index, sample in enumerate(tokens):
        block.zero_grad()
        block(sample[None]).square().sum().backward()
        for name, parameter in block.named_parameters():
            torch.testing.assert_close(found[name][index], parameter.grad, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("layout", ["dn", "bnl", "bgnl"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_no_channels_give_empty_outputs_and_no_gradient(backend: str, layout: str) -> None:
    inputs = scan_inputs(d_inner=0, layout=layout)
    found = run_with_gradients(inputs, backend)
    assert found["y"].shape == (2, 0, 50)
    for name, x in inputs.items():
        assert found[f"d{name}"].shape == x.shape
        assert not found[f"d{name}"].any()
