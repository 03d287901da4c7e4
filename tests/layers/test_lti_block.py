"""The time-invariant block against its definition in float64, and what training asks of it."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_cases import relative_l2, relative_max
from umamba.errors import PlansError
from umamba.layers.lti_block import LTI
from umamba.ops.linear_ssm import DISCRETISATIONS, diagonal_ssm
from umamba.profiling import saved_bytes

every_method = pytest.mark.parametrize("method", DISCRETISATIONS)


def reference(block: LTI, x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """The block step by step, with its residual."""
    u, z = F.linear(norm(x), block.in_proj.weight).transpose(1, 2).chunk(2, dim=1)
    width = block.conv1d.kernel_size[0]
    steps = F.pad(u, (width - 1, 0)).unfold(-1, width, 1)
    u = torch.einsum("bdlk,dk->bdl", steps, block.conv1d.weight[:, 0])
    u = F.silu(u + block.conv1d.bias[:, None])
    A = torch.complex(-block.A_log.exp(), block.A_imag)
    C = torch.complex(*block.C.unbind(-1))
    dt = block.log_dt.exp()
    y = diagonal_ssm(u, A, C, dt, discretisation=block.discretisation, mode="recurrence")
    return x + torch.einsum(
        "bdl,od->blo", (y + block.D[:, None] * u) * F.silu(z), block.out_proj.weight
    )


@every_method
@pytest.mark.parametrize(("d_model", "d_state", "length"), [(3, 4, 1), (5, 16, 37), (8, 2, 64)])
def test_matches_its_definition(d_model: int, d_state: int, length: int, method: str) -> None:
    block = LTI(d_model, d_state, discretisation=method).double()
    norm = nn.LayerNorm(d_model).double()
    x = torch.randn(2, length, d_model, dtype=torch.float64, requires_grad=True)
    inputs = [x, *block.parameters(), *norm.parameters()]
    got, want = block(x, norm=norm, residual=True), reference(block, x, norm)
    weights = torch.randn_like(x)
    grads = torch.autograd.grad((got * weights).sum(), inputs)
    wanted = torch.autograd.grad((want * weights).sum(), inputs)
    assert relative_l2(got, want) < 1e-12
    assert all(relative_l2(g, w) < 1e-10 for g, w in zip(grads, wanted, strict=True))


def test_starts_as_hippo_legs_with_the_step_sizes_of_mamba() -> None:
    block = LTI(64)
    assert torch.allclose(block.A_log.exp(), torch.tensor(0.5))
    assert float(block.A_imag.detach().max()) == pytest.approx(
        80.966, abs=1e-3
    )  # numpy.linalg.eigvals
    assert bool(block.log_dt.exp().ge(0.99e-3).all())
    assert bool(block.log_dt.exp().le(0.101).all())
    assert not any(p.is_complex() for p in block.parameters())


def test_has_nearly_as_many_parameters_as_mamba() -> None:
    # in_proj 16384, conv 640, log_dt 128, A 2048, C 2048, D 128, out_proj 8192; Mamba has 32640
    assert sum(p.numel() for p in LTI(64).parameters()) == 29568


@every_method
def test_compiles_as_one_graph(unchecked: None, method: str) -> None:
    block, x = LTI(4, discretisation=method), torch.randn(2, 50, 4)
    y = torch.compile(block, backend="aot_eager", fullgraph=True)(x)
    grads = torch.autograd.grad(y.sum(), list(block.parameters()))
    assert relative_max(y, block(x).detach()) < 1e-6
    wanted = torch.autograd.grad(block(x).sum(), list(block.parameters()))
    assert all(relative_l2(g, w) < 1e-5 for g, w in zip(grads, wanted, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_is_finite_and_close(dtype: torch.dtype) -> None:
    block, x = LTI(16), torch.randn(2, 100, 16)
    want = block(x)
    with torch.autocast("cpu", dtype=dtype):
        got = block(x)
    got.float().sum().backward()
    assert got.dtype == dtype
    assert relative_l2(got, want) < 10 * torch.finfo(dtype).eps
    assert all(p.grad.isfinite().all() for p in block.parameters())


def test_what_is_kept_does_not_grow_with_the_states() -> None:
    def kept(device: str, d_state: int) -> int:
        with torch.device(device):
            block, x = LTI(4, d_state), torch.randn(1, 4096, 4)
            return saved_bytes(lambda: block(x), block.parameters()) // (x.numel() * 4)

    assert kept("meta", 16) == kept("cpu", 16) == kept("cpu", 64) == 15  # times the tokens


@every_method
def test_trains_in_float32(method: str) -> None:
    block, norm, head = LTI(8, discretisation=method), nn.LayerNorm(8), nn.Linear(8, 1)
    modules = nn.ModuleList([block, norm, head])
    optimizer = torch.optim.SGD(modules.parameters(), 1e-2, momentum=0.99, nesterov=True)
    x = torch.randn(2, 2048, 8)
    target = x[..., :1].cumsum(1) / 40  # asks for a long memory
    losses = []
    for _ in range(40):
        loss = F.mse_loss(head(block(x, norm=norm, residual=True)), target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(modules.parameters(), 12)  # as nnU-Net does
        optimizer.step()
        losses.append(float(loss.detach()))
    assert all(p.isfinite().all() for p in modules.parameters())
    assert losses[-1] < 0.5 * losses[0], losses


def test_bad_settings_are_named() -> None:
    with pytest.raises(PlansError, match="d_state 3 of an LTI block must be even"):
        LTI(4, 3)
    with pytest.raises(PlansError, match="'euler' does not exist; choose one of zoh, bilinear"):
        LTI(4, discretisation="euler")
