"""U-Mamba against the authors' released code: outputs, gradients, keys, initial weights."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reference_cases import golden, golden_loss, keywords, patch
from umamba.errors import PlansError
from umamba.networks import UMambaBot, UMambaEnc

NETWORKS = ["umamba_bot_2d_s5", "umamba_bot_3d_s4", "umamba_enc_2d_s5", "umamba_enc_3d_s4"]
PLANS = ["plans_bot_3d_real", "plans_enc_2d_real", "plans_enc_3d_small"]
CLASSES = {"Bot": UMambaBot, "Enc": UMambaEnc}


def official(kind: str, plain: dict[str, Any]) -> nn.Module:
    """Build the authors' network from their constructor keywords as plain data."""
    named = {
        key: getattr(nn, value) if key in ("conv_op", "norm_op", "nonlin") else value
        for key, value in plain.items()
        if key != "stem_channels"
    }
    return CLASSES[kind](**named, variant="official")


def digest(x: Tensor) -> Tensor:
    k = torch.arange(x.numel(), dtype=torch.float64)
    flat = x.detach().double().flatten()
    return torch.stack([flat.norm(), (flat * torch.cos(0.61 * k + 0.2)).sum()])


def error(got: Tensor, want: Tensor) -> float:
    return float((got.detach().double() - want).abs().max() / want.abs().max())


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-7)], ids=str
)
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_the_authors(name: str, dtype: torch.dtype, tolerance: float) -> None:
    stored = golden(f"{name}_aniso_ds.pt")
    network = official(stored["config"]["kind"], stored["config"]["kwargs"])
    network.load_state_dict(stored["state_dict"])
    outputs = network.to(dtype)(stored["input"].to(dtype))
    assert [list(y.shape) for y in outputs] == stored["output_shapes"]
    wanted = zip(
        outputs, stored["outputs_every_5th_f64"], stored["output_digests_f64"], strict=True
    )
    for y, every_5th, whole in wanted:
        assert error(y.flatten()[::5], every_5th) <= tolerance
        assert float((digest(y) - torch.tensor(whole)).abs().max()) <= tolerance * whole[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_the_authors(name: str) -> None:
    stored = golden(f"{name}_aniso_ds.pt")
    network = official(stored["config"]["kind"], stored["config"]["kwargs"])
    network.load_state_dict(stored["state_dict"])
    x = stored["input"].double().requires_grad_()
    loss = golden_loss(network.double()(x))
    loss.backward()
    assert abs(float(loss.detach()) - stored["loss_f64"]) <= 1e-7 * abs(stored["loss_f64"])
    assert error(x.grad.flatten()[::5], stored["grad_input_every_5th_f64"]) <= 1e-7
    compared = 0
    for key, parameter in network.named_parameters():
        want = torch.tensor(stored["grad_digest_f64"][key], dtype=torch.float64)
        if float(want[0]) < 1e-8:  # a bias before an InstanceNorm: zero up to rounding
            assert float(digest(parameter.grad)[0]) < 1e-8
            continue
        compared += 1
        assert float((digest(parameter.grad) - want).abs().max()) <= 1e-7 * float(want[0]), key
    assert compared > 80


@pytest.mark.parametrize("name", PLANS)
def test_keys_shapes_and_initial_weights_are_the_authors(name: str) -> None:
    stored = golden(f"{name}.pt")
    kind = "Bot" if "bot" in name else "Enc"
    network = official(kind, stored["constructor_kwargs"])
    network.apply(network.initialize)
    state = network.state_dict()
    assert {k: list(v.shape) for k, v in state.items()} == {
        k: stored["key_shapes"][k] for k in stored["unique_keys"]
    }
    assert sum(p.numel() for p in network.parameters()) == stored["n_params"]
    compared = 0
    for key, (_, mean, std, low, high) in stored["init_stats"].items():
        if key not in state or std == 0 or state[key].numel() < 1000:
            continue
        compared += 1
        ours = state[key].float()
        assert abs(float(ours.std()) / std - 1) < 0.15, key
        assert abs(float(ours.mean()) - mean) < 0.3 * std, key
        assert 0.5 < float(ours.max() - ours.min()) / (high - low) < 2, key
    assert compared > 5


def test_doubled_keys_of_the_authors_files_are_dropped() -> None:
    network = UMambaBot(**keywords(2), variant="official")
    state = network.state_dict()
    doubled = dict(state)
    doubled["decoder.encoder.stem.0.conv1.weight"] = state["encoder.stem.0.conv1.weight"]
    doubled["encoder.stages.0.1.conv1.all_modules.0.weight"] = torch.zeros(1)
    assert str(network.load_state_dict(doubled)) == "<All keys matched successfully>"
    assert len(doubled) == len(state) + 2  # the caller's dictionary is left alone
    wrapped = nn.ModuleDict({"net": network})
    assert not wrapped.load_state_dict({f"net.{k}": v for k, v in doubled.items()}).unexpected_keys
    with pytest.raises(RuntimeError, match=r"Unexpected key.*surprise"):
        network.load_state_dict(state | {"surprise": torch.zeros(1)})


def test_official_2d_has_mamba_in_every_second_stage_and_no_top_skip() -> None:
    network = UMambaEnc(**keywords(2), variant="official", input_size=patch(2))
    kinds = [type(layer).__name__ for layer in network.encoder.mamba_layers]
    assert kinds == ["MixerLayer", "Identity", "MixerLayer"]
    assert network.decoder.stages[-1][0].conv1.in_channels == 4
    paper = UMambaEnc(**keywords(2))
    assert {type(layer).__name__ for layer in paper.encoder.mamba_layers} == {"MixerLayer"}
    assert paper.decoder.stages[-1][0].conv1.in_channels == 8


def test_paper_has_one_stage_per_resolution_and_transposed_convolutions() -> None:
    network = UMambaBot(**keywords(3))
    assert network.encoder.stem is None
    assert [len(stage) for stage in network.encoder.stages] == [2, 2, 2]
    assert all(isinstance(up, nn.ConvTranspose3d) for up in network.decoder.upsample_layers)


@pytest.mark.parametrize("dim", [2, 3])
def test_paper_weights_do_not_depend_on_the_patch(dim: int) -> None:
    network = UMambaEnc(**keywords(dim, deep_supervision=False)).eval()
    for spatial in (patch(dim), tuple(2 * s for s in patch(dim)), (4, 8, 4)[:dim]):
        assert network(torch.randn(1, 2, *spatial)).shape == (1, 3, *spatial)


def test_a_patch_that_does_not_match_the_weights_names_both_sizes(unchecked: None) -> None:
    network = UMambaEnc(**keywords(2), variant="official", input_size=(4, 8))
    with pytest.raises(PlansError, match=r"fit patch_size \[4, 8\] only.*patch of \[8, 8\]"):
        network(torch.zeros(1, 2, 8, 8))
    free = UMambaEnc(**keywords(2), variant="official", input_size=(64, 64))  # voxels as tokens
    assert free(torch.zeros(1, 2, 32, 32))[0].shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variant": "mine"}, "variant 'mine' does not exist; choose one of official, paper"),
        ({"variant": "official"}, "needs input_size, the patch size"),
        ({"input_size": (6, 12)}, "input_size is for variant 'official' only"),
        ({"features_per_stage": [4, 6]}, "features_per_stage needs 3 positive numbers"),
        ({"kernel_sizes": [[3, 3], [2, 3], [3, 3]]}, "kernel_sizes must be odd"),
        ({"strides": [[1, 1], [2, 2]]}, "strides needs one entry for each of the 3 stages"),
        ({"strides": [[1, 1], [2], [2, 2]]}, r"strides\[1\] needs 2 positive numbers"),
        ({"n_conv_per_stage_decoder": [1]}, "n_conv_per_stage_decoder needs 2 positive"),
        ({"n_stages": 1}, "n_stages must be at least 2"),
        ({"input_channels": 0}, "input_channels must be at least 1; got 0"),
        ({"num_classes": 0}, "num_classes must be at least 1; got 0"),
        ({"norm_op": "x"}, "norm_op must be a class of torch.nn, or None; got 'x'"),
        ({"dropout_op": int}, "dropout_op must be a class of torch.nn, or None; got <class 'int'"),
        ({"nonlin": nn.ReLU()}, r"nonlin must be a class of torch.nn, or None; got ReLU\(\)"),
        ({"conv_op": nn.Linear}, "conv_op must be Conv1d, Conv2d or Conv3d"),
        ({"variant": "official", "input_size": (5, 12)}, r"size that fits is \[6, 12\]"),
    ],
)
def test_bad_keywords_are_named(change: dict[str, Any], message: str, unchecked: None) -> None:
    with pytest.raises(PlansError, match=message):
        UMambaEnc(**keywords(2, **change))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (1, 2, 7, 12),
            r"size \[7, 12\] is not divisible .* fits is \[8, 12\], .* smaller \[6, 12\]\. Pad",
        ),
        ((1, 2, 2, 4), r"leaves one voxel in the deepest .* a size that fits is \[2, 8\]"),
        ((1, 3, 6, 12), "takes 2 input channels; got an image with 3"),
        ((1, 2, 6, 12, 8), r"takes images with 2 axes.*shape \[6, 12, 8\]"),
    ],
)
def test_bad_images_are_named(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(PlansError, match=message):
        UMambaBot(**keywords(2))(torch.zeros(shape))
