"""Weights to start from: those of another network or of another patch are refused in words."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from plans_factory import DATASET_JSON, stock_plans
from umamba import registry
from umamba.errors import CheckpointError
from umamba.nnunet.plans.derivation import PlanOptions, derive_plans, resolve
from umamba.nnunet.plans.networks import build_network
from umamba.nnunet.training.pretrained import load_pretrained

CONFIGURATION = "3d_fullres"


def trainer(model: str, **options: Any) -> Any:
    """What `load_pretrained` asks of nnU-Net's trainer; weights are not random."""
    architecture = registry.find_architecture(model)
    plans = derive_plans(stock_plans(), architecture, PlanOptions("plans", **options))
    network = build_network(plans, DATASET_JSON, CONFIGURATION, "cpu").network
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 0.25)
    manager = SimpleNamespace(configuration=resolve(plans, CONFIGURATION))
    return SimpleNamespace(network=network, configuration_manager=manager, plans=plans)


def checkpoint(of: Any, path: Path, **more: Any) -> Path:
    init_args = {"plans": of.plans, "configuration": CONFIGURATION}
    weights = {name: torch.zeros_like(w) for name, w in of.network.state_dict().items()}
    torch.save({"network_weights": weights, "init_args": init_args} | more, path)
    return path


@pytest.mark.parametrize("model", ["umamba_bot", "unetrpp"])
def test_fitting_weights_are_taken_but_for_nnunets_heads(model: str, tmp_path: Path) -> None:
    mine = trainer(model)
    load_pretrained(mine, checkpoint(trainer(model), tmp_path / "c.pth"))
    for name, parameter in mine.network.named_parameters():
        assert parameter.detach().max() == (0.25 if ".seg_layers." in name else 0), name


def test_a_patch_of_as_many_voxels_but_another_shape_is_refused(tmp_path: Path) -> None:
    path = checkpoint(trainer("unetrpp", patch_size=(16, 32, 32)), tmp_path / "c.pth")
    mine = trainer("unetrpp", patch_size=(32, 16, 32))
    wanted = r"belong to patch_size \[16, 32, 32\].* have \[32, 16, 32\]; plan with the --patch-si"
    with pytest.raises(CheckpointError, match=wanted):
        load_pretrained(mine, path)
    assert all(p.detach().min() == 0.25 for p in mine.network.parameters())


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (("umamba_bot", {"features": (4, 8)}), r"norm.weight is \(8,\), not \(32,\)"),
        (("attention_unet", {}), "these plans describe: it has no mamba_layer"),
    ],
)
def test_other_networks_are_refused_in_one_line(
    theirs: tuple[str, dict[str, Any]], message: str, tmp_path: Path
) -> None:
    model, options = theirs
    path = checkpoint(trainer(model, **options), tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match=message) as raised:
        load_pretrained(trainer("umamba_bot"), path)
    assert len(str(raised.value)) < 400


def test_large_kernels_of_mednext_begin_from_small_ones(tmp_path: Path) -> None:
    theirs, mine = trainer("mednext_s", features=(4,)), trainer("mednext_s_k5", features=(4,))
    load_pretrained(mine, checkpoint(theirs, tmp_path / "c.pth"))
    for name, parameter in mine.network.named_parameters():
        assert parameter.detach().max() == (0.25 if ".seg_layers." in name else 0), name
    with pytest.raises(CheckpointError, match=r"stem.weight is \(4, 1, 1, 1, 1\), not \(6, 1,"):
        load_pretrained(trainer("mednext_s_k5", features=(6,)), tmp_path / "c.pth")


def test_weights_without_plans_are_judged_by_their_shapes(tmp_path: Path) -> None:
    mine = trainer("unetrpp")
    load_pretrained(mine, checkpoint(mine, tmp_path / "c.pth", init_args={}))
    assert next(iter(mine.network.parameters())).detach().max() == 0
