"""The controls of U-Mamba differ from it in what they say, and in nothing else."""

from typing import Any

import pytest
import torch
from torch import nn

from reference_cases import keywords, patch
from umamba.errors import PlansError
from umamba.networks import UMambaBot, UMambaEnc

NETWORKS = [UMambaBot, UMambaEnc]


def mixing(key: str) -> bool:
    return ".mamba_layer" in f".{key}"


def without_mamba(network: nn.Module) -> nn.Module:
    """Put identities where Mamba is."""
    if isinstance(network, UMambaBot):
        network.mamba_layer = nn.Identity()
    else:
        network.encoder.mamba_layers = nn.ModuleList(
            nn.Identity() for _ in network.encoder.mamba_layers
        )
    return network.eval()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("variant", ["paper", "official"])
def test_none_is_the_same_network_without_mamba(
    network: type[nn.Module], dim: int, variant: str
) -> None:
    sized = network is UMambaEnc and variant == "official"
    size = {"input_size": patch(dim)} if sized else {}
    whole = network(**keywords(dim, variant=variant, **size))
    none = network(**keywords(dim, variant=variant, mixer="none")).eval()
    kept = {key: value for key, value in whole.state_dict().items() if not mixing(key)}
    assert len(kept) < len(whole.state_dict())
    assert {k: v.shape for k, v in none.state_dict().items()} == {
        k: v.shape for k, v in kept.items()
    }
    assert not any(isinstance(module, nn.LayerNorm) for module in none.modules())
    none.load_state_dict(kept)
    x = torch.randn(2, 2, *patch(dim))
    pairs = zip(none(x), without_mamba(whole)(x), strict=True)
    assert all(torch.equal(got, want) for got, want in pairs)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("scan", ["bidirectional", "axes"])
def test_orders_have_the_same_weights_and_other_numbers(
    network: type[nn.Module], scan: str
) -> None:
    forward = network(**keywords(3)).eval()
    other = network(**keywords(3, scan=scan)).eval()
    other.load_state_dict(forward.state_dict())
    x = torch.randn(1, 2, *patch(3))
    assert not torch.allclose(other(x)[0], forward(x)[0], atol=1e-4)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("mixer", ["mamba2", "attention", "lti"])
def test_other_mixers_stand_in_mambas_place(network: type[nn.Module], mixer: str) -> None:
    mamba = network(**keywords(2)).state_dict()
    other = network(**keywords(2, mixer=mixer)).state_dict()

    def around(state: dict[str, Any], name: str) -> dict[str, torch.Size]:
        return {key: value.shape for key, value in state.items() if f".{name}." not in key}

    assert around(other, mixer) == around(mamba, "mamba")
    assert any(f".{mixer}." in key for key in other)


@pytest.mark.parametrize(
    "change", [{"mixer": "attention"}, {"mixer": "lti"}, {"mixer": "mamba2"}, {"scan": "axes"}]
)
def test_activation_checkpointing_gives_the_same_numbers(change: dict[str, str]) -> None:
    x = torch.randn(2, 2, *patch(3))
    numbers = []
    for setting in ("none", "blocks"):
        torch.manual_seed(0)
        network = UMambaEnc(**keywords(3, activation_checkpointing=setting, **change))
        outputs = network(x)
        sum(y.square().mean() for y in outputs).backward()
        numbers.append([*outputs, *(p.grad for p in network.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*numbers, strict=True))


def test_stages_before_the_first_with_a_mixer_have_none() -> None:
    full, later = UMambaEnc(**keywords(3)), UMambaEnc(**keywords(3, mixer_from_stage=1)).eval()
    first = "encoder.mamba_layers.0."
    kept = {key: w for key, w in full.state_dict().items() if not key.startswith(first)}
    later.load_state_dict(kept)
    full.encoder.mamba_layers[0] = nn.Identity()
    x = torch.randn(1, 2, *patch(3))
    pairs = zip(later(x), full.eval()(x), strict=True)
    assert all(torch.equal(got, want) for got, want in pairs)
    with pytest.raises(PlansError, match="UMambaBot takes no mixer_from_stage: it has a mixer in"):
        UMambaBot(**keywords(3, mixer_from_stage=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"mixer": "conv"},
            "'conv' does not exist; choose one of mamba, mamba2, attention, lti, none",
        ),
        ({"scan": "spiral"}, "'spiral' does not exist; choose one of forward, bidirectional, axes"),
        ({"mixer": "none", "scan": "axes"}, "scan 'axes' is not for mixer 'none', which has no or"),
        ({"mixer": "attention", "scan": "bidirectional"}, "is not for mixer 'attention', which"),
        ({"variant": "official", "mixer": "lti"}, "'official' is the authors' code.* choose varia"),
        ({"variant": "official", "scan": "axes"}, "choose variant paper for mixer 'mamba' and sc"),
        ({"mixer_from_stage": 3}, "must be one of the stages 0 to 2; got 3"),
        ({"variant": "official", "mixer_from_stage": 1}, "is for variant 'paper' only; leave it"),
        ({"mixer": "lti", "backend": "torch"}, "backend 'torch' is for mixer mamba, not for 'lti'"),
        (
            {"mixer": "none", "activation_checkpointing": "mamba"},
            "not for mixer 'none', which has no Mamba layers; choose none, norms or blocks",
        ),
        (
            {"variant": "official", "mixer": "none", "input_size": (6, 12)},
            "input_size is for variant 'official' only, with Mamba",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PlansError, match=message):
        UMambaEnc(**keywords(2, **change))
