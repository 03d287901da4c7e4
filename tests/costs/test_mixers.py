"""The layers that are compared compute what their names say."""

import pytest
import torch

from reference_cases import relative_l2
from umamba.costs.mixers import MIXERS, Mixer, ProjectedAttention, SequenceConvolution


def test_attention_is_the_softmax_of_the_paper() -> None:
    layer = ProjectedAttention(8, n_heads=2).double()
    x = torch.randn(3, 7, 8, dtype=torch.float64)
    q, k, v = layer.qkv_proj(x).chunk(3, dim=-1)
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        weights = (q[..., part] @ k[..., part].transpose(1, 2) / 2).softmax(dim=-1)
        heads.append(weights @ v[..., part])
    assert relative_l2(layer(x), layer.out_proj(torch.cat(heads, dim=-1))) < 1e-12


def test_convolution_sees_both_neighbours_and_no_more() -> None:
    x = torch.randn(1, 9, 4, requires_grad=True)
    SequenceConvolution(4)(x)[:, 4].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum(dim=(0, 2)).nonzero().flatten().tolist() == [3, 4, 5]


@pytest.mark.parametrize("mixer", MIXERS, ids=lambda mixer: mixer.name)
def test_every_mixer_keeps_shape_and_has_gradients(mixer: Mixer) -> None:
    layer = mixer.build(16)
    x = torch.randn(2, 5, 16)
    y = layer(x)
    assert y.shape == x.shape
    y.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())
