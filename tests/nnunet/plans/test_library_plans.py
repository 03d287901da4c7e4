"""Plans for networks of MONAI and of nnU-Net itself."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from plans_factory import DATASET_JSON, stock_plans
from umamba import registry
from umamba.cli.main import main
from umamba.errors import PlansError
from umamba.nnunet.plans.derivation import PlanOptions, derive_plans
from umamba.nnunet.plans.files import read_plans, write_plans
from umamba.nnunet.trust import check_plans

COMMAND = ["plan", "901", "--model"]


def derive(source: dict[str, Any], model: str, **options: Any) -> dict[str, Any]:
    plans = derive_plans(source, registry.find_architecture(model), PlanOptions(**options))
    return json.loads(json.dumps(plans))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The preprocessed folder of a planned data set."""
    folder = tmp_path / "preprocessed" / "Dataset901_Toy"
    folder.mkdir(parents=True)
    (folder / "nnUNetPlans.json").write_text(json.dumps(stock_plans()))
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
    return folder


def plan(folder: Path, *options: str) -> int:
    return main([*COMMAND, *options, "--preprocessed", str(folder.parent)])


@pytest.mark.parametrize(
    ("model", "patch", "rounded"),
    [
        ("segresnet", [20, 320, 256], [24, 320, 256]),
        ("segresnet", [16, 64, 8], [16, 64, 8]),
        ("swinunetr", [20, 320, 256], [32, 320, 256]),
        ("swinunetr", [96, 96, 96], [96, 96, 96]),
        ("swinunetr", [40, 56, 40], [64, 64, 64]),
        ("swinunetr", [32, 28, 32], [32, 32, 64]),  # one voxel alone cannot be normalised
    ],
)
def test_patches_are_rounded_up_and_nothing_is_preprocessed_again(
    model: str, patch: list[int], rounded: list[int]
) -> None:
    source = stock_plans()
    source["configurations"]["3d_fullres"]["patch_size"] = patch
    plans = derive(source, model)
    check_plans(plans, Path("plans.json"))
    for name in source["configurations"]:
        before = PlansManager(source).get_configuration(name)
        after = PlansManager(plans).get_configuration(name)
        assert after.data_identifier == before.data_identifier
        assert after.batch_size == before.batch_size
        assert len(after.pool_op_kernel_sizes[0]) == len(after.patch_size)
    assert plans["configurations"]["3d_fullres"]["patch_size"] == rounded
    assert PlansManager(plans).get_configuration("3d_cascade_fullres").patch_size == rounded
    assert plans["configurations"]["3d_cascade_fullres"] == {
        "inherits_from": "3d_fullres",
        "previous_stage": "3d_lowres",
    }


def test_the_papers_widths_are_planned_or_what_is_asked_for() -> None:
    for model, width in (("segresnet", 32), ("swinunetr", 48)):
        for options, want in (({}, width), ({"features": (24,)}, 24)):
            entries = derive(stock_plans(), model, **options)["configurations"]
            keywords = entries["2d"]["architecture"]["arch_kwargs"]
            assert keywords["features_per_stage"] == [want]
            assert sorted(keywords) == ["conv_op", "features_per_stage", "strides"]


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("swinunetr", {"patch_size": (40, 64, 64)}, r"\[40, 64, 64\].* fits is \[64, 64, 64\]"),
        ("segresnet", {"features": (8, 16)}, "--features takes one number for segresnet"),
        ("nnunet", {}, "need a name of their own, not 'nnUNetPlans', that of their source"),
        ("resenc_l", {}, "need a name of their own, not 'nnUNetResEncUNetLPlans', nnU-Net's"),
        ("segresnet", {"plans_name": "nnUNetResEncUNetXLPlans"}, "XLPlans', nnU-Net's; give"),
        (
            "nnunet",
            {"plans_name": "Mine", "activation_checkpointing": "blocks"},
            "--activation-checkpointing is not for nnunet",
        ),
    ],
)
def test_what_cannot_be_planned_is_named(model: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PlansError, match=message):
        derive(stock_plans(), model, **options)


@pytest.mark.parametrize("residual", [False, True])
def test_nnunets_networks_are_derived_from_each_other(residual: bool) -> None:
    source = stock_plans(residual)  # "2d" is the configuration that has residual blocks

    def keywords(model: str) -> dict[str, Any]:
        plans = derive(source, model, plans_name="Mine", features=(4, 8))
        keywords: dict[str, Any] = plans["configurations"]["2d"]["architecture"]["arch_kwargs"]
        assert keywords["features_per_stage"] == [4, 8, 8, 8]
        return keywords

    plain, resenc = keywords("nnunet"), keywords("resenc_m")
    assert plain["n_conv_per_stage"] == [2, 2, 2, 2]
    assert resenc["n_blocks_per_stage"] == ([2, 2, 2, 2] if residual else [1, 3, 4, 6])
    assert resenc["n_conv_per_stage_decoder"] == ([2, 2, 2] if residual else [1, 1, 1])


def test_nnunets_own_plans_are_used_as_they_are(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "nnUNetPlans.json").read_bytes()
    assert plan(folder, "nnunet") == 0
    shown = capsys.readouterr().out
    assert f"nnU-Net's own plans: {folder / 'nnUNetPlans.json'}\n" in shown
    assert "umamba train 901 3d_fullres 0 -p nnUNetPlans\n" in shown
    assert (folder / "nnUNetPlans.json").read_bytes() == before
    changed = ["nnunet", "--features", "4,8"]
    assert plan(folder, *changed) == 2
    assert "give another --plans-name" in capsys.readouterr().err
    assert plan(folder, *changed, "--plans-name", "Small") == 0
    # Changed plans are ours, whatever network they name.
    assert plan(folder, "nnunet", "--features", "8", "--plans-name", "Small", "--overwrite") == 0
    small = read_plans(folder, "Small")["configurations"]["2d"]["architecture"]
    assert small["arch_kwargs"]["features_per_stage"] == [8, 8, 8, 8]
    assert small["network_class_name"].endswith(".PlainConvUNet")
    with pytest.raises(PlansError, match="holds plans that umamba did not make"):
        write_plans(folder, stock_plans() | {"patched": True}, overwrite=True)
    assert sorted(p.stem for p in folder.iterdir()) == ["Small", "dataset", "nnUNetPlans"]


def test_presets_are_planned_by_nnunets_planner_from_the_fingerprint_that_is_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = folder.parents[1] / "raw" / folder.name
    raw.mkdir(parents=True)
    (raw / "dataset.json").write_text(json.dumps(DATASET_JSON))
    (folder / "dataset_fingerprint.json").write_text("{}")
    planned = []

    def begin(number: int, planner: type) -> None:
        planned.append((number, planner.__name__))
        preset = stock_plans(residual=True) | {"plans_name": "nnUNetResEncUNetXLPlans"}
        (folder / "nnUNetResEncUNetXLPlans.json").write_text(json.dumps(preset))

    api = "nnunetv2.experiment_planning.plan_and_preprocess_api"
    monkeypatch.setattr(f"{api}.plan_experiment_dataset", begin)
    monkeypatch.setattr(f"{api}.extract_fingerprint_dataset", None)
    for _ in range(2):
        assert plan(folder, "resenc_xl", "--raw", str(raw.parent)) == 0
    assert planned == [(901, "nnUNetPlannerResEncXL")]
    with_theirs = ["umamba_bot", "--from", "nnUNetResEncUNetXLPlans", "--plans-name", "Bot"]
    assert plan(folder, *with_theirs) == 0


def test_presets_of_a_data_set_without_its_images_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = folder.parents[1] / "raw" / folder.name
    raw.mkdir(parents=True)
    (raw / "dataset.json").write_text(json.dumps(DATASET_JSON))
    (folder / "dataset_fingerprint.json").write_text("{}")
    images = str(raw / "imagesTr")

    def begin(*_: object) -> None:  # as nnU-Net's planner does, which reads the first image
        raise FileNotFoundError(2, "No such file or directory", images)

    api = "nnunetv2.experiment_planning.plan_and_preprocess_api"
    monkeypatch.setattr(f"{api}.plan_experiment_dataset", begin)
    assert plan(folder, "resenc_l", "--raw", str(raw.parent)) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith(f"umamba plan: nnU-Net refuses {raw}")
    assert images in message


def test_rounding_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("monai")
    source = stock_plans()
    source["configurations"]["3d_fullres"]["patch_size"] = [20, 32, 32]
    (folder / "nnUNetPlans.json").write_text(json.dumps(source))
    assert plan(folder, "segresnet", "--features", "8") == 0
    lines = capsys.readouterr().err.splitlines()
    notes = [line for line in lines if line.startswith("note: patch_size")]
    why = "is [24, 32, 32] instead of [20, 32, 32], as segresnet needs multiples of 8"
    assert notes == [
        f"note: patch_size of {name} {why}" for name in ("3d_fullres", "3d_cascade_fullres")
    ]


def test_without_monai_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks", None)
    assert plan(folder, "swinunetr") == 2
    assert "run `pip install 'umamba[monai]'`" in capsys.readouterr().err
    assert len(list(folder.iterdir())) == 2
