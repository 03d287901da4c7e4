"""The Mamba block and its layer against the authors' numbers."""

import math

import pytest
import torch

from reference_cases import golden, golden_loss, relative_l2, relative_max
from umamba import Mamba
from umamba.errors import BackendError, PlansError
from umamba.layers.mixer_layer import MixerLayer


@pytest.mark.parametrize("name", ["mamba_d16_L64", "mamba_d20_n8_k3_e3_L33"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-7)], ids=str
)
def test_agrees_with_mamba_ssm(name: str, dtype: torch.dtype, tolerance: float) -> None:
    stored = golden(f"{name}.pt")
    config = {k: stored["config"][k] for k in ("d_model", "d_state", "d_conv", "expand")}
    mamba = Mamba(**config)
    mamba.load_state_dict(stored["state_dict"])
    mamba.to(dtype)
    x = stored["input"].to(dtype).clone().requires_grad_()
    y = mamba(x)
    golden_loss([y]).backward()
    gradients = dict(mamba.named_parameters())
    errors = {"y": relative_max(y, stored["outputs_f64"][0])}
    errors["x"] = relative_max(x.grad, stored["grad_input_f64"])
    for parameter, grad in stored["grad_params_f64"].items():
        errors[parameter] = relative_max(gradients[parameter].grad, grad)
    assert all(error <= tolerance for error in errors.values()), errors


def test_initialisation_is_that_of_mamba_ssm() -> None:
    mamba = Mamba(96)
    assert torch.equal(mamba.A_log[5].exp().round(), torch.arange(1.0, 17.0))
    assert torch.equal(mamba.D, torch.ones(192))
    assert mamba.dt_rank == 6
    dt = torch.nn.functional.softplus(mamba.dt_proj.bias.detach())
    assert float(dt.min()) >= 0.99e-3
    assert float(dt.max()) <= 0.101
    # log-uniform: the mean of log dt lies half-way, within four standard errors
    spread = math.log(100) / math.sqrt(12 * 192)
    assert abs(float(dt.log().mean()) - math.log(1e-2)) < 4 * spread
    assert float(mamba.dt_proj.weight.detach().abs().max()) <= 6**-0.5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_is_finite_and_close(dtype: torch.dtype) -> None:
    mamba = Mamba(16)
    x = torch.randn(2, 100, 16)
    want = mamba(x)
    with torch.autocast("cpu", dtype=dtype):
        got = mamba(x)
    got.float().sum().backward()
    assert got.dtype == dtype
    assert relative_l2(got, want) < 10 * torch.finfo(dtype).eps
    assert all(p.grad.isfinite().all() for p in mamba.parameters())


def test_layer_survives_inputs_whose_float16_recurrence_overflows() -> None:
    layer = MixerLayer(8)
    with torch.no_grad():
        layer.norm.weight.fill_(300.0)
        layer.mamba.D.fill_(300.0)
    with torch.autocast("cpu", dtype=torch.float16):
        y = layer(torch.randn(1, 8, 6, 6))
    y.sum().backward()
    assert float(y.detach().abs().max()) > 65504
    assert y.isfinite().all()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("spatial", [(5,), (3, 4), (2, 3, 4)])
def test_tokens_are_voxels_in_row_major_order(spatial: tuple[int, ...]) -> None:
    layer = MixerLayer(6, residual=True)
    x = torch.randn(2, 6, *spatial)
    y = layer(x)
    tokens = layer.norm(x.flatten(2).transpose(1, 2))
    want = x + layer.mamba(tokens).transpose(1, 2).reshape(x.shape)
    assert torch.allclose(y, want, atol=1e-6)
    assert y.is_contiguous()
    moved = x.clone()
    moved.flatten(2)[..., 3:] += 1  # the last axis is the fastest; no voxel sees a later one
    assert torch.allclose(layer(moved).flatten(2)[..., :3], y.flatten(2)[..., :3], atol=1e-6)


def test_wrong_width_names_both_sizes() -> None:
    with pytest.raises(PlansError, match=r"tokens of width 8, but .*\[1, 3, 4, 4\].* width 16"):
        MixerLayer(8, channel_tokens=True)(torch.zeros(1, 3, 4, 4))


def test_unknown_backend_is_refused_at_construction() -> None:
    with pytest.raises(BackendError, match="'fast' does not exist"):
        Mamba(8, backend="fast")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"d_model": 0}, "d_model is 0"),
        ({"d_model": 8, "expand": 0}, "expand is 0"),
        ({"d_model": 8, "d_state": 0}, "d_state is 0"),
        ({"d_model": 8, "dt_rank": 0}, "dt_rank is 0"),
        ({"d_model": 8, "d_conv": -1}, "d_conv is -1"),
    ],
)
def test_a_block_without_size_is_refused(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(
        ValueError, match=rf"Mamba: {message}, but must be an integer of at least 1"
    ):
        Mamba(**sizes)
