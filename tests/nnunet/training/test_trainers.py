"""Lengths of training, precision, and the environment of workers."""

import pytest
import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from plans_factory import DATASET_JSON, stock_plans
from reference_cases import keywords
from umamba.errors import UMambaError
from umamba.networks import UMambaBot
from umamba.nnunet.paths import Paths
from umamba.nnunet.plans.derivation import PlanOptions, derive_plans
from umamba.nnunet.training.optimization import build_optimizer
from umamba.nnunet.training.trainers import (
    nnUNetTrainerUMamba,
    nnUNetTrainerUMambaEncNoAMP,
)
from umamba.nnunet.workers import default_workers
from umamba.recipes import RECIPES, Recipe
from umamba.registry import find_architecture
from umamba.system.environment import environment


@pytest.fixture
def trainer() -> nnUNetTrainerUMamba:
    trainer = nnUNetTrainerUMamba.__new__(nnUNetTrainerUMamba)
    trainer.num_epochs = 1000
    trainer.num_iterations_per_epoch = 250
    trainer.num_val_iterations_per_epoch = 50
    return trainer


@pytest.mark.parametrize(
    ("epochs", "iterations", "want"),
    [
        (None, None, (1000, 250, 50)),
        (7, None, (7, 250, 50)),
        (None, 1000, (4, 250, 50)),
        (None, 1001, (5, 201, 40)),
        (None, 20, (1, 20, 4)),
        (2, 6, (2, 3, 1)),
    ],
)
def test_budget(
    trainer: nnUNetTrainerUMamba,
    epochs: int | None,
    iterations: int | None,
    want: tuple[int, int, int],
) -> None:
    trainer.set_budget(epochs, iterations)
    got = (trainer.num_epochs, trainer.num_iterations_per_epoch)
    assert (*got, trainer.num_val_iterations_per_epoch) == want
    assert iterations is None or got[0] * got[1] >= iterations


def test_fewer_iterations_than_epochs_are_refused(trainer: nnUNetTrainerUMamba) -> None:
    with pytest.raises(UMambaError, match="3 iterations cannot be spread over 7 epochs"):
        trainer.set_budget(7, 3)


def test_without_autocast_the_network_sees_float32_inside_stocks_autocast() -> None:
    trainer = nnUNetTrainerUMambaEncNoAMP.__new__(nnUNetTrainerUMambaEncNoAMP)
    trainer.network = torch.nn.Conv2d(1, 1, 1)
    x = torch.zeros(1, 1, 2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert trainer.network(x).dtype == torch.bfloat16
        with trainer._full_precision():
            assert trainer.network(x.bfloat16()).dtype == torch.float32
            assert len(list(trainer.network.parameters())) == 2
    assert isinstance(trainer.network, torch.nn.Conv2d)


def test_worker_defaults_leave_the_users_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_n_proc_DA", "7")
    monkeypatch.delenv("nnUNet_def_n_proc", raising=False)
    assert default_workers("cpu").keys() == {"nnUNet_def_n_proc"}
    monkeypatch.delenv("nnUNet_n_proc_DA")
    sizes = default_workers("cpu")
    assert 1 <= int(sizes["nnUNet_n_proc_DA"]) <= int(sizes["nnUNet_def_n_proc"]) <= 8
    assert "nnUNet_n_proc_DA" not in default_workers("cuda")


def test_environment_is_put_back() -> None:
    import os

    os.environ.pop("nnUNet_test", None)
    with pytest.raises(KeyError), environment(nnUNet_test="1"):
        raise KeyError
    assert "nnUNet_test" not in os.environ
    assert Paths().raw is None


@pytest.mark.parametrize("deep_supervision", [True, False])
def test_nested_heads_are_trained_by_the_mean_of_their_losses(deep_supervision: bool) -> None:
    plans = derive_plans(stock_plans(), find_architecture("unetpp_nested"), PlanOptions())
    trainer = nnUNetTrainerUMamba.__new__(nnUNetTrainerUMamba)
    manager = PlansManager(plans)
    trainer.configuration_manager = manager.get_configuration("2d")
    trainer.label_manager = manager.get_label_manager(DATASET_JSON)
    trainer.is_ddp = False
    trainer.device = torch.device("cpu")
    trainer.enable_deep_supervision = deep_supervision
    loss = trainer._build_loss()
    outputs = [torch.randn(2, 3, 8, 8) for _ in range(3)]
    targets = [torch.randint(0, 3, (2, 1, n, n)).float() for n in (8, 4, 2)]  # stock's sizes
    trainer.enable_deep_supervision = False
    one = nnUNetTrainer._build_loss(trainer)
    if not deep_supervision:
        assert float(loss(outputs[0], targets[0])) == float(one(outputs[0], targets[0]))
        return
    wanted = sum(float(one(output, targets[0])) for output in outputs) / 3
    assert float(loss(outputs, targets)) == pytest.approx(wanted)


def test_other_networks_keep_nnunets_loss() -> None:
    manager = PlansManager(derive_plans(stock_plans(), find_architecture("unetpp"), PlanOptions()))
    trainer = nnUNetTrainerUMamba.__new__(nnUNetTrainerUMamba)
    trainer.configuration_manager = manager.get_configuration("2d")
    trainer.label_manager = manager.get_label_manager(DATASET_JSON)
    trainer.is_ddp = False
    trainer.device = torch.device("cpu")
    trainer.enable_deep_supervision = True
    loss = trainer._build_loss()
    assert isinstance(loss, DeepSupervisionWrapper)
    assert loss.weight_factors == pytest.approx((2 / 3, 1 / 3, 0))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize(
    ("change", "spared"),
    [
        ({"mixer": "lti"}, {"log_dt", "A_log", "A_imag", "D"}),
        ({"scan": "axes"}, {"A_log", "D"}),
        ({"mixer": "mamba2"}, {"A_log", "D", "dt_bias"}),
        ({"mixer": "attention"}, set()),
        ({"mixer": "none"}, set()),
    ],
)
def test_recurrences_are_spared_weight_decay(
    change: dict[str, str], spared: set[str], recipe: Recipe
) -> None:
    network = UMambaBot(**keywords(2, **change))
    optimizer = build_optimizer(recipe, network)
    names = {id(p): name.rsplit(".", 1)[-1] for name, p in network.named_parameters()}
    groups = optimizer.param_groups
    assert {names[id(p)] for g in groups if g["weight_decay"] == 0 for p in g["params"]} == spared
    assert sum(len(g["params"]) for g in groups) == len(names)
