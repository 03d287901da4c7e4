"""Recipes are those of their authors, step by step, and a stopped training follows its own."""

import copy
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.lr_scheduler.warmup import Lin_incr_LRScheduler, PolyLRScheduler_offset
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

import toy_process
from toy import PLANS
from toy_process import Fault
from umamba.errors import CheckpointError, UMambaError
from umamba.nnunet.checkpoints.files import read_checkpoint
from umamba.nnunet.requests import TrainingRequest
from umamba.nnunet.training import trainers
from umamba.nnunet.training.optimization import LearningRates, build_optimizer
from umamba.recipes import RECIPES, learning_rate
from umamba.system.environment import environment


def rates_of(scheduler: Any, epochs: range) -> list[float]:
    rates = []
    for epoch in epochs:
        scheduler.step(epoch)
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
    return rates


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)


@pytest.mark.parametrize("name", ["nnunet", "mednext"])
def test_rates_without_warm_up_are_nnunets_to_the_last_bit(name: str) -> None:
    recipe, epochs = RECIPES[name], range(1000)
    theirs = PolyLRScheduler(optimizer(), recipe.learning_rate, 1000)
    ours = LearningRates(optimizer(), recipe, 1000, 250)
    assert rates_of(ours, epochs) == rates_of(theirs, epochs)


def test_rates_of_adamw_are_those_of_primus() -> None:
    recipe = RECIPES["adamw"]
    rising = rates_of(Lin_incr_LRScheduler(optimizer(), 3e-4, 50), range(50))
    ends = [learning_rate(recipe, epoch + 249 / 250, 1000, 250) for epoch in range(50)]
    assert ends == pytest.approx(rising, rel=1e-12)  # theirs have no steps within an epoch
    falling = PolyLRScheduler_offset(optimizer(), 3e-4, 1000, 50)
    rates = [learning_rate(recipe, epoch + 0.5, 1000, 250) for epoch in range(50, 1000)]
    assert rates == pytest.approx(rates_of(falling, range(50, 1000)), rel=1e-12)


def test_the_warm_up_is_a_twentieth_of_any_training() -> None:
    recipe = RECIPES["adamw"]
    rates = [learning_rate(recipe, k / 250, 2, 250) for k in range(500)]  # 25 iterations
    assert rates[:25] == pytest.approx([3e-4 * (k + 1) / 25 for k in range(25)])
    assert set(rates[25:250]) == {3e-4}
    assert set(rates[250:]) == {3e-4 * (1 - 0.9 / 1.9) ** 0.9}
    assert learning_rate(recipe, 0.0, 1, 1) == 3e-4  # shorter than an iteration


def trained_by(step: Any, network: nn.Module, optimizer: Any) -> list[torch.Tensor]:
    trainer = SimpleNamespace(
        network=network,
        optimizer=optimizer,
        loss=lambda output, target: 1e3 * (output - target).square().sum(),
        device=torch.device("cpu"),
        grad_scaler=None,
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        data, target = (torch.randn(2, 1, 8, 8, generator=generator) for _ in range(2))
        step(trainer, {"data": data, "target": target})
    return list(network.parameters())


def test_steps_of_adamw_are_those_of_primus_trainer() -> None:
    primus = pytest.importorskip("nnunetv2.training.nnUNetTrainer.primus.primus_trainers")
    torch.manual_seed(0)
    network = nn.Conv2d(1, 1, 3, padding=1)
    other = copy.deepcopy(network)
    options = {"weight_decay": 5e-2, "amsgrad": False, "betas": (0.9, 0.98)}
    theirs = torch.optim.AdamW(other.parameters(), 3e-4, **options)
    wanted = trained_by(primus.AbstractPrimus.train_step, other, theirs)
    ours = build_optimizer(RECIPES["adamw"], network)
    got = trained_by(nnUNetTrainer.train_step, network, ours)
    for one, another in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, another, rtol=1e-6, atol=1e-8)
        assert float(one.grad.norm()) < 1 + 1e-5


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_its_optimiser_keeps(name: str) -> None:
    network = nn.Linear(8, 4)
    built = build_optimizer(RECIPES[name], network)
    network(torch.randn(2, 8)).square().mean().backward()
    built.step()
    kept = built.state[network.weight].values()
    assert sum(x.numel() for x in kept if torch.is_tensor(x) and x.dim()) == 32 * (
        RECIPES[name].moments
    )


def test_a_recipe_names_its_trainer() -> None:
    alike = {"dataset": 1, "configuration": "2d", "fold": 0, "model": "nnunet"}
    for recipe in RECIPES.values():
        request = TrainingRequest(**alike, recipe=recipe.name)
        assert request.trainer == recipe.trainer == request.alone().trainer
        assert getattr(trainers, recipe.trainer).recipe is recipe
    with pytest.raises(UMambaError, match="recipe adamw is that of nnUNetTrainerUMambaAdamW, not"):
        TrainingRequest(**alike, recipe="adamw", trainer="nnUNetTrainerUMambaMedNeXt")


@pytest.mark.nnunet
def test_a_training_stopped_in_its_warm_up_ends_as_if_it_had_not_been(
    preprocessed_toy: Path, tmp_path: Path
) -> None:
    adamw = ("--recipe", "adamw")
    length = ("--epochs", "2", "--iterations", "40", "--seed", "3")  # warms up for 2 iterations
    model = toy_process.RESULTS / f"nnUNetTrainerUMambaAdamW__{PLANS}__3d_fullres"
    ends = []
    with environment(nnUNet_def_n_proc="2", nnUNet_n_proc_DA="1"):
        for name, fault in (("whole", None), ("stopped", Fault("train_step", 1, signal.SIGINT))):
            root = shutil.copytree(preprocessed_toy, tmp_path / name)
            code = toy_process.run(root, *length, *adamw, fault=fault)
            if fault is not None:
                assert code == 75, (root / "said").read_text()
                code = toy_process.run(root, "--resume", *adamw)
            assert code == 0, (root / "said").read_text()
            ends.append(read_checkpoint(root / model / "fold_all/checkpoint_final.pth"))
    whole, stopped = ends
    assert whole["umamba"]["recipe"] == "adamw"
    assert whole["trainer_name"] == "nnUNetTrainer"
    for key, weight in whole["network_weights"].items():
        assert torch.equal(stopped["network_weights"][key], weight), key
    for key, state in whole["optimizer_state"]["state"].items():
        for name in ("exp_avg", "exp_avg_sq", "step"):
            got = stopped["optimizer_state"]["state"][key][name]
            assert torch.equal(got, state[name]), (key, name)


@pytest.mark.parametrize("begun", [{}, {"recipe": "mednext"}])
def test_a_training_does_not_go_on_by_another_recipe(begun: dict[str, str]) -> None:
    trainer = trainers.nnUNetTrainerUMambaAdamW.__new__(trainers.nnUNetTrainerUMambaAdamW)
    trainer.output_folder = "there/fold_0"
    name = begun.get("recipe", "nnunet")  # that of older versions
    with pytest.raises(CheckpointError, match=f"there/fold_0 holds .* recipe {name}, .* by adamw"):
        trainer.apply_settings(begun | {"epochs": 1})
