"""UNETR++: the authors' numbers, the patch that its weights belong to, bad keywords."""

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reference_cases import golden, golden_loss, keywords, patch, relative_max
from umamba.errors import CheckpointError, PlansError
from umamba.networks import UMambaUNETRPlusPlus


def build(dim: int, **changes: Any) -> UMambaUNETRPlusPlus:
    return UMambaUNETRPlusPlus(**keywords(dim, **({"input_size": patch(dim)} | changes)))


def authors_small_network(stored: dict[str, Any]) -> UMambaUNETRPlusPlus:
    config = stored["config"]
    network = UMambaUNETRPlusPlus(
        input_channels=config["in_channels"],
        num_classes=config["out_channels"],
        n_stages=5,
        features_per_stage=[config["feature_size"], *config["dims"]],
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=[[1, 1, 1], config["patch_embed"], [2, 2, 2], [2, 2, 2], [2, 2, 2]],
        input_size=config["img_size"],
        n_conv_per_stage=[1, *config["depths"]],
        n_conv_per_stage_decoder=[config["decoder_depth"]] * 3 + [1],
        projection_sizes=config["proj_size"],
        decoder_projection_size=config["decoder_proj_size"],
        deep_supervision=True,
        variant="synapse",
    )
    network.load_state_dict(stored["state_dict"])
    return network.eval()


def test_weights_trained_without_deep_supervision_load() -> None:
    stored = golden("unetrpp_small_synapse_ds.pt")
    whole = authors_small_network(stored)
    weights = {
        key: value
        for key, value in stored["state_dict"].items()
        if not key.startswith(("out2.", "out3."))  # the authors' network has none then
    }
    assert len(weights) < len(stored["state_dict"])
    network = authors_small_network(stored | {"state_dict": whole.state_dict()})
    with pytest.warns(UserWarning, match=r"without deep supervision: out2\., out3\. keep"):
        network.load_state_dict(weights)
    network.decoder.deep_supervision = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network.load_state_dict(weights)
    torch.testing.assert_close(network(stored["input"]), whole(stored["input"])[0], rtol=0, atol=0)
    del weights["out1.conv.conv.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key.*out1"):
        network.load_state_dict(weights)


def digest(x: Tensor) -> Tensor:
    k = torch.arange(x.numel(), dtype=torch.float64)
    flat = x.detach().double().flatten()
    return torch.stack([flat.norm(), (flat * torch.cos(0.61 * k + 0.2)).sum()])


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-7)], ids=str
)
def test_outputs_and_gradients_are_the_authors(dtype: torch.dtype, tolerance: float) -> None:
    stored = golden("unetrpp_small_synapse_ds.pt")
    network = authors_small_network(stored).to(dtype)
    assert network.state_dict().keys() == stored["key_shapes"].keys()
    x = stored["input"].to(dtype).requires_grad_()
    outputs = network(x)
    assert [list(y.shape) for y in outputs] == stored["output_shapes"]
    wanted = zip(
        outputs, stored["outputs_every_5th_f64"], stored["output_digests_f64"], strict=True
    )
    for y, every_5th, whole in wanted:
        assert relative_max(y.flatten()[::5], every_5th) <= tolerance
        assert float((digest(y) - torch.tensor(whole)).abs().max()) <= tolerance * whole[0]
    if dtype == torch.float32:
        return  # float32 gradients of the authors' own code differ by more
    loss = golden_loss(outputs)
    loss.backward()
    assert abs(float(loss.detach()) - stored["loss_f64"]) <= 1e-7 * abs(stored["loss_f64"])
    assert relative_max(x.grad.flatten()[::5], stored["grad_input_every_5th_f64"]) <= 1e-7
    grads = {key: parameter.grad for key, parameter in network.named_parameters()}
    assert grads.keys() == stored["grad_digest_f64"].keys()
    for key, whole in stored["grad_digest_f64"].items():
        want = torch.tensor(whole, dtype=torch.float64)
        assert float((digest(grads[key]) - want).abs().max()) <= 1e-7 * float(want[0]), key


def test_synapse_has_the_authors_number_of_parameters() -> None:
    with torch.device("meta"):
        network = UMambaUNETRPlusPlus.synapse()
        outputs = network(torch.empty(1, 1, 64, 128, 128))
    assert sum(p.numel() for p in network.parameters()) == 42_952_850
    assert [y.shape[1:] for y in outputs] == [
        (14, 64, 128, 128),
        (14, 32, 32, 32),
        (14, 16, 16, 16),
    ]


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("n_stages", [2, 3, 4, 5])
def test_at_most_three_outputs_at_the_first_stock_targets(dim: int, n_stages: int) -> None:
    strides = ([[1, 1, 1], [1, 2, 4], [2, 3, 1], [1, 1, 2], [1, 2, 1]])[:n_stages]
    strides = [stride[:dim] for stride in strides]
    size = (2, 24, 16)[:dim]
    network = build(
        dim,
        n_stages=n_stages,
        features_per_stage=[4, 6, 8, 8, 10][:n_stages],
        kernel_sizes=3,
        strides=strides,
        n_conv_per_stage=1,
        n_conv_per_stage_decoder=2,
        input_size=size,
    )
    scales = 1 / np.cumprod(np.vstack(strides), axis=0)[:-1]
    targets = [tuple(np.round(np.array(size) * scale).astype(int)) for scale in scales]
    outputs = network(torch.randn(2, 2, *size))
    assert [tuple(y.shape[2:]) for y in outputs] == targets[:3]
    sum(y.square().mean() for y in outputs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("dim", [2, 3])
def test_norms_are_the_authors_unless_the_plan_names_one(dim: int) -> None:
    authors = build(dim, norm_op=None, norm_op_kwargs=None)
    kinds = {type(module) for module in authors.modules()}
    batch_norm, instance_norm = (
        (nn.BatchNorm2d, nn.InstanceNorm2d),
        (nn.BatchNorm3d, nn.InstanceNorm3d),
    )[dim - 2]
    assert {batch_norm, instance_norm, nn.GroupNorm, nn.LayerNorm} <= kinds
    assert isinstance(authors.encoder1.norm1, instance_norm)
    assert authors.encoder1.norm1.weight is None
    assert authors.unetr_pp_encoder.downsample_layers[0][1].num_groups == 2  # input channels
    planned = {type(module) for module in build(dim).modules()}
    assert instance_norm in planned
    assert not planned & {batch_norm, nn.GroupNorm}


@pytest.mark.parametrize("dim", [2, 3])
def test_training_starts_with_small_logits(dim: int) -> None:
    network = build(dim, n_conv_per_stage=3, n_conv_per_stage_decoder=3)
    network.apply(network.initialize)  # as nnU-Net does
    assert all(0.1 < float(y.detach().std()) < 3 for y in network(torch.randn(4, 2, *patch(dim))))


def test_three_input_channels_are_no_problem_for_group_norm() -> None:
    network = build(2, input_channels=3, features_per_stage=[4, 32, 64], norm_op=None)
    assert network(torch.randn(1, 3, *patch(2)))[0].shape == (1, 3, *patch(2))


@pytest.mark.parametrize("dim", [2, 3])
def test_arguments_are_not_changed(dim: int) -> None:
    plan = keywords(dim, input_size=list(patch(dim)), projection_sizes=[5, 7])
    untouched = copy.deepcopy(plan)
    network = UMambaUNETRPlusPlus(**plan)
    assert plan == untouched
    plan["norm_op_kwargs"]["eps"] = plan["input_size"][0] = 1
    assert network.encoder1.norm1.eps == 1e-5
    assert network.patch_size == patch(dim)


def test_a_patch_that_does_not_match_the_weights_names_both_sizes() -> None:
    network = build(2)
    with pytest.raises(PlansError, match=r"fit patch_size \[6, 12\] only.*patch of \[12, 12\]"):
        network(torch.zeros(1, 2, 12, 12))
    with pytest.raises(PlansError, match=r"only.*patch of \[12, 6\]"):
        build(2, strides=[[1, 1], [1, 2], [2, 1]])(torch.zeros(1, 2, 12, 6))  # as many tokens


def test_weights_of_another_patch_are_refused() -> None:
    weights = build(2, input_size=(6, 24)).state_dict()
    wanted = r"another patch_size: .*0\.0\.pos_embed has 72 tokens, but \[6, 12\] gives 36\. Build"
    with pytest.raises(CheckpointError, match=wanted):
        build(2).load_state_dict(weights)
    wrapped = nn.ModuleDict({"net": build(2)})
    with pytest.raises(CheckpointError, match="another patch_size"):
        wrapped.load_state_dict({f"net.{key}": value for key, value in weights.items()})
    del weights["out1.conv.conv.bias"]
    with pytest.raises(RuntimeError, match="Missing key"):
        build(2, input_size=(6, 24)).load_state_dict(weights)


def test_recomputed_blocks_give_the_same_numbers() -> None:
    x = torch.randn(2, 2, *patch(3))
    results = []
    for activation_checkpointing in ("none", "blocks"):
        torch.manual_seed(0)
        network = build(3, activation_checkpointing=activation_checkpointing)
        outputs = network(x)
        sum(y.square().mean() for y in outputs).backward()
        results.append([*outputs, *(p.grad for p in network.parameters())])
    assert all(torch.equal(got, want) for want, got in zip(*results, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variant": "official"}, "variant 'official' does not exist; choose one of paper, synap"),
        ({"activation_checkpointing": "mamba"}, "'mamba' is not for UMambaUNETRPlusPlus; choose"),
        ({"input_size": None}, "needs input_size, the patch size"),
        ({"input_size": (5, 12)}, r"\[5, 12\] is not divisible .* size that fits is \[6, 12\]"),
        ({"input_size": (2, 4)}, r"leaves one voxel .* a size that fits is \[2, 8\]"),
        ({"input_size": (6, 12, 8)}, "takes images with 2 axes"),
        ({"strides": [[2, 1], [1, 2], [1, 2]]}, r"first stage at full .*; got strides \[2, 1\]"),
        ({"projection_sizes": [64]}, r"projection_sizes needs 2 positive numbers.*got \[64\]"),
        ({"projection_sizes": [64, 0]}, "projection_sizes needs 2 positive numbers"),
        ({"decoder_projection_size": 0}, "decoder_projection_size must be at least 1; got 0"),
        ({"num_heads": 0}, "num_heads must be at least 1; got 0"),
        ({"num_classes": 0}, "num_classes must be at least 1; got 0"),
        ({"attention_dropout": 1.0}, r"attention_dropout must be at least 0 .* got 1\.0"),
        ({"channel_dropout": -0.1}, r"channel_dropout must be at least 0 .* got -0\.1"),
        ({"norm_op": "x"}, "norm_op must be a class of torch.nn, or None; got 'x'"),
        ({"activation_checkpointing": "all"}, "'all' does not exist"),
        (
            {"activation_checkpointing": "blocks", "norm_op": nn.BatchNorm2d},
            "would update the running statistics of BatchNorm",
        ),
        ({"features_per_stage": [4, 6]}, "features_per_stage needs 3 positive numbers"),
    ],
)
def test_bad_keywords_are_named(change: dict[str, Any], message: str, unchecked: None) -> None:
    with pytest.raises(PlansError, match=message):
        build(2, **change)
