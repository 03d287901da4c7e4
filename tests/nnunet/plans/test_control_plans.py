"""`umamba plan` for U-Mamba's controls: names, options, refusals."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from plans_factory import DATASET_JSON, stock_plans
from umamba import registry
from umamba.cli.main import main
from umamba.errors import PlansError
from umamba.nnunet.plans import attention_cost
from umamba.nnunet.plans.derivation import PlanOptions, derive_plans
from umamba.nnunet.plans.files import read_plans
from umamba.nnunet.plans.memory import compare_memory
from umamba.profiling import TrainingMemory

CONTROLS = {
    "nomamba": ("none", "forward"),
    "matched": ("none", "forward"),
    "attention": ("attention", "forward"),
    "lti": ("lti", "forward"),
    "bidirectional": ("mamba", "bidirectional"),
    "axes": ("mamba", "axes"),
    "mamba2": ("mamba2", "forward"),
    "lean_mamba2": ("mamba2", "forward"),
}
PLACES = {"umamba_bot": "nnUNetUMambaBotPlans", "umamba_enc": "nnUNetUMambaEncPlans"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "preprocessed" / "Dataset901_Toy"
    folder.mkdir(parents=True)
    (folder / "nnUNetPlans.json").write_text(json.dumps(stock_plans()))
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
    return folder


def plan(folder: Path, *options: str) -> int:
    return main(["plan", "901", "--preprocessed", str(folder.parent), *options])


def pretend_a_gpu(monkeypatch: pytest.MonkeyPatch, total_memory: int) -> None:
    properties = SimpleNamespace(total_memory=total_memory)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)


def keywords(folder: Path, plans_name: str) -> dict[str, Any]:
    entry = read_plans(folder, plans_name)["configurations"]["3d_fullres"]
    found: dict[str, Any] = entry["architecture"]["arch_kwargs"]
    return found


@pytest.mark.usefixtures("uncounted_memory")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("suffix", CONTROLS)
def test_every_control_is_planned_under_its_own_name(
    place: str, suffix: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan(folder, "--model", f"{place}_{suffix}", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["plans_name"] == f"{PLACES[place]}_{suffix}"
    found = keywords(folder, result["plans_name"])
    assert (found["mixer"], found["scan"]) == CONTROLS[suffix]


def test_options_name_the_same_models() -> None:
    for place in PLACES:
        start = registry.find_architecture(place)
        for suffix, (mixer, scan) in CONTROLS.items():
            if "matched" not in suffix and "lean" not in suffix:
                chosen = registry.with_keywords(start, mixer=mixer, scan=scan)
                assert chosen.name == f"{place}_{suffix}"
                back = registry.with_keywords(chosen, mixer="mamba", scan="forward")
                assert back.name == place
        lean = registry.find_architecture(f"{place}_lean")
        assert registry.with_keywords(lean, mixer="none").name == f"{place}_lean_nomamba"
        matched = registry.find_architecture(f"{place}_matched")
        assert registry.with_keywords(matched, mixer="none") is matched
        assert registry.with_keywords(start, variant="official").name == f"{place}_official"


@pytest.mark.usefixtures("uncounted_memory")
def test_mixer_and_scan_choose_the_plans(folder: Path) -> None:
    assert plan(folder, "--model", "umamba_bot", "--scan", "axes") == 0
    assert keywords(folder, "nnUNetUMambaBotPlans_axes")["scan"] == "axes"
    assert plan(folder, "--model", "umamba_bot_axes", "--scan", "forward", "--mixer", "lti") == 0
    assert keywords(folder, "nnUNetUMambaBotPlans_lti")["mixer"] == "lti"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("umamba_bot", "--mixer", "attention", "--scan", "axes"),
            "model 'umamba_bot' has no mixer 'attention' and scan 'axes'; its network exists as "
            "umamba_bot, umamba_bot_official, umamba_bot_official_nomamba, ",
        ),
        (("umamba_enc_official", "--mixer", "lti"), "'umamba_enc_official' has no mixer 'lti'"),
        (("unetpp", "--mixer", "mamba"), "model 'unetpp' has no mixer 'mamba'"),
        (
            ("umamba_bot_nomamba", "--activation-checkpointing", "mamba"),
            "not for mixer 'none', which has no Mamba layers",
        ),
        (
            (
                *("umamba_enc_attention", "--patch-size", "128", "128", "128"),
                *("--configurations", "3d_lowres"),
            ),
            "a training step of configuration '3d_lowres' with self-attention, patch_size "
            "[128, 128, 128] and batch_size 2 needs an estimated ",
        ),
    ],
)
def test_what_does_not_exist_or_fit_is_refused_and_nothing_is_written(
    options: tuple[str, ...],
    message: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_a_gpu(monkeypatch, 2**30)
    assert plan(folder, "--model", *options) == 2
    assert message in capsys.readouterr().err
    assert len(list(folder.iterdir())) == 2


def test_without_a_gpu_the_largest_common_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    source = stock_plans()
    plans = derive_plans(source, registry.find_architecture("umamba_enc_attention"), PlanOptions())
    alone = plans | {"configurations": {"3d_fullres": plans["configurations"]["3d_fullres"]}}
    memory = compare_memory(source, alone, DATASET_JSON, "")["3d_fullres"]
    check = partial(attention_cost.check_attention, plans, DATASET_JSON, names=["3d_fullres"])
    assert check({"3d_fullres": memory})
    large = replace(memory, derived=TrainingMemory(0, 0, 80 * 2**30 + 1))
    with pytest.raises(
        PlansError, match=r"80\.0 GiB, more than the largest common GPU has \(80\.0"
    ):
        check({"3d_fullres": large})


def test_attention_is_checked_where_it_is_planned_and_its_cost_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_a_gpu(monkeypatch, 10**7)  # enough for 2D, in mixed precision
    command = ("--model", "umamba_enc_attention")
    assert plan(folder, *command) == 2
    assert "more than this machine's GPU has (0.0 GiB)" in capsys.readouterr().err
    assert plan(folder, *command, "--configurations", "2d") == 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert plan(folder, *command, "--overwrite") == 0
    warnings = capsys.readouterr().err
    assert "operations of a forward pass of 3d_fullres: its time grows with the square" in warnings
    plans = read_plans(folder, "nnUNetUMambaEncPlans_attention")
    attention, whole = attention_cost._operations(plans, DATASET_JSON, "3d_fullres")
    # Two matrix products a stage, of two operations for each pair of voxels and each channel.
    assert attention == sum(
        4 * (32 // 2**s) ** 6 * channels for s, channels in enumerate((8, 16, 32))
    )
    assert (
        f"self-attention is {attention / whole:.1%} of the {2 * whole:.2g} operations" in warnings
    )
