"""Untrained models in folders as nnU-Net writes them, for prediction without training."""

import json
from pathlib import Path

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import nn

from plans_factory import DATASET_JSON, stock_plans
from umamba.nnunet.plans.derivation import PlanOptions, derive_plans
from umamba.registry import find_architecture

CONFIGURATION = "3d_fullres"
SHAPE = (12, 24, 20)


def write_model(folder: Path, model: str, n_folds: int = 1) -> list[nn.Module]:
    """Write an untrained model as nnU-Net does, and return the networks of its folds."""
    options = PlanOptions(features=(2, 3), patch_size=(12, 24, 20))
    plans = derive_plans(stock_plans(), find_architecture(model), options)
    plans["foreground_intensity_properties_per_channel"] = {"0": {}}
    plans["configurations"][CONFIGURATION]["spacing"] = [2.0, 1.2, 1.0]
    folder.mkdir()
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
    configuration = PlansManager(plans).get_configuration(CONFIGURATION)
    networks = []
    for fold in range(n_folds):
        network = get_network_from_plans(
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            1,
            3,
            allow_init=True,
            deep_supervision=False,
        )
        checkpoint = {
            "network_weights": network.state_dict(),
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": CONFIGURATION},
            "inference_allowed_mirroring_axes": (0, 1, 2),
        }
        (folder / f"fold_{fold}").mkdir()
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
        networks.append(network.eval())
    return networks
