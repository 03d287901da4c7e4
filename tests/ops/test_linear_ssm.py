"""Linear state-space models against exact numbers, SciPy, and recurrence against convolution."""

from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
import torch.nn.functional as F
from torch import Tensor

from reference_cases import golden, golden_loss, relative_l2, relative_max
from umamba.ops.linear_ssm import (
    DISCRETISATIONS,
    causal_convolution,
    diagonal_kernel,
    diagonal_legs,
    diagonal_ssm,
    discretise,
    hippo_legs,
    linear_recurrence,
)

every_method = pytest.mark.parametrize("method", DISCRETISATIONS)
every_step = pytest.mark.parametrize("dt", [0.01, 0.1])


def step_size(dt: float) -> Tensor:
    return torch.tensor(dt, dtype=torch.float64)


def run_dense(
    stored: dict[str, Any], dt: Tensor, method: str, u: Tensor, **changes: Tensor
) -> Tensor:
    p = {key: torch.as_tensor((stored | changes)[key]) for key in "ABCD"}
    Ad, Bd = discretise(p["A"], p["B"], dt, method)
    y = linear_recurrence(u[None, None], Ad[None], Bd[None], p["C"][None])
    return y[0, 0] + p["D"] * u


@every_method
@every_step
def test_legs_and_its_discretisation_are_exact(method: str, dt: float) -> None:
    stored = golden("ssm_legs_N4.pt")
    A, B = hippo_legs(4)
    assert relative_max(A, stored["A"]) < 1e-15
    assert relative_max(B, stored["B"]) < 1e-15
    want = stored["discretised"][f"{method}_dt{dt}"]
    Ad, Bd = discretise(A, B, step_size(dt), method)
    assert relative_max(Ad, want["Ad"]) < 1e-13
    assert relative_max(Bd, want["Bd"]) < 1e-13
    assert relative_max(run_dense(stored, step_size(dt), method, stored["u"]), want["y"]) < 1e-12
    impulse = F.one_hot(torch.tensor(0), 300).double()
    K = run_dense(stored | {"D": 0.0}, step_size(dt), method, impulse)
    assert relative_max(K, want["K"]) < 1e-12


@every_method
@every_step
def test_diagonalised_legs_has_the_exact_kernel_and_outputs(method: str, dt: float) -> None:
    stored = golden("ssm_legs_N4.pt")
    eigenvalues, V = torch.linalg.eig(stored["A"])
    weights = (stored["C"] + 0j) @ V * torch.linalg.solve(V, stored["B"] + 0j)
    # Real eigenvalues are pairs with themselves, half each.
    system = (eigenvalues[None], weights[None] / 2, step_size(dt)[None])
    want = stored["discretised"][f"{method}_dt{dt}"]
    assert relative_max(diagonal_kernel(*system, 300, method)[0], want["K"]) < 1e-12
    y = diagonal_ssm(stored["u"][None, None], *system, discretisation=method)[0, 0]
    assert relative_max(y + stored["D"] * stored["u"], want["y"]) < 1e-12


def test_dense_gradients_are_exact() -> None:
    stored = golden("ssm_legs_N4.pt")
    want = stored["grad_bilinear"]
    leaves = {key: torch.as_tensor(stored[key], dtype=torch.float64) for key in "ABCD"}
    leaves["log_dt"] = step_size(want["log_dt_value"])
    leaves["u"] = stored["u"][: want["u_slice"]].clone()
    for leaf in leaves.values():
        leaf.requires_grad_()
    y = run_dense(leaves, leaves["log_dt"].exp(), "bilinear", leaves["u"])
    golden_loss([y]).backward()
    assert relative_max(y, want["y"]) < 1e-12
    for key, leaf in leaves.items():
        assert relative_max(leaf.grad, torch.as_tensor(want[key])) < 1e-11, key


@every_method
def test_a_simulated_system_is_that_of_scipy(method: str) -> None:
    A = torch.randn(5, 5, dtype=torch.float64) - 3 * torch.eye(5)
    B, C = torch.randn(2, 5, dtype=torch.float64)
    u = torch.randn(40, dtype=torch.float64)
    columns = (A.numpy(), B.numpy()[:, None], C.numpy()[None], np.zeros((1, 1)))
    Ad, Bd, *_, dt = scipy.signal.cont2discrete(columns, 0.07, method=method)
    got_Ad, got_Bd = discretise(A, B, step_size(0.07), method)
    assert relative_max(got_Ad, torch.from_numpy(Ad)) < 1e-12
    assert relative_max(got_Bd, torch.from_numpy(Bd[:, 0])) < 1e-12
    # SciPy's x_k is the state before u_k; here u_k is in the state that gives y_k.
    system = (Ad, Bd, columns[2] @ Ad, columns[2] @ Bd, dt)
    want = torch.from_numpy(scipy.signal.dlsim(system, u.numpy())[1][:, 0])
    got = linear_recurrence(u[None, None], got_Ad[None], got_Bd[None], C[None])[0, 0]
    assert relative_max(got, want) < 1e-12


def test_zoh_integrates_where_the_system_is_singular() -> None:
    Ad, Bd = discretise(torch.zeros(1, 1), torch.ones(1), torch.tensor(0.5), "zoh")
    assert (float(Ad), float(Bd)) == (1.0, 0.5)


def test_normal_part_of_legs() -> None:
    eigenvalues, B = diagonal_legs(2)  # of [[-1, sqrt(3)], [-sqrt(3), -1]] / 2
    assert relative_max(torch.view_as_real(eigenvalues), torch.tensor([[-0.5, 3**0.5 / 2]])) < 1e-7
    assert float(B) == pytest.approx(2**0.5 / 2)  # |B|^2 / 4 = 1, half of it in each of two
    A, B_dense = hippo_legs(16)
    eigenvalues, B = diagonal_legs(16)
    dense = torch.linalg.matrix_exp(0.3 * (A + torch.outer(B_dense, B_dense) / 2))
    want = B_dense @ dense @ B_dense / 2
    got = 2 * (2 * B**2 * torch.exp(0.3 * eigenvalues)).sum().real
    assert float(got) == pytest.approx(float(want), rel=1e-12)


def random_system(d_inner: int, pairs: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """A, C and dt; the step sizes are those of Mamba at its start."""
    A, B = diagonal_legs(2 * pairs)
    C = B * torch.randn(d_inner, pairs, dtype=torch.complex128)
    dt = 10 ** (-1 - 2 * torch.rand(d_inner, dtype=torch.float64))
    complex_dtype = dtype.to_complex()
    return [A.expand(d_inner, -1).to(complex_dtype), C.to(complex_dtype), dt.to(dtype)]


@every_method
@pytest.mark.parametrize("length", [1, 2, 3, 97, 256])
def test_convolution_and_recurrence_agree_with_gradients(method: str, length: int) -> None:
    given = [torch.randn(2, 3, length, dtype=torch.float64), *random_system(3, 4)]
    weights = torch.randn_like(given[0])
    results = []
    for mode in ("convolution", "recurrence"):
        leaves = [x.clone().requires_grad_() for x in given]
        y = diagonal_ssm(*leaves, discretisation=method, mode=mode)
        results.append([y, *torch.autograd.grad((y * weights).sum(), leaves)])
    for got, want in zip(*results, strict=True):
        assert (got - want).norm() < 1e-11 * want.norm()


@every_method
def test_long_sequences_are_stable_in_float32(method: str) -> None:
    system = random_system(4, 8, torch.float32)
    exact = [x.to(torch.promote_types(x.dtype, torch.float64)) for x in system]
    u = torch.randn(1, 4, 65_536)
    got = diagonal_ssm(u, *system, discretisation=method)
    assert relative_l2(got, diagonal_ssm(u.double(), *exact, discretisation=method)) < 1e-4
    constant = diagonal_ssm(torch.ones_like(u), *system, discretisation=method)
    A, C, _ = exact
    gain = (-2 * (C / A).sum(-1)).real  # C (-A)^{-1} B: what every discretisation settles at
    assert relative_max(constant[0, :, -1], gain) < 1e-4


def test_a_kernel_is_the_authors_of_s4d() -> None:
    stored = golden("s4d_uni_L64.pt")
    p = {key: x.double().requires_grad_() for key, x in stored["state_dict"].items()}
    A = torch.complex(-p["kernel.kernel.log_w_real"].exp(), p["kernel.kernel.w_imag"]).expand(6, -1)
    C = torch.view_as_complex(p["kernel.kernel.C"])[0]
    dt = p["kernel.kernel.log_dt"].exp()
    u = stored["input"].double().requires_grad_()
    assert relative_max(diagonal_kernel(A, C, dt, 64), stored["kernel_f64"][0]) < 1e-7
    y = F.gelu(diagonal_ssm(u, A, C, dt) + p["D"].T * u)
    y = F.conv1d(y, p["output_linear.weight"], p["output_linear.bias"])
    assert relative_max(y, stored["outputs_f64"][0]) < 1e-7
    golden_loss([y]).backward()
    assert relative_max(u.grad, stored["grad_input_f64"]) < 1e-7
    for key, want in stored["grad_params_f64"].items():
        assert relative_max(p[key].grad, want) < 1e-7, key


def test_convolution_is_causal_and_does_not_come_round() -> None:
    u, kernel = torch.randn(1, 2, 9), torch.randn(2, 9)
    want = F.conv1d(F.pad(u, (8, 0)), kernel.flip(-1)[:, None], groups=2)
    assert torch.allclose(causal_convolution(u, kernel), want, atol=1e-5)


def test_unknown_choices_are_named() -> None:
    system = random_system(2, 2)
    u = torch.zeros(1, 2, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match="'tustin' does not exist; choose one of zoh, bilinear"):
        diagonal_ssm(u, *system, discretisation="tustin")
    with pytest.raises(ValueError, match="'scan' does not exist; choose one of convolution, rec"):
        diagonal_ssm(u, *system, mode="scan")
