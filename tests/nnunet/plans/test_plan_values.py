"""Values of plans, dataset.json and checkpoints out of all bounds, the same for every command."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model_factory import write_image, write_model
from plans_factory import DATASET_JSON, old_plans, stock_plans
from toy import NAME, voxels
from toy_model import MODEL, toy_plans, write_toy_model
from umamba.cli.main import main
from umamba.errors import PlansError, UMambaError
from umamba.nnunet.checkpoints.contents import without_prefixes
from umamba.nnunet.model_loading import read_model
from umamba.nnunet.plans.networks import build_network
from umamba.nnunet.trust import check_dataset_json, check_plans

FILE = Path("plans.json")
CONFIGURATION = ("configurations", "3d_fullres")
KEYWORDS = (*CONFIGURATION, "architecture", "arch_kwargs")
INFINITE, NOT_A_NUMBER = float("inf"), float("nan")
FINAL = "checkpoint_final.pth"

WRONG_VALUES: list[tuple[tuple[str, ...], list[Any]]] = [
    (
        (*CONFIGURATION, "spacing"),
        [
            *([1, 1, 0], [1, 1, -1], "1", [1, "1", 1], [1], [1, NOT_A_NUMBER, 1], [1, INFINITE, 1]),
            *([1e-300] * 3, [1e14] * 3),
        ],
    ),
    (
        (*CONFIGURATION, "patch_size"),
        [[0, 8, 8], [8.0, 8, 8], [10**6] * 3, [8], [8] * 4, None, [True] * 3, [10**30] * 3],
    ),
    ((*CONFIGURATION, "batch_size"), [0, -1, "2", 2.5, 10**9, True]),
    ((*CONFIGURATION, "use_mask_for_norm"), ["yes", [0], {}]),
    ((*CONFIGURATION, "inherits_from"), [["3d_fullres"], 3]),
    ((*CONFIGURATION, "resampling_fn_data_kwargs"), [[], {"order": [1]}, {"order": INFINITE}]),
    ((*CONFIGURATION, "resampling_fn_seg_kwargs"), [{"order": 6}, {"order": 1, "order_z": -1}]),
    ((*KEYWORDS, "n_stages"), [0, 10**5, "3", 2.0]),
    ((*KEYWORDS, "n_conv_per_stage"), [10**6, [10**6] * 3, [-1] * 3, ["2"] * 3, None]),
    ((*KEYWORDS, "features_per_stage"), [10**6, [0, 1, 2], ["a", 1, 2], [[8]] * 3]),
    ((*KEYWORDS, "strides"), [[[0, 1, 1]] * 3, 10**9, [[1.5] * 3] * 3, [[[1]]] * 3]),
    ((*KEYWORDS, "kernel_sizes"), [[[0, 3, 3]] * 3, [[10**6] * 3] * 3, "3"]),
    ((*KEYWORDS, "norm_op_kwargs"), [{"eps": INFINITE}, {"a": {"b": [[[[[[1]]]]]]}}]),
    ((*KEYWORDS, "anything"), [10**9, [1] * 20_000, "x" * 10_000, NOT_A_NUMBER]),
    (("transpose_forward",), [[0, 1], [0, 1, 1], [0, 1, 3], "012", [True, 0, 2], [0.0, 1, 2]]),
    (("transpose_backward",), [[1, 2, 0], [0, 1]]),
    (("foreground_intensity_properties_per_channel",), [[], {"0": 3}]),
    (("original_median_spacing_after_transp",), [[0, 1, 1], [INFINITE] * 3]),
    (("configurations",), [{str(i): {} for i in range(101)}, [], {}]),
]


def put(content: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    entry = content
    for key in place[:-1]:
        entry = entry[key]
    entry[place[-1]] = value
    return content


@pytest.mark.parametrize(("place", "values"), WRONG_VALUES, ids=lambda v: str(v[-1])[:30])
def test_values_that_cannot_be_are_named_with_their_place(
    place: tuple[str, ...], values: list[Any]
) -> None:
    for value in values:
        for trusted in (False, True):
            plans = json.loads(json.dumps(put(stock_plans(), place, value)))
            with pytest.raises(PlansError) as refused:
                check_plans(plans, FILE, trusted=trusted)
            text = str(refused.value)
            assert place[-1] in text
            assert len(text) < 500
            assert "\n" not in text


def test_resampling_takes_its_own_options_only(tmp_path: Path) -> None:
    changes = {"resampling_fn_seg_kwargs": {"nope": 1}}
    model = write_model(tmp_path / "model", configuration_changes=changes)
    with pytest.raises(PlansError, match=r"resampling_fn_seg_kwargs has 'nope', which .* takes"):
        read_model(model, (), FINAL)


def test_an_ending_that_the_reader_does_not_write_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", file_ending=".png")
    with pytest.raises(
        PlansError, match=r"file_ending is '.png', but SimpleITKIO, which the plans"
    ):
        read_model(model, (), FINAL)


def test_values_that_nnunet_and_we_write_are_let_through() -> None:
    for plans in (stock_plans(), stock_plans(residual=True), old_plans(), toy_plans()):
        check_plans(plans, FILE)


WRONG_DESCRIPTIONS: dict[str, list[Any]] = {
    "channel_names": [None, [], {}, {"0": 3}, {"0": "a\nb"}, {"0": "\x1b[2J"}, "MRI"],
    "labels": [
        *(None, [], {}, {"background": -1}, {"background": 0, "a": 1.5}, {"a": [[1]]}),
        *({"background": 0, "a": 10**30}, {"background": 0, "\x1b[2J": 1}, {"a": []}),
        *({"background": 1, "a": 0}, {"a": 0, "b": 1}, {"background": [0], "a": 1}),
        # A network of three classes predicts 0, 1 and 2.
        *({"background": 0, "a": 1, "b": 3}, {"background": 0, "a": 1, "b": 3, "ignore": 4}),
    ],
    "regions_class_order": ["12", [1.5], [[1]], list(range(100)), {}],
    "file_ending": [None, 3, "x", "../x"],
}


@pytest.mark.parametrize("order", [None, [], [1], [1, 2, 3]])
def test_every_region_has_its_value(order: list[int] | None) -> None:
    regions = {"labels": {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}}
    check_dataset_json(DATASET_JSON | regions | {"regions_class_order": [1, 2]}, FILE)
    with pytest.raises(PlansError, match="regions_class_order"):
        check_dataset_json(DATASET_JSON | regions | {"regions_class_order": order}, FILE)


@pytest.mark.parametrize("key", WRONG_DESCRIPTIONS)
def test_descriptions_that_cannot_be_are_refused(key: str) -> None:
    for value in WRONG_DESCRIPTIONS[key]:
        with pytest.raises(PlansError, match=key):
            check_dataset_json(DATASET_JSON | {key: value}, FILE)


GIANTS: dict[str, dict[str, Any]] = {
    "layers": {"n_conv_per_stage": [64] * 3, "n_conv_per_stage_decoder": [64] * 2},
    "features": {"features_per_stage": [2**14] * 3},
}


@pytest.mark.parametrize("name", GIANTS)
def test_a_network_is_no_larger_than_its_weights(name: str, tmp_path: Path) -> None:
    folder = write_toy_model(tmp_path, ("0",))
    read_model(folder, (), FINAL)  # what is imported is not a cost of the giant
    plans = toy_plans()
    for key, value in GIANTS[name].items():
        put(plans, (*KEYWORDS, key), value)
    (folder / "plans.json").write_text(json.dumps(plans))
    used = time.process_time()
    with pytest.raises(UMambaError, match=r"do not fit|far more than"):
        read_model(folder, (), FINAL)
    assert time.process_time() - used < 10


@pytest.mark.parametrize("key", ["batch_size", "patch_size", "architecture"])
def test_what_plans_lack_is_named(key: str) -> None:
    plans = stock_plans()
    del plans["configurations"]["3d_fullres"][key]
    with pytest.raises(PlansError, match=r"plans\.json: .* cannot be built"):
        build_network(plans, DATASET_JSON, "3d_fullres")


NEEDED_TO_PREDICT = [
    *(("image_reader_writer",), ("transpose_forward",), ("transpose_backward",)),
    ("foreground_intensity_properties_per_channel",),
    ("foreground_intensity_properties_per_channel", "0"),
    *((*CONFIGURATION, key) for key in ("use_mask_for_norm", "preprocessor_name", "spacing")),
    *((*CONFIGURATION, f"resampling_fn_{of}") for of in ("data", "seg", "probabilities")),
    *((*CONFIGURATION, f"resampling_fn_{of}_kwargs") for of in ("data", "seg", "probabilities")),
]


def test_what_prediction_needs_is_named_before_images_are_blamed(tmp_path: Path) -> None:
    folder = write_toy_model(tmp_path, ("0",))
    for place in NEEDED_TO_PREDICT:
        plans = toy_plans()
        entry: dict[str, Any] = plans
        for key in place[:-1]:
            entry = entry[key]
        del entry[place[-1]]
        (folder / "plans.json").write_text(json.dumps(plans))
        with pytest.raises(
            PlansError, match=rf"plans\.json: .*{place[0 if len(place) < 3 else 2]}"
        ):
            read_model(folder, (), FINAL)


def test_building_ends_early() -> None:
    plans = put(stock_plans(), (*KEYWORDS, "n_conv_per_stage"), [10**5] * 3)
    with pytest.raises(PlansError, match="more than 20000 weights and layers"):
        build_network(plans, DATASET_JSON, "3d_fullres")


def changed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "fold_0" / FINAL
    checkpoint = torch.load(path, weights_only=True)
    torch.save(change(checkpoint) or checkpoint, path)


WRONG_CHECKPOINTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a list": (lambda c: [c], "is not a checkpoint"),
    "a list of weights": (
        lambda c: c.update(network_weights=[c["network_weights"]]),
        "network_weights is",
    ),
    "weights that are no tensors": (lambda c: c["network_weights"].update(a=1), "tensors by name"),
    "forty axes": (
        lambda c: c.update(inference_allowed_mirroring_axes=[0] * 40),
        "different axes of an image",
    ),
    "an axis too many": (
        lambda c: c.update(inference_allowed_mirroring_axes=[3]),
        "different axes of an image",
    ),
    "axes as text": (lambda c: c.update(inference_allowed_mirroring_axes="012"), "mirroring_axes"),
    "a trainer that is a list": (lambda c: c.update(trainer_name=["x"]), "the name of a class"),
    "a class that is not a trainer": (
        lambda c: c.update(trainer_name="NestedSupervisionLoss"),
        "trainer_name names 'NestedSupervisionLoss'",
    ),
    "arguments as text": (lambda c: c.update(init_args="x"), "arguments by name"),
    "a configuration as list": (
        lambda c: c.update(init_args={"configuration": []}),
        "init_args.configuration",
    ),
    "an unknown configuration": (
        lambda c: c.update(init_args={"configuration": "9d"}),
        "9d",
    ),
    "an epoch that cannot be": (lambda c: c.update(current_epoch=10**30), "number of epochs"),
    "no configuration": (lambda c: c.update(init_args={}), "lacks 'configuration'"),
    "weights that are not numbers": (
        lambda c: c["network_weights"].update({n: w * NOT_A_NUMBER for n, w in weights(c)[:1]}),
        "not finite numbers",
    ),
    "infinite weights": (
        lambda c: c["network_weights"].update({n: w + INFINITE for n, w in weights(c)[:1]}),
        "not finite numbers",
    ),
    "complex weights": (
        lambda c: c["network_weights"].update({n: w + 1j for n, w in weights(c)[:1]}),
        "was not loaded",
    ),
    "whole numbers": (
        lambda c: c["network_weights"].update({n: w.long() for n, w in weights(c)[:1]}),
        "is torch.int64, not torch.float32",
    ),
    "another shape": (
        lambda c: c["network_weights"].update({n: w[:0] for n, w in weights(c)[:1]}),
        "do not fit the network",
    ),
    "a weight too many": (
        lambda c: c["network_weights"].update({"x\x1b": torch.ones(1)}),
        r"the network has no 'x\x1b'",
    ),
}


def weights(checkpoint: dict[str, Any]) -> list[tuple[str, Any]]:
    return list(checkpoint["network_weights"].items())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("values") / "results", ("0",))


def test_no_mirroring_axes_are_none(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "m")
    changed(tmp_path / "m", lambda c: c.update(inference_allowed_mirroring_axes=[]))
    assert read_model(tmp_path / "m", (), FINAL).mirroring_axes is None


@pytest.mark.parametrize("name", WRONG_CHECKPOINTS)
def test_checkpoints_that_cannot_be_are_refused_by_predict_and_export(
    name: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, words = WRONG_CHECKPOINTS[name]
    folder = tmp_path / "results" / NAME / MODEL
    shutil.copytree(model, folder)
    changed(folder, change)
    (tmp_path / "in").mkdir()
    output = ["-o", str(tmp_path / "out")]
    predict = ["predict", "-m", str(folder), "-i", str(tmp_path / "in"), *output]
    export = ["export", "901", "3d_fullres", "--model", "umamba_bot", *output]
    for command in (predict, [*export, "--results", str(tmp_path / "results")]):
        capsys.readouterr()
        assert main(command) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(f"umamba {command[0]}: ")
        assert words in last
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_other_precisions_predict_as_their_values(
    dtype: torch.dtype, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "in" / "case_0000.nii.gz")
    segmented = []
    for kind in (dtype, torch.float32):  # rounded to the other precision, and back
        folder = write_model(tmp_path / f"{kind}")
        path = folder / "fold_0" / FINAL
        checkpoint = torch.load(path, weights_only=True)
        rounded = {n: w.to(dtype).to(kind) for n, w in checkpoint["network_weights"].items()}
        torch.save(checkpoint | {"network_weights": rounded}, path)
        command = ["predict", "-m", str(folder), "-i", str(tmp_path / "in"), "-device", "cpu"]
        assert main([*command, "--disable_tta", "-o", str(tmp_path / f"out-{kind}")]) == 0
        segmented.append(voxels(tmp_path / f"out-{kind}" / "case.nii.gz"))
    assert (segmented[0] == segmented[1]).all()
    assert len(set(segmented[0].ravel().tolist())) > 1


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
def test_prefixes_of_compiled_and_parallel_networks_are_left_out_and_said(
    prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_model(tmp_path / "model")
    plain = read_model(folder, (), FINAL)
    changed(
        folder,
        lambda c: c | {"network_weights": {f"{prefix}{n}": w for n, w in weights(c)}},
    )
    with caplog.at_level("INFO"):
        prefixed = read_model(folder, (), FINAL)
    assert list(prefixed.weights[0]) == list(plain.weights[0])
    assert f"the prefix {prefix!r} of its weights' names is removed" in caplog.text
    kept = {"module.a": 1, "b": 2}  # a part of a network may have that name
    assert without_prefixes(kept, FILE) == kept
