"""Paired attention against einsum in float64, and against the authors' code."""

import pytest
import torch
from torch import Tensor

from reference_cases import golden, golden_loss, relative_l2, relative_max
from umamba.layers.paired_attention import EfficientPairedAttention

CASES = [(8, 12, 4), (6, 5, 2), (5, 7, 1)]  # channels, tokens, heads; 5 channels: uneven halves


def attention(channels: int, n_tokens: int, **changes: bool) -> EfficientPairedAttention:
    module = EfficientPairedAttention(channels, n_tokens, projection_size=3, **changes).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


def reference(x: Tensor, p: dict[str, Tensor], heads: int) -> Tensor:
    """The formulas of the paper, with tokens n, m and channels c, d of head h."""
    batch, n_tokens, _ = x.shape
    qkvv = torch.einsum("bni,oi->bno", x, p["qkvv.weight"])
    q, k, v_channel, v_spatial = qkvv.reshape(batch, n_tokens, 4, heads, -1).unbind(2)
    q_hat = q / torch.einsum("bnhc,bnhc->bhc", q, q).sqrt().unsqueeze(1)
    k_hat = k / torch.einsum("bnhc,bnhc->bhc", k, k).sqrt().unsqueeze(1)
    scores = torch.einsum("bnhc,bnhd->bhcd", q_hat, k_hat) * p["temperature"]
    x_channel = torch.einsum("bhcd,bnhd->bnhc", scores.softmax(-1), v_channel)
    keys = torch.einsum("pn,bnhc->bphc", p["E.weight"], k) + p["E.bias"][:, None, None]
    values = torch.einsum("pn,bnhc->bphc", p["E.weight"], v_spatial) + p["E.bias"][:, None, None]
    scores = torch.einsum("bnhc,bphc->bhnp", q_hat, keys) * p["temperature2"]
    x_spatial = torch.einsum("bhnp,bphc->bnhc", scores.softmax(-1), values)
    halves = [
        torch.einsum("bni,oi->bno", tokens.reshape(x.shape), p[f"{name}.weight"])
        + p[f"{name}.bias"]
        for name, tokens in (("out_proj", x_spatial), ("out_proj2", x_channel))
    ]
    return torch.cat(halves, dim=-1)


@pytest.mark.parametrize(("channels", "n_tokens", "heads"), CASES)
def test_matches_einsum_in_float64(channels: int, n_tokens: int, heads: int) -> None:
    module = attention(channels, n_tokens)
    parameters = dict(module.named_parameters())
    x = torch.randn(2, n_tokens, channels, dtype=torch.float64, requires_grad=True)
    got, want = module(x), reference(x, parameters, heads)
    assert relative_max(got, want.detach()) < 1e-12
    weights = torch.randn_like(want)
    inputs = [x, *parameters.values()]
    grads = torch.autograd.grad((got * weights).sum(), inputs)
    wanted = torch.autograd.grad((want * weights).sum(), inputs)
    assert all(relative_max(g, w) < 1e-10 for g, w in zip(grads, wanted, strict=True))


@pytest.mark.parametrize("scrambles", [False, True])
def test_only_the_authors_layout_mixes_up_tokens(scrambles: bool) -> None:
    module = attention(8, 12, scrambles_tokens=scrambles)
    x = torch.randn(2, 12, 8, dtype=torch.float64)
    order = torch.randperm(12)
    want = module(x)[:, order].detach()
    with torch.no_grad():
        module.E.weight.copy_(module.E.weight[:, order])
    assert (relative_max(module(x[:, order]), want) < 1e-12) != scrambles


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-7)], ids=str
)
def test_outputs_are_the_authors(dtype: torch.dtype, tolerance: float) -> None:
    stored = golden("unetrpp_epa_synapse.pt")
    module = EfficientPairedAttention(16, 60, projection_size=8, scrambles_tokens=True)
    assert module.state_dict().keys() == stored["key_shapes"].keys()
    module.load_state_dict(stored["state_dict"])
    x = stored["inputs"][0].to(dtype).requires_grad_()
    y = module.to(dtype)(x)
    assert relative_max(y, stored["outputs_f64"][0]) <= tolerance
    if dtype == torch.float64:
        golden_loss([y]).backward()
        assert relative_max(x.grad, stored["grad_inputs_f64"][0]) <= tolerance
        grads = {key: parameter.grad for key, parameter in module.named_parameters()}
        assert grads.keys() == stored["grad_params_f64"].keys()
        for key, want in stored["grad_params_f64"].items():
            assert relative_max(grads[key], want) <= tolerance, key


def test_squares_of_many_tokens_do_not_overflow_in_float16() -> None:
    module = EfficientPairedAttention(8, 4096)
    x = 1e3 * torch.randn(1, 4096, 8)
    with torch.autocast("cpu", dtype=torch.float16):
        got = module(x)
    assert relative_l2(got, module(x)) < 0.05
    with torch.autocast("cpu", dtype=torch.float16):
        assert module(torch.zeros_like(x)).isfinite().all()
