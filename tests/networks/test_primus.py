"""Primus is nnU-Net's own, with nnU-Net's keywords; its control has no transformer blocks."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from plans_factory import DATASET_JSON, stock_plans
from umamba import registry
from umamba.cli.main import main
from umamba.errors import PlansError
from umamba.networks import UMambaPrimus
from umamba.nnunet.plans.derivation import PlanOptions, derive_plans

SIZE = (16, 24, 16)
NAMES = [f"primus_{version}_{size}" for version in ("v2", "v3") for size in "sbml"]


def build(name: str = "primus_v2_s", **changes: Any) -> UMambaPrimus:
    architecture = registry.find_architecture(name)
    plan: dict[str, Any] = {
        "input_channels": 1,
        "num_classes": 3,
        "conv_op": nn.Conv3d,
        "features_per_stage": [architecture.topology.width],
        "strides": [[stride] * 3 for stride in architecture.topology.strides],
        "input_size": list(SIZE),
    }
    return UMambaPrimus(**plan | architecture.keywords | changes)


def theirs(name: str) -> nn.Module:
    trainers = pytest.importorskip("nnunetv2.training.nnUNetTrainer.primus.primus_trainers")
    _, version, size = name.upper().split("_")
    trainer = getattr(trainers, f"nnUNet_Primus{version}{size}_Trainer")
    return trainer.build_network_architecture(None, SimpleNamespace(patch_size=SIZE), 1, 3)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_those_of_nnunets_own_trainer(name: str) -> None:
    with torch.device("meta"):
        ours, wanted = build(name).network.state_dict(), theirs(name).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in wanted.items()}


@pytest.mark.parametrize("name", ["primus_v2_s", "primus_v3_s"])
def test_a_seed_gives_the_network_that_nnunets_own_trainer_builds(name: str) -> None:
    torch.manual_seed(0)
    wanted = theirs(name)
    torch.manual_seed(0)
    network = build(name)
    network.apply(network.initialize)
    x = torch.randn(1, 1, *SIZE)
    for mode in (False, True):  # without and with the chance of drop paths
        torch.manual_seed(1)
        want = wanted.train(mode)(x)
        torch.manual_seed(1)
        assert torch.equal(network.train(mode)(x), want)


@pytest.mark.parametrize("name", NAMES)
def test_the_control_has_the_identity_for_every_transformer_block(name: str) -> None:
    control = registry.find_architecture(f"{name}_identity")
    assert control.control_of == name
    with torch.device("meta"):
        whole, without = build(name).network, build(control.name).network
    assert len(whole.eva.blocks) == registry.find_architecture(name).keywords["n_blocks"]
    whole.eva.blocks = nn.ModuleList()
    shapes = [{k: v.shape for k, v in n.state_dict().items()} for n in (whole, without)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "v4"}, "version 'v4' does not exist"),
        ({"mixer": "mamba"}, "mixer 'mamba' does not exist"),
        ({"features_per_stage": [100]}, "multiple of 36: plan it with --features 108"),
        ({"input_size": [12, 16, 16]}, r"next larger size that fits is \[16, 16, 16\]"),
        ({"conv_op": nn.Conv2d, "strides": [[1, 1], [8, 8]]}, "with 3 axes; use Conv3d"),
        ({"activation_checkpointing": "blocks"}, "'blocks' is not for UMambaPrimus"),
    ],
)
def test_what_does_not_fit_is_said(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PlansError, match=message):
        build(**changes)


def test_other_patches_than_its_own_are_refused() -> None:
    with torch.device("meta"):
        network = build()
        with pytest.raises(PlansError, match=r"patches of \[16, 24, 16\]; got \[16, 16, 16\]"):
            network(torch.empty(1, 1, 16, 16, 16))


def test_an_older_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from dynamic_network_architectures.architectures import primus

    monkeypatch.delattr(primus, "PrimusV3")
    with pytest.raises(PlansError, match=r"lacks PrimusV3 \(.*\); run `pip install -U nnunetv2`"):
        build("primus_v3_s")


@pytest.mark.usefixtures("uncounted_memory")
def test_plans_leave_out_images_of_two_axes_and_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "Dataset901_Toy"
    folder.mkdir()
    (folder / "nnUNetPlans.json").write_text(json.dumps(stock_plans()))
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
    command = ["plan", "901", "--model", "primus_v2_s", "--features", "36"]
    command += ["--preprocessed", str(tmp_path)]
    assert main(command) == 0
    assert "note: without 2d: primus_v2_s is 3D\n" in capsys.readouterr().err
    written = json.loads((folder / "nnUNetUMambaPrimusV2SPlans.json").read_text())
    assert list(written["configurations"]) == ["3d_lowres", "3d_fullres", "3d_cascade_fullres"]
    assert main([*command, "--overwrite", "--configurations", "2d"]) == 2
    assert "primus_v2_s is for 3D images only, not for 2d" in capsys.readouterr().err
    flat = stock_plans()
    flat["configurations"] = {"2d": flat["configurations"]["2d"]}
    with pytest.raises(PlansError, match="for 3D images only, not for 2d; give another --model"):
        derive_plans(flat, registry.find_architecture("primus_v2_s"), PlanOptions())
