"""Orders of tokens against explicit loops over voxels, and mixers in Mamba's place."""

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from reference_cases import relative_l2
from umamba.layers.mixer_layer import MixerLayer
from umamba.profiling import saved_bytes

# Which axes vary, the slowest first, for every order; and whether each is also run backwards.
ORDERS = {
    ("forward", 1): ([(0,)], False),
    ("forward", 2): ([(0, 1)], False),
    ("forward", 3): ([(0, 1, 2)], False),
    ("bidirectional", 1): ([(0,)], True),
    ("bidirectional", 2): ([(0, 1)], True),
    ("bidirectional", 3): ([(0, 1, 2)], True),
    ("axes", 1): ([(0,)], True),
    ("axes", 2): ([(1, 0), (0, 1)], True),
    ("axes", 3): ([(1, 2, 0), (0, 2, 1), (0, 1, 2)], True),
}
SHAPES = {1: (7,), 2: (3, 4), 3: (2, 3, 4)}


def voxels_in_order(spatial: Sequence[int], axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Coordinates of all voxels; the last of the axes varies fastest."""
    loops = itertools.product(*(range(spatial[axis]) for axis in axes))
    return [tuple(place[axes.index(axis)] for axis in range(len(axes))) for place in loops]


def by_loops(layer: MixerLayer, x: Tensor, mixer: nn.Module) -> Tensor:
    orders, both_ways = ORDERS[layer.scan, x.dim() - 2]
    results = []
    for axes in orders:
        places = voxels_in_order(x.shape[2:], axes)
        for sequence in (places, places[::-1]) if both_ways else (places,):
            tokens = torch.stack([x[(..., *place)] for place in sequence], dim=1)
            mixed = mixer(layer.norm(tokens))
            result = torch.empty_like(x)
            for i, place in enumerate(sequence):
                result[(..., *place)] = mixed[:, i]
            results.append(result)
    return x + torch.stack(results).mean(0)


@pytest.mark.parametrize(("scan", "dim"), ORDERS)
@pytest.mark.parametrize("mixer", ["mamba", "mamba2", "lti"])
def test_orders_are_loops_over_voxels(mixer: str, scan: str, dim: int) -> None:
    layer = MixerLayer(6, mixer=mixer, scan=scan, residual=True).double()
    nn.init.normal_(layer.norm.weight)
    x = torch.randn(2, 6, *SHAPES[dim], dtype=torch.float64)
    y = layer(x)
    assert relative_l2(y, by_loops(layer, x, layer.get_submodule(mixer))) < 1e-12
    assert y.is_contiguous()


def test_bidirectional_is_forward_and_the_flipped_sequence() -> None:
    both, forward = MixerLayer(6, scan="bidirectional"), MixerLayer(6)
    forward.load_state_dict(both.state_dict())  # the same weights whatever the order
    x = torch.randn(2, 6, 40)
    assert relative_l2(both(x), (forward(x) + forward(x.flip(2)).flip(2)) / 2) < 1e-6


def test_axes_are_the_same_from_the_other_corner_and_in_2d_for_the_transposed_map() -> None:
    layer = MixerLayer(6, scan="axes")
    x = torch.randn(1, 6, 3, 4, 5)
    assert relative_l2(layer(x.flip(2, 3, 4)).flip(2, 3, 4), layer(x)) < 1e-6
    flat = torch.randn(1, 6, 3, 4)
    assert relative_l2(layer(flat.mT).mT, layer(flat)) < 1e-6


def test_attention_sees_every_token_whatever_the_order() -> None:
    layer = MixerLayer(8, mixer="attention", residual=True).double()
    x = torch.randn(2, 8, 3, 4, dtype=torch.float64)
    assert relative_l2(layer(x.flip(2, 3)).flip(2, 3), layer(x)) < 1e-12
    moved = x.clone()
    moved[:, 0, -1, -1] += 1  # in one channel: the norm hides what all have in common
    assert (layer(moved) - layer(x)).abs().amin(dim=(0, 1)).min() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_attention_follows_autocast_and_state_spaces_do_not(dtype: torch.dtype) -> None:
    seen = {}
    x = torch.randn(1, 8, 4, 4)
    for mixer in ("mamba", "mamba2", "attention", "lti"):
        layer = MixerLayer(8, mixer=mixer)
        mixing = layer.get_submodule(mixer)
        mixing.register_forward_hook(lambda _m, _i, y, key=mixer: seen.update({key: y.dtype}))
        with torch.autocast("cpu", dtype=dtype):
            y = layer(x)
        y.float().sum().backward()
    exact = dict.fromkeys(("mamba", "mamba2", "lti"), torch.float32)
    assert seen == exact | {"attention": dtype}


def test_a_map_comes_back_in_its_own_type_under_autocast() -> None:
    """In float32 it would be kept twice by the convolution after it, and widen what it joins."""
    x = torch.randn(1, 8, 4, 4)
    layer = MixerLayer(8, residual=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = layer(x.bfloat16())
    assert got.dtype == torch.bfloat16
    assert relative_l2(got, layer(x)) < 1e-2


def test_every_order_keeps_as_much_as_one() -> None:
    kept = {}
    x = torch.randn(1, 8, 8, 8, 8)
    for scan in ("forward", "bidirectional", "axes"):
        layer = MixerLayer(8, scan=scan, residual=True)
        kept[scan] = saved_bytes(lambda layer=layer: layer(x), layer.parameters())
    assert kept["bidirectional"] <= 2.05 * kept["forward"]
    assert kept["axes"] <= 6.1 * kept["forward"]
