"""Derived plans keep what they should, change what they must, and never touch the user's."""

import json
import math
import pydoc
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from plans_factory import DATASET_JSON, architecture, old_plans, stock_plans
from reference_cases import GOLDEN, golden
from umamba import registry
from umamba.cli.main import main
from umamba.errors import PlansError, UMambaError
from umamba.nnunet.plans.architectures import check_patch
from umamba.nnunet.plans.derivation import PlanOptions, Plans, derive_plans, resolve
from umamba.nnunet.plans.files import keep_existing, read_plans, write_plans
from umamba.nnunet.plans.fitting import fit_to_memory, gpu_memory
from umamba.nnunet.plans.memory import (
    MemoryComparison,
    compare_memory,
    memory_table,
    planned_memory,
)
from umamba.nnunet.plans.networks import build_network
from umamba.patches import describe_small_map
from umamba.profiling import TrainingMemory, estimate_training_memory
from umamba.registry import find_architecture
from umamba.topologies import MedNeXtBlocks

SOURCES = {"plain": stock_plans, "residual": lambda: stock_plans(residual=True), "old": old_plans}


def derive(source: dict[str, Any], model: str = "umamba_bot", **options: Any) -> dict[str, Any]:
    architecture = registry.find_architecture(model)
    return derive_plans(source, architecture, PlanOptions(**options), DATASET_JSON)


def compared(
    source: Plans, derived: Plans, name: str = "2d", **options: Any
) -> dict[str, MemoryComparison]:
    """Compare the memory of one configuration."""
    alone = derived | {"configurations": {name: derived["configurations"][name]}}
    return compare_memory(source, alone, DATASET_JSON, "umamba plan 1 --model x", **options)


def build(plans: dict[str, Any], name: str) -> torch.nn.Module:
    """Build as stock nnU-Net does."""
    configuration = PlansManager(plans).get_configuration(name)
    with torch.device("meta"):
        return get_network_from_plans(
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            1,
            3,
            allow_init=True,
            deep_supervision=True,
        )


# Sizes differ in numbers only.
SIZES = ("mednext_s", "mednext_l_k5", "primus_v2_s", "primus_v2_s_identity")
PLANNED = [
    architecture.name
    for architecture in registry.architectures()
    if architecture.family not in ("mednext", "primus") or architecture.name in SIZES
]
# How a plan is written matters to none of them in particular.
FEW = ("nnunet", "umamba_bot", "umamba_enc_official", "unetrpp", "mednext_s")


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        *(("plain", model) for model in PLANNED),
        *((kind, model) for kind in ("residual", "old") for model in FEW),
    ],
)
def test_every_configuration_builds_in_stock_nnunet(kind: str, model: str) -> None:
    source = SOURCES[kind]()
    untouched = deepcopy(source)
    architecture = registry.find_architecture(model)
    plans_name = "MinePlans" if architecture.planner else None
    if architecture.extra:
        pytest.importorskip(architecture.extra)
    features = None if architecture.topology.follows_plan else (72,)
    options = {"plans_name": plans_name, "features": features}
    plans = json.loads(json.dumps(derive(source, model, **options)))
    assert source == untouched
    assert plans["plans_name"] == (plans_name or architecture.plans_name)
    names = [n for n in source["configurations"] if n != "2d" or 2 in architecture.dims]
    assert list(plans["configurations"]) == names
    for name in names:
        before = PlansManager(deepcopy(source)).get_configuration(name)
        after = PlansManager(plans).get_configuration(name)
        kept = ("data_identifier", "batch_size")
        arguments: tuple[str, ...] = ("conv_op",)
        if architecture.topology.follows_plan:
            kept += ("patch_size", "pool_op_kernel_sizes")
            arguments += ("n_stages", "strides")
            own = isinstance(architecture.topology, MedNeXtBlocks)  # kernels and widths
            if not own:
                arguments += ("kernel_sizes", "norm_op")
            if architecture.parameters_of is None and not own:
                arguments += ("features_per_stage",)
        for key in kept:
            assert getattr(after, key) == getattr(before, key), (name, key)
        for key in arguments:
            assert after.network_arch_init_kwargs[key] == before.network_arch_init_kwargs[key]
        network = build(plans, name)
        assert type(network) is pydoc.locate(architecture.class_path)
    assert plans["configurations"]["3d_cascade_fullres"] == {
        "inherits_from": "3d_fullres",
        "previous_stage": "3d_lowres",
    }


def test_old_format_keys_are_gone_and_features_are_capped() -> None:
    entry = derive(old_plans())["configurations"]["2d"]
    assert "UNet_class_name" not in entry
    assert "conv_kernel_sizes" not in entry
    assert entry["architecture"]["arch_kwargs"]["features_per_stage"] == [8, 16, 20, 20]


def test_activation_checkpointing_for_one_configuration() -> None:
    options = {"activation_checkpointing": "blocks", "configurations": ("3d_fullres",)}
    plans = derive(stock_plans(), **options)
    entries = plans["configurations"]
    given = {
        name: entry["architecture"]["arch_kwargs"].get("activation_checkpointing")
        for name, entry in entries.items()
        if "architecture" in entry
    }
    assert given.pop("3d_fullres") == "blocks"
    assert given
    assert set(given.values()) == {"norms"}  # the default
    kept = derive(stock_plans(), activation_checkpointing="none")
    name = "3d_fullres"
    before, after = (compared(stock_plans(), one, name)[name] for one in (kept, plans))
    assert after.derived.saved_bytes < 0.6 * before.derived.saved_bytes
    build(plans, "3d_fullres")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("plans_bot_3d_real", "bot"), ("plans_enc_2d_real", "enc"), ("plans_enc_3d_small", "enc")],
)
def test_official_networks_are_those_of_the_authors_from_plans_functions(
    name: str, kind: str
) -> None:
    stored = golden(f"{name}.pt")
    theirs = stored["plans"]
    source = stock_plans()
    entry = source["configurations"]["3d_fullres"]
    del entry["architecture"]
    entry |= {key: theirs[key] for key in theirs if key != "dim"}
    entry |= {"UNet_class_name": "PlainConvUNet", "num_pool_per_axis": []}
    plans = derive(source, f"umamba_{kind}_official", configurations=("3d_fullres",))
    keywords = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    for key in ("features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage"):
        assert keywords[key] == stored["constructor_kwargs"][key], key
    state = build(plans, "3d_fullres").state_dict()
    assert {k: list(v.shape) for k, v in state.items()} == {
        k: stored["key_shapes"][k] for k in stored["unique_keys"]
    }


def test_paper_has_two_residual_blocks_a_stage() -> None:
    keywords = derive(stock_plans())["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    assert keywords["n_conv_per_stage"] == [2, 2, 2]
    assert keywords["n_conv_per_stage_decoder"] == [2, 2]
    assert keywords["variant"] == "paper"
    assert "input_size" not in keywords


@pytest.mark.parametrize("model", ["unetpp", "unetpp_nested", "attention_unet"])
def test_plain_rivals_have_the_convolutions_of_the_plain_unet(model: str) -> None:
    def counts(source: dict[str, Any], name: str) -> tuple[list[int], list[int]]:
        entry = derive(source, model)["configurations"][name]["architecture"]["arch_kwargs"]
        return entry["n_conv_per_stage"], entry["n_conv_per_stage_decoder"]

    plain, old, residual = stock_plans(), old_plans(), stock_plans(residual=True)
    keywords = plain["configurations"]["2d"]["architecture"]["arch_kwargs"]
    keywords |= {"n_conv_per_stage": [1, 2, 3, 4], "n_conv_per_stage_decoder": [3, 2, 1]}
    assert counts(plain, "2d") == ([1, 2, 3, 4], [3, 2, 1])
    old["configurations"]["2d"]["n_conv_per_stage_encoder"] = [1, 2, 3, 4]
    assert counts(old, "2d") == ([1, 2, 3, 4], [2, 2, 2])
    blocks = residual["configurations"]["2d"]["architecture"]["arch_kwargs"]
    blocks |= {"n_blocks_per_stage": [1, 3, 4, 6], "n_conv_per_stage_decoder": [1, 1, 1]}
    assert counts(residual, "2d") == ([2, 2, 2, 2], [2, 2, 2])


def test_official_enc_carries_the_patch_of_every_configuration() -> None:
    source = stock_plans()
    source["configurations"]["3d_cascade_fullres"]["patch_size"] = [16, 32, 48]
    entries = derive(source, "umamba_enc_official")["configurations"]
    sizes = {n: e["architecture"]["arch_kwargs"]["input_size"] for n, e in entries.items()}
    assert sizes["3d_fullres"] == [32, 32, 32]
    assert sizes["3d_cascade_fullres"] == [16, 32, 48]


def test_unetrpp_carries_the_patch_and_embeds_patches_of_deep_plans() -> None:
    source = stock_plans()
    deep = source["configurations"]["3d_fullres"]
    deep["patch_size"] = [32, 64, 64]
    deep["architecture"] = architecture(3, 5)
    given = deep["architecture"]["arch_kwargs"]
    given["strides"][1:3] = [[1, 2, 2], [2, 2, 2]]
    given["kernel_sizes"][:3] = [[1, 3, 3], [1, 5, 5], [3, 3, 3]]
    entries = derive(source, "unetrpp")["configurations"]
    kept = entries["3d_lowres"]["architecture"]["arch_kwargs"]
    assert kept["strides"] == [[1, 1, 1], [2, 2, 2], [2, 2, 2]]
    assert kept["n_conv_per_stage"] == [1, 3, 3]
    assert kept["n_conv_per_stage_decoder"] == [3, 1]
    assert kept["input_size"] == [32, 32, 32]
    merged = entries["3d_fullres"]["architecture"]["arch_kwargs"]
    assert merged["n_stages"] == 4
    assert merged["strides"] == [[1, 1, 1], [2, 4, 4], [2, 2, 2], [2, 2, 2]]
    assert merged["kernel_sizes"] == [[1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]]
    assert merged["features_per_stage"] == [8, 16, 32, 64]
    assert merged["input_size"] == [32, 64, 64]
    plans = derive(source, "unetrpp", features=(4, 8))
    with torch.device("meta"):
        outputs = build(plans, "3d_fullres")(torch.empty(1, 1, 32, 64, 64))
    scales = 1 / np.cumprod(merged["strides"], axis=0)[:-1]
    assert [list(y.shape[2:]) for y in outputs] == [
        list(np.round(np.array([32, 64, 64]) * scale).astype(int)) for scale in scales
    ]
    assert plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"][
        "features_per_stage"
    ] == [4, 8, 8, 8]


def test_options_change_what_they_say() -> None:
    changes = {"features": (4, 8), "patch_size": (16, 24, 32), "batch_size": 3}
    plans = derive(stock_plans(), plans_name="Mine", **changes)
    assert plans["plans_name"] == "Mine"
    assert list(plans["configurations"]) == list(stock_plans()["configurations"])
    for name in ("3d_lowres", "3d_fullres"):
        entry = plans["configurations"][name]
        assert entry["patch_size"] == [16, 24, 32]
        assert entry["batch_size"] == 3
        assert entry["architecture"]["arch_kwargs"]["features_per_stage"] == [4, 8, 8]
    assert plans["configurations"]["2d"]["patch_size"] == [32, 32]


@pytest.mark.parametrize("named", ["3d_fullres", "3d_cascade_fullres"])
def test_options_are_for_the_configurations_that_are_named(named: str) -> None:
    changes = {"features": (4,), "patch_size": (16, 24, 32), "batch_size": 3}
    plans = derive(stock_plans(), configurations=(named,), **changes)
    resolved = PlansManager(plans).get_configuration(named)
    assert resolved.patch_size == [16, 24, 32]
    assert resolved.batch_size == 3
    assert resolved.network_arch_init_kwargs["features_per_stage"] == [4, 4, 4]
    untouched = PlansManager(plans).get_configuration("3d_lowres")
    assert untouched.patch_size == [32, 32, 32]
    assert untouched.network_arch_init_kwargs["features_per_stage"] == [8, 16, 32]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plans_name": "../elsewhere"}, "cannot be part of the names of"),
        ({"plans_name": "a__b"}, "single underscores"),
        ({"plans_name": "nnUNetPlans"}, "need a name of their own, not 'nnUNetPlans'"),
        ({"configurations": ("3d",)}, "configuration 3d is not in plans .* they have 2d, 3d_low"),
        ({"patch_size": (32,)}, r"--patch-size \[32\] has 1 axes, but 2d has 2, 3d_lowres has 3"),
        ({"patch_size": (30, 32, 32)}, r"\[30, 32, 32\].*total stride \[4, 4, 4\].*\[32, 32, 32\]"),
        (
            {"patch_size": (4, 4, 4)},
            r"\[4, 4, 4\].* leaves one voxel .* fits is \[4, 4, 8\]\. Plan",
        ),
        ({"patch_size": (3, 4, 4)}, r"is not divisible .* patch that fits is \[4, 4, 8\]\. Plan"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PlansError, match=message):
        derive(stock_plans(), **options)


def test_sources_that_cannot_be_used_are_named() -> None:
    ours = derive(stock_plans())
    with pytest.raises(
        PlansError, match="trains UMambaBot; plans can be derived only from those of"
    ):
        derive(ours, plans_name="Again")
    circle = stock_plans()
    circle["configurations"]["3d_fullres"]["inherits_from"] = "3d_cascade_fullres"
    with pytest.raises(PlansError, match="inherits from itself"):
        derive(circle)
    with pytest.raises(PlansError, match="model 'vnet' does not exist; choose one of umamba_bot"):
        registry.find_architecture("vnet")


def test_files_are_written_whole_and_never_over_someone_elses(tmp_path: Path) -> None:
    source = stock_plans()
    stock = tmp_path / "nnUNetPlans.json"
    stock.write_text(json.dumps(source))
    before = stock.read_bytes()
    plans = derive(source)
    path = write_plans(tmp_path, plans)
    assert path.name == "nnUNetUMambaBotPlans.json"
    assert read_plans(tmp_path, "nnUNetUMambaBotPlans") == plans
    assert write_plans(tmp_path, plans) == path  # twice is once
    changed = derive(source, batch_size=7)
    with pytest.raises(PlansError, match="exists with other contents"):
        write_plans(tmp_path, changed)
    write_plans(tmp_path, changed, overwrite=True)
    assert read_plans(tmp_path, "nnUNetUMambaBotPlans")["configurations"]["2d"]["batch_size"] == 7
    with pytest.raises(PlansError, match="holds plans that umamba did not make"):
        write_plans(tmp_path, plans | {"plans_name": "nnUNetPlans"}, overwrite=True)
    assert stock.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "nnUNetPlans.json",
        "nnUNetUMambaBotPlans.json",
    ]


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "afile").touch()
    with pytest.raises(UMambaError, match=r"cannot make .*UMambaBotPlans\.json: Not a directory"):
        write_plans(tmp_path / "afile", derive(stock_plans()))
    raw = tmp_path / "raw" / "Dataset901_Toy"
    raw.mkdir(parents=True)
    (raw / "dataset.json").write_text(json.dumps(DATASET_JSON))
    command = ["plan", "901", "--model", "umamba_bot", "--raw", str(raw.parent)]
    assert main([*command, "--preprocessed", str(tmp_path / "afile")]) == 2
    message = capsys.readouterr().err
    assert f"nothing can be written to {tmp_path / 'afile' / raw.name} (Not a directory)" in message
    assert "another folder as --preprocessed" in message


def test_missing_or_broken_plans_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(PlansError, match=r"'nnUNetPlans' do not exist.*there are no plans yet"):
        read_plans(tmp_path, "nnUNetPlans")
    (tmp_path / "nnUNetPlans.json").write_text("{")
    with pytest.raises(PlansError, match="cannot read the plans"):
        read_plans(tmp_path, "nnUNetPlans")
    with pytest.raises(PlansError, match=r"'Other' do not exist.*there are nnUNetPlans"):
        read_plans(tmp_path, "Other")


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        '{"configurations": {}}',
        '{"configurations": []}',
        '{"configurations": {"2d": 1}}',
    ],
)
def test_files_that_hold_no_plans_are_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "nnUNetPlans.json").write_text(content)
    with pytest.raises(PlansError, match=r"nnUNetPlans.json holds no plans: they need"):
        read_plans(tmp_path, "nnUNetPlans")


def test_a_patch_with_other_axes_than_its_network_is_named() -> None:
    source = stock_plans()
    source["configurations"]["2d"]["patch_size"] = [32, 32, 32]
    wanted = r"\[32, 32, 32\] of configuration '2d' has 3 axes, but the strides .* have 2; correct"
    with pytest.raises(PlansError, match=wanted):
        derive(source)
    with pytest.raises(PlansError, match=wanted):
        check_patch("2d", source["configurations"]["2d"])


def test_memory_is_compared_and_advice_fits() -> None:
    source = stock_plans()
    source["configurations"]["2d"]["batch_size"] = 12
    memory = compared(
        source, derive(source, "umamba_enc_official", activation_checkpointing="none")
    )
    row = memory["2d"]
    assert row.derived.total_bytes > row.source.total_bytes
    command = "umamba plan 1 --model x --configurations 2d"
    options = re.fullmatch(
        rf"({command} --activation-checkpointing (\w+)(?: --batch-size (\d+))? --overwrite) needs "
        "no more",
        row.advice,
    )
    assert options is not None
    smaller = derive(
        source,
        "umamba_enc_official",
        batch_size=int(options[3] or 12),
        activation_checkpointing=options[2],
    )
    assert not compared(source, smaller)["2d"].advice
    assert f"more than its source: {options[1]} needs no more" in memory_table(memory)
    # What the plans have besides is repeated.
    given = derive(source, "umamba_enc", activation_checkpointing="blocks", batch_size=60)
    found = re.search(
        r" --activation-checkpointing blocks --batch-size (\d+) ",
        compared(source, given)["2d"].advice,
    )
    assert found is not None
    changes = {"activation_checkpointing": "blocks", "batch_size": int(found[1])}
    assert not compared(source, derive(source, "umamba_enc", **changes))["2d"].advice
    wide = compared(source, derive(source, features=(2000,)))
    assert "fewer channels (--features, such as half of each)" in wide["2d"].advice
    small = compared(source, derive(source, features=(2,)))
    assert not small["2d"].advice


def test_mixed_precision_halves_feature_maps_but_not_weights() -> None:
    source = stock_plans()
    derived = derive(source)
    full, half = (compared(source, derived, device=d)["2d"].derived for d in ("mps", "cuda"))
    assert full.n_parameters == half.n_parameters
    assert 0.45 < half.saved_bytes / full.saved_bytes < 0.6
    assert half.total_bytes > 8 * half.n_parameters
    table = memory_table(compared(source, derived, device="cuda"))
    assert "mixed precision" in table
    assert "`export nnUNet_compile=f` trains without it" in table


def test_the_estimate_follows_the_recipe() -> None:
    source = stock_plans()
    derived = derive(source, "mednext_s")
    sgd, adam = (compared(source, derived, recipe=r)["2d"] for r in ("nnunet", "mednext"))
    more = adam.derived.total_bytes - sgd.derived.total_bytes
    assert more == 4 * adam.derived.n_parameters
    assert adam.source == sgd.source
    assert "optimiser of recipe mednext" in memory_table({"2d": adam})


def test_patch_and_batch_are_planned_for_a_gpu() -> None:
    gib = 0.9
    source, dataset_json = stock_plans(), DATASET_JSON | {"numTraining": 100}
    for configuration in source["configurations"].values():
        if "median_image_size_in_voxels" in configuration:
            size = [90, 100, 110][3 - len(configuration["patch_size"]) :]
            configuration["median_image_size_in_voxels"] = size
    architecture = find_architecture("umamba_bot")
    options = PlanOptions(configurations=("3d_fullres",))
    fitted = fit_to_memory(source, architecture, options, dataset_json, gib)
    plans = derive_plans(fitted, architecture, options, dataset_json)
    for name in ("3d_fullres",):
        needed = [
            estimate_training_memory(*network._replace(batch_size=batch), device="cuda").total_bytes
            for network in [build_network(plans, dataset_json, name)]
            for batch in (network.batch_size, network.batch_size + 1)
        ]
        limit = 0.9 * (gib - 0.6) * 2**30
        entry = plans["configurations"][name]
        most = round(0.05 * 100 * 90 * 100 * 110 / math.prod(entry["patch_size"]))  # nnU-Net's rule
        assert needed[0] <= limit
        assert needed[1] > limit or entry["batch_size"] == max(2, most)
    keys = ("spacing", "data_identifier")
    assert all(
        plans["configurations"]["3d_fullres"][k] == source["configurations"]["3d_fullres"][k]
        for k in keys
    )


def test_a_larger_gpu_gets_a_larger_patch_and_what_cannot_fit_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    source, dataset_json = stock_plans(), DATASET_JSON | {"numTraining": 100}
    source["configurations"]["3d_fullres"]["median_image_size_in_voxels"] = [128, 128, 128]
    architecture = find_architecture("nnunet")
    only = PlanOptions(plans_name="other", configurations=("3d_fullres",))
    voxels = []
    for gib in (0.7, 0.9):
        fitted = fit_to_memory(source, architecture, only, dataset_json, gib)
        voxels.append(math.prod(fitted["configurations"]["3d_fullres"]["patch_size"]))
    assert voxels[0] < voxels[1]
    with pytest.raises(PlansError, match=r"does not fit: even patch_size .* use fewer channels"):
        fit_to_memory(source, architecture, only, dataset_json, 0.6001)
    with pytest.raises(PlansError, match=r"--gpu-memory 0\.5 leaves nothing: the driver alone"):
        fit_to_memory(source, architecture, only, dataset_json, 0.5)
    cascade = PlanOptions(plans_name="other", configurations=("3d_cascade_fullres",))
    with pytest.raises(PlansError, match="3d_cascade_fullres has no patch of its own"):
        fit_to_memory(source, architecture, cascade, dataset_json, 8.0)
    with pytest.raises(UMambaError, match="there is no GPU here; give the memory"):
        gpu_memory("auto")


def test_plans_from_before_a_default_changed_stay_as_they_are(tmp_path: Path) -> None:
    earlier = derive(stock_plans(), activation_checkpointing="none")
    path = write_plans(tmp_path, earlier)
    now = derive(stock_plans())
    assert keep_existing(tmp_path, now) == json.loads(path.read_text()) != now
    other = derive(stock_plans(), batch_size=7)
    assert keep_existing(tmp_path, other) == other


@pytest.mark.usefixtures("uncounted_memory")
def test_advice_is_followed_for_one_configuration_after_the_other(tmp_path: Path) -> None:
    folder = tmp_path / "preprocessed" / "Dataset901_Toy"
    folder.mkdir(parents=True)
    (folder / "nnUNetPlans.json").write_text(json.dumps(stock_plans()))
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
    command = ["plan", "901", "--model", "umamba_bot", "--preprocessed", str(folder.parent)]
    assert main([*command, "--configurations", "2d", "--batch-size", "5"]) == 0
    again = ["--configurations", "3d_fullres", "--batch-size", "3", "--overwrite"]
    assert main([*command, *again]) == 0
    entries = read_plans(folder, "nnUNetUMambaBotPlans")["configurations"]
    sizes = {name: entry.get("batch_size") for name, entry in entries.items()}
    assert sizes == {"2d": 5, "3d_lowres": 2, "3d_fullres": 3, "3d_cascade_fullres": None}
    assert main([*command, "--overwrite"]) == 0  # without --configurations all begin anew
    assert read_plans(folder, "nnUNetUMambaBotPlans") == derive(stock_plans())


def test_advice_is_only_for_the_configurations_that_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def twice_of_ours(plans: Plans, _: Any, name: str, **__: Any) -> TrainingMemory:
        times = 2 if plans["plans_name"] == "nnUNetUMambaBotPlans" else 1
        return TrainingMemory(1, 1, times * 2**20 * resolve(plans, name)["batch_size"])

    folder = tmp_path / "preprocessed" / "Dataset901_Toy"
    folder.mkdir(parents=True)
    source = stock_plans()
    for name in ("2d", "3d_fullres"):
        source["configurations"][name]["batch_size"] = 8
    (folder / "nnUNetPlans.json").write_text(json.dumps(source))
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
    monkeypatch.setattr("umamba.nnunet.plans.memory.planned_memory", twice_of_ours)
    command = ["plan", "901", "--model", "umamba_bot", "--preprocessed", str(folder.parent)]
    assert main([*command, "--features", "4,8", "--configurations", "2d"]) == 0
    advice = re.findall(r"more than its source: (.*) needs no more", capsys.readouterr().out)
    assert len(advice) == 1
    assert "--features 4,8" in advice[0]
    assert "--configurations 2d " in advice[0]


@pytest.mark.usefixtures("uncounted_memory")
def test_plans_for_a_gpu_are_those_that_were_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "preprocessed" / "Dataset901_Toy"
    folder.mkdir(parents=True)
    (folder / "nnUNetPlans.json").write_text(json.dumps(stock_plans()))
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON | {"numTraining": 100}))
    little = TrainingMemory(1, 1, 1)
    monkeypatch.setattr("umamba.nnunet.plans.fitting.planned_memory", lambda *_, **__: little)
    command = ["plan", "901", "--model", "umamba_bot", "--preprocessed", str(folder.parent)]
    command += ["--gpu-memory", "24"]
    assert main([*command, "--activation-checkpointing", "none"]) == 0
    assert main(command) == 2  # as they are not the plans that are there
    assert main([*command, "--overwrite"]) == 0
    written = read_plans(folder, "nnUNetUMambaBotPlans")["configurations"]["3d_fullres"]
    assert written["architecture"]["arch_kwargs"]["activation_checkpointing"] == "norms"


@pytest.mark.usefixtures("uncounted_memory")
def test_the_table_shows_another_patch_or_batch_of_the_source() -> None:
    source = stock_plans()
    assert "its source" not in memory_table(compared(source, derive(source)))
    smaller = derive(source, configurations=("2d",), patch_size=(16, 24), batch_size=5)
    table = memory_table(compared(source, smaller))
    assert re.search(r"2d +16x24 +5 ", table)
    assert "its source has patch 32x32 and batch 2" in table


@pytest.mark.usefixtures("uncounted_memory")
@pytest.mark.parametrize(
    ("model", "trainer", "why"),
    [
        ("umamba_bot", "", "the authors' commands"),
        ("unetpp", "", None),
        ("attention_unet", "", None),
        ("unetpp_nested", " -tr nnUNetTrainerUMamba", "Stock nnU-Net's trainer has no loss"),
    ],
)
def test_the_commands_that_are_shown_train_the_model(
    model: str, trainer: str, why: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "preprocessed" / "Dataset901_Toy"
    folder.mkdir(parents=True)
    (folder / "nnUNetPlans.json").write_text(json.dumps(stock_plans()))
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
    command = ["plan", "901", "--model", model, "--preprocessed", str(folder.parent)]
    assert main(command) == 0
    shown = capsys.readouterr().out
    name = registry.find_architecture(model).plans_name
    device = "" if torch.cuda.is_available() else " -device cpu"
    assert f"nnUNetv2_train 901 3d_fullres 0 -p {name}{trainer}{device}\n" in shown
    assert ("export nnUNet_extTrainer=" in shown) == (why is not None)
    assert (why or "Train and predict") in shown
    assert ("the authors' commands" in shown) == (model == "umamba_bot")


def test_what_a_model_does_not_have_is_refused_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "preprocessed" / "Dataset901_Toy"
    folder.mkdir(parents=True)
    (folder / "nnUNetPlans.json").write_text(json.dumps(stock_plans()))
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
    command = ["plan", "901", "--model", "unetpp", "--preprocessed", str(folder.parent)]
    assert main([*command, "--variant", "official"]) == 2
    assert "model 'unetpp' has no variant 'official'" in capsys.readouterr().err
    assert main([*command, "--activation-checkpointing", "mamba"]) == 2
    assert (
        "is not for UMambaUNetPlusPlus; choose none or norms or blocks" in capsys.readouterr().err
    )
    assert len(list(folder.iterdir())) == 2


def test_fork_plans_are_a_valid_source() -> None:
    source = read_plans(GOLDEN / "fork_model", "plans")
    plans = derive(source, "umamba_enc_official")
    assert sum(p.numel() for p in build(plans, "3d_fullres").parameters()) > 0


def test_a_patch_too_small_for_the_stages_is_named() -> None:
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]]
    said = describe_small_map([16, 64, 64], strides)
    assert said == (
        "leaves 2 x 2 x 2 in the deepest of 6 stages, 8 voxels in all, whereas nnU-Net's planner "
        "keeps 4 along every axis; a patch that does so is [32, 128, 128]"
    )
    assert describe_small_map([32, 128, 128], strides) == ""
    assert describe_small_map([3, 16, 16], [[1, 1, 1], [1, 2, 2], [1, 2, 2]]) == ""  # not pooled


@pytest.mark.usefixtures("uncounted_memory")
def test_the_tokens_that_mamba_is_left_with_are_said_when_planning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "preprocessed" / "Dataset901_Toy"
    folder.mkdir(parents=True)
    (folder / "nnUNetPlans.json").write_text(json.dumps(stock_plans()))
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
    command = ["plan", "901", "--model", "umamba_bot", "--preprocessed", str(folder.parent)]
    assert main(command) == 0
    assert "warning" not in capsys.readouterr().err
    small = ["--patch-size", "8", "8", "8", "--configurations", "3d_fullres", "--plans-name", "S"]
    assert main([*command, *small]) == 0
    said = capsys.readouterr().err
    assert (
        "warning: patch_size [8, 8, 8] of 3d_fullres leaves 2 x 2 x 2 in the deepest of 3" in said
    )
    assert "(mamba mixes only that many tokens there). Plan with a larger --patch-size" in said
    assert main([*command, "--patch-size=8,8,8", "--mixer=none", "--plans-name=N"]) == 0
    assert "mixes only that many tokens" not in capsys.readouterr().err


@pytest.mark.usefixtures("uncounted_memory")
def test_days_on_a_cpu_are_told_when_planning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "preprocessed" / "Dataset901_Toy"
    folder.mkdir(parents=True)
    (folder / "nnUNetPlans.json").write_text(json.dumps(stock_plans()))
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
    command = ["plan", "901", "--model", "umamba_bot", "--preprocessed", str(folder.parent)]
    for device, seconds, answer in (
        ("cpu", 0.2, ""),
        ("cuda", 3.0, ""),
        ("cpu", 3.0, "the default 1000 epochs of 3d_fullres would take about 9 days, estimated"),
    ):
        monkeypatch.setattr("umamba.nnunet.planning.pick_device", lambda _, d=device: d)
        monkeypatch.setattr("umamba.nnunet.planning.estimate_seconds", lambda _, s=seconds: s)
        assert main(command) == 0
        said = capsys.readouterr().err
        assert answer in said
        assert ("fewer --epochs (such as 50)" in said) == bool(answer)


def test_planned_memory_is_counted_anew_for_another_number_of_threads(monkeypatch):
    def estimate(*_: Any, **__: Any) -> TrainingMemory:
        return TrainingMemory(1, 1, torch.get_num_threads())

    monkeypatch.setattr("umamba.nnunet.plans.memory.estimate_training_memory", estimate)
    for n_threads in (101, 102):  # with which no other test counts
        monkeypatch.setattr(torch, "get_num_threads", lambda n=n_threads: n)
        assert planned_memory(stock_plans(), DATASET_JSON, "2d").peak_bytes == n_threads
