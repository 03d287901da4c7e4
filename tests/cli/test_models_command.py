"""`umamba models`: figures of networks that are really built, and what cannot be built says why."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
    ExperimentPlanner,
)

from plans_factory import DATASET_JSON, stock_plans
from reference_cases import REPOSITORY
from umamba import registry
from umamba.cli.main import main
from umamba.costs import models
from umamba.errors import PlansError
from umamba.nnunet.plans.example import example_plans
from umamba.nnunet.plans.networks import BuiltNetwork, build_network


@pytest.fixture
def dataset(tmp_path: Path) -> list[str]:
    """Small plans; what the command needs to find them."""
    folder = tmp_path / "Dataset901_Toy"
    folder.mkdir()
    (folder / "nnUNetPlans.json").write_text(json.dumps(stock_plans()))
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
    return ["models", "901", "--preprocessed", str(tmp_path)]


Run = Callable[[list[str]], dict[str, Any]]


@pytest.fixture
def as_json(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(arguments: list[str]) -> dict[str, Any]:
        assert main([*arguments, "--json"]) == 0
        content: dict[str, Any] = json.loads(capsys.readouterr().out)
        return content

    return run


PAGE = REPOSITORY / "docs" / "reference" / "models.md"


def rows(page: str) -> set[tuple[str, ...]]:
    """The rows of all tables, however wide their columns are."""
    lines = [line for line in page.splitlines() if line.startswith("| ") and "---" not in line]
    return {tuple(cell.strip() for cell in line.split("|")) for line in lines}


@pytest.mark.slow
def test_the_page_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert capsys.readouterr().out == PAGE.read_text(encoding="utf-8"), (
        f"run: umamba models > {PAGE}"
    )


def test_the_page_shows_some_models_as_the_command_does(capsys: pytest.CaptureFixture[str]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert main(["models", "--models", "umamba_bot,unetpp"]) == 0
    shown = rows(capsys.readouterr().out)
    assert len([row for row in shown if row[1] in registry.names()]) == 4  # 2D and 3D
    assert shown <= rows(page), f"run: umamba models > {PAGE}"
    for architecture in registry.architectures():
        assert page.count(f"| {architecture.name} ") == len(architecture.dims)


def test_every_configuration_of_a_data_set(dataset: list[str], as_json: Run) -> None:
    content = as_json([*dataset, "--models", "unetrpp,umamba_bot"])
    assert content["plans"] == "nnUNetPlans of Dataset901_Toy"
    tables = {table["configuration"]: table for table in content["configurations"]}
    assert list(tables) == list(stock_plans()["configurations"])
    for table in tables.values():
        assert [row["name"] for row in table["models"]] == ["unetrpp", "umamba_bot"]
    rows = {row["name"]: row for row in tables["3d_fullres"]["models"]}
    row = rows["umamba_bot"]
    assert row["purpose"].startswith("long range")
    assert row["profile"]["n_parameters"] > 0
    assert row["step"] is None
    # The cascade has labels as channels, too, so its first convolution costs more.
    cascade = {row["name"]: row for row in tables["3d_cascade_fullres"]["models"]}["umamba_bot"]
    assert cascade["profile"]["multiply_adds"] > row["profile"]["multiply_adds"]


def test_patches_are_rounded_up_for_networks_of_their_own_topology(
    dataset: list[str], as_json: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("monai")
    command = [*dataset, "--configurations", "3d_fullres", "--models", "swinunetr,unetpp"]
    content = as_json([*command, "--patch-size", "24", "32", "40"])
    rounded, other = content["configurations"][0]["models"]
    assert rounded["patch_size"] == [32, 32, 64]
    assert rounded["profile"]["n_parameters"] > 0
    assert other["patch_size"] == [24, 32, 40]
    assert main([*command, "--patch-size", "40", "32", "24"]) == 0
    said = capsys.readouterr().out
    assert "- `swinunetr`: its patch is 64x32x32\n" in said
    assert "patches rounded up: to multiples of 32 for `swinunetr`." in said


def test_twice_the_batch_saves_twice_as_much(dataset: list[str], as_json: Run) -> None:
    options = [*dataset, "--configurations", "2d", "--models", "attention_unet"]
    once, twice = (
        as_json([*options, "--batch-size", n])["configurations"][0]["models"][0]["profile"]
        for n in ("2", "4")
    )
    assert twice["saved_bytes"] == 2 * once["saved_bytes"]
    assert twice["multiply_adds"] == once["multiply_adds"]  # of one patch


def test_steps_are_measured_on_request(
    dataset: list[str], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    options = ["--configurations", "2d", "--models", "umamba_bot,attention_unet"]
    timed = [*dataset, *options, "--time", "-device", "cpu"]
    assert main([*timed, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    for row in content["configurations"][0]["models"]:
        assert row["step"]["seconds"] > 0
    assert content["machine"]["device"] == "cpu"
    assert content["rounds"] == 3
    assert "2d: timing 2 models" in caplog.text
    assert main(timed) == 0
    shown = capsys.readouterr().out
    assert "| step, s | peak, GiB |" in shown
    assert "Measured on" in shown
    assert "torch 2." in shown


def test_a_step_that_does_not_fit_is_left_out(
    dataset: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*dataset, "--configurations", "2d", "--models", "umamba_bot", "--time"]
    with monkeypatch.context() as patched:
        patched.setattr(models, "free_memory", lambda _: 2**20)
        assert main(options) == 0
    assert "- `umamba_bot`: not measured: its step needs" in capsys.readouterr().out

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patched:
        patched.setattr(models, "peak_memory", fail)
        assert main(options) == 0
    assert "does not fit into memory" in capsys.readouterr().out


def test_a_model_that_cannot_be_built_says_why(
    dataset: list[str],
    as_json: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def build(plans: dict[str, Any], *arguments: str) -> BuiltNetwork:
        if "UNETR" in plans["configurations"]["2d"]["architecture"]["network_class_name"]:
            msg = "it needs pip install 'umamba[extra]'"
            raise PlansError(msg)
        return build_network(plans, DATASET_JSON, "2d")

    monkeypatch.setattr(models, "build_network", build)
    options = [*dataset, "--configurations", "2d", "--models"]
    missing, other = as_json([*options, "unetrpp,attention_unet"])["configurations"][0]["models"]
    assert missing["profile"] is None
    assert missing["problem"] == "it needs pip install 'umamba[extra]'"
    assert other["profile"]["n_parameters"] > 0
    assert main([*options, "unetrpp,attention_unet"]) == 0
    assert "- `unetrpp`: it needs pip install" in capsys.readouterr().out
    assert main([*options, "unetrpp"]) == 2  # nothing to show
    assert capsys.readouterr().err == "umamba models: it needs pip install 'umamba[extra]'\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--configurations", "4d"], "configuration 4d is not in plans 'nnUNetPlans'"),
        (["--patch-size", "8"], "--patch-size [8] has 1 axes, but 2d has 2"),
        (["--patch-size", "33", "32", "32", "--configurations", "3d_fullres"], "[33, 32, 32]"),
        (["--from", "nnUNetOtherPlans"], "plans 'nnUNetOtherPlans' do not exist"),
        (["--time", "--device", "cuda"], "torch finds no CUDA device here"),
    ],
)
def test_users_mistakes_exit_with_2(
    options: list[str],
    message: str,
    dataset: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([*dataset, "--models", "umamba_bot", *options]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert shown.err.count("\n") == 1


def test_unknown_models_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["models", "--models", "vnet"])
    assert stopped.value.code == 2
    assert "umamba_bot" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["2d", "3d_fullres"])
def test_the_example_is_what_nnunet_plans_for_8_gib(name: str) -> None:
    """Its planner reduces a patch, or raises the batch, until this estimate is its reference."""
    configuration = example_plans()["configurations"][name]
    architecture = configuration["architecture"]
    estimate = ExperimentPlanner.static_estimate_VRAM_usage(
        configuration["patch_size"],
        1,
        2,
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
    )
    reference, batch = {"2d": (85_000_000, 12), "3d_fullres": (560_000_000, 2)}[name]
    assert round(reference / estimate * batch) == configuration["batch_size"]
