"""`pipeline.json` says all that plans say, and is refused in one line where it is not whole."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exported_models import CT, Exported
from plans_factory import DATASET_JSON, stock_plans
from umamba.errors import ModelFileError, PlansError
from umamba.nnunet.plans.pipeline import pipeline_of
from umamba.runtime import Predictor, read_pipeline
from umamba.runtime.pipeline import PIPELINE, EngineCheck
from umamba.runtime.resampling import thick_axis


def changed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    file = folder / PIPELINE
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return folder


def test_the_file_holds_what_plans_say(tmp_path: Path) -> None:
    exported = Exported(
        tmp_path / "model",
        channels=["CTNormalization", "ZScoreNormalization"],
        n_folds=2,
        of_configuration={"spacing": [2.5, 0.9, 0.8], "use_mask_for_norm": [False, True]},
        of_plans={"transpose_forward": [1, 2, 0], "transpose_backward": [2, 0, 1]},
        checks={"openvino": EngineCheck(largest_difference=1e-6, seconds=0.5)},
    )
    pipeline = read_pipeline(exported.folder)
    assert pipeline == exported.pipeline
    assert pipeline.spacing == (2.5, 0.9, 0.8)
    assert pipeline.patch_size == (8, 16, 12)
    assert pipeline.transpose_backward == (2, 0, 1)
    ct, mri = pipeline.channels
    assert ct.fingerprint is not None
    assert (ct.fingerprint.mean, ct.fingerprint.upper) == (CT["mean"], CT["percentile_99_5"])
    assert (mri.normalization, mri.within_mask) == ("ZScoreNormalization", True)
    assert (pipeline.resampling_image.order, pipeline.resampling_logits.order) == (3, 1)
    assert (pipeline.output_labels, pipeline.mirroring_axes) == ((0, 1, 2), (0, 1, 2))
    assert [network.fold for network in pipeline.networks] == ["0", "1"]
    assert [n.fold for n in read_pipeline(exported.folder, ["1"]).networks] == ["1"]


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "version": (
        lambda c: c.update(format_version=2),
        "has format version 2, but this umamba reads",
    ),
    "unknown": (lambda c: c.update(script="run.py"), "unknown field `script`"),
    "scheme": (
        lambda c: c["channels"][0].update(normalization="Mine"),
        r"Invalid enum value 'Mine' - at `\$.channels\[0\].normalization`",
    ),
    "CT without values": (
        lambda c: c["channels"][0].update(normalization="CTNormalization"),
        "has no fingerprint, which CTNormalization needs",
    ),
    "patch": (lambda c: c.update(patch_size=[8, 16]), "spacing cannot be"),
    "axes": (lambda c: c.update(transpose_forward=[0, 0, 1]), "transpose_forward cannot be"),
    "mirroring": (lambda c: c.update(mirroring_axes=[0, 0]), "mirroring_axes cannot be"),
    "outside": (
        lambda c: c["networks"][0].update(file="../fold_0.onnx"),
        r"Expected `str` matching regex .* - at `\$.networks\[0\].file`",
    ),
    "checksum": (
        lambda c: c["networks"][0].update(sha256="0" * 64),
        "fold_0.onnx is not what was exported: its checksum differs",
    ),
    "no network": (lambda c: c.update(networks=[]), "has no fold; it has none"),
    "ending": (lambda c: c.update(file_ending=".exe"), "file_ending cannot be"),
    "steps": (lambda c: c.update(step_size=1e-300), "Expected `float` >= 0.01"),
    "weights": (lambda c: c.update(gaussian_sigma=1e5), "Expected `float` <= 1.0"),
    "spacing": (lambda c: c.update(spacing=[1e-320, 1, 1]), "Expected `float` >= 1e-12"),
    "components": (lambda c: c.update(keep_largest=[[1]] * 9), "keep_largest cannot be"),
    "components for more names": (
        lambda c: (
            c["labels"].update({f"name {n}": 1 for n in range(5000)}),
            c.update(keep_largest=[[1] * 20] * 5000),
        ),
        r"keep_largest cannot be \(\(1,.{,500}\Z",
    ),
    "missing": (lambda c: c.pop("labels"), "missing required field `labels`"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, name: str) -> None:
    change, message = BROKEN[name]
    folder = changed(Exported(tmp_path / "model").folder, change)
    with pytest.raises(ModelFileError, match=message) as caught:
        Predictor(folder)
    assert "\n" not in str(caught.value)


def test_damaged_or_missing_networks_are_refused(tmp_path: Path) -> None:
    folder = Exported(tmp_path / "model").folder
    network = folder / "fold_0.onnx"
    content = network.read_bytes()
    network.write_bytes(content[:-1] + b"\0")
    with pytest.raises(ModelFileError, match="its checksum differs"):
        Predictor(folder)
    network.rename(folder / "elsewhere")
    with pytest.raises(ModelFileError, match="is missing or a link"):
        Predictor(folder)
    network.symlink_to(folder / "elsewhere")
    with pytest.raises(ModelFileError, match="is missing or a link"):
        Predictor(folder)


def test_the_cache_of_the_hugging_face_hub_is_read(tmp_path: Path) -> None:
    cache = tmp_path / "models--somebody--organs"
    (cache / "snapshots").mkdir(parents=True)
    (cache / "blobs").mkdir()
    folder = Exported(cache / "snapshots" / "0f1e").folder
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(cache / "blobs" / str(number))
        path.symlink_to(f"../../blobs/{number}")
    assert len(read_pipeline(folder).networks) == 1


def test_other_files_are_no_pipeline(tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(b"PK")
    with pytest.raises(
        ModelFileError, match=r"model\.zip is a file; unpack it if it is a zip file"
    ):
        read_pipeline(tmp_path / "model.zip")
    with pytest.raises(ModelFileError, match="does not exist; give a folder that `umamba export"):
        read_pipeline(tmp_path)
    (tmp_path / PIPELINE).write_text("[")
    with pytest.raises(ModelFileError, match="is not a pipeline of umamba"):
        read_pipeline(tmp_path)
    (tmp_path / PIPELINE).unlink()
    (tmp_path / PIPELINE).mkdir()
    with pytest.raises(ModelFileError, match="it is a folder"):
        read_pipeline(tmp_path)


def test_folds_that_were_not_exported_are_named(tmp_path: Path) -> None:
    folder = Exported(tmp_path / "model").folder
    with pytest.raises(ModelFileError, match="has no fold 3; it has 0"):
        Predictor(folder, folds=[3])


@pytest.mark.parametrize(
    ("changes", "configuration", "message"),
    [
        ({}, "3d_cascade_fullres", "also reads what 3d_lowres predicts"),
        ({"preprocessor_name": "Mine"}, "3d_fullres", "preprocessor_name is Mine"),
        (
            {"resampling_fn_data": "resample_torch_fornnunet"},
            "3d_fullres",
            "resampling_fn_data is resample_torch_fornnunet, and a pipeline.json can only",
        ),
        (
            {"normalization_schemes": ["Mine"]},
            "3d_fullres",
            r"cannot describe: Invalid enum value 'Mine' - at `\$.channels\[0\].normalization`",
        ),
        (
            {"resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 3}},
            "3d_fullres",
            r"Expected `int` <= 1 - at `\$.resampling_image.order_z`",
        ),
        (
            {"resampling_fn_data_kwargs": {"is_seg": True}},
            "3d_fullres",
            "resampling_fn_data_kwargs has is_seg = True, which a pipeline.json cannot describe",
        ),
        (
            {"resampling_fn_probabilities_kwargs": {"memefficient": 1}},
            "3d_fullres",
            "resampling_fn_probabilities_kwargs has memefficient = 1",
        ),
        (
            {
                "resampling_fn_data_kwargs": {
                    "force_separate_z": None,
                    "separate_z_anisotropy_threshold": "much",
                },
                "resampling_fn_probabilities_kwargs": {
                    "force_separate_z": None,
                    "separate_z_anisotropy_threshold": "much",
                },
            },
            "3d_fullres",
            r"Expected `float`, got `str` - at `\$.anisotropy_threshold`",
        ),
        (
            {
                "resampling_fn_data_kwargs": {
                    "force_separate_z": None,
                    "separate_z_anisotropy_threshold": 10,
                }
            },
            "3d_fullres",
            "resample images by the separate_z_anisotropy_threshold 10, and probabilities by 3",
        ),
    ],
)
def test_steps_that_only_nnunet_knows_are_named(
    changes: dict[str, Any], configuration: str, message: str
) -> None:
    plans = stock_plans()
    plans["configurations"]["3d_fullres"] |= changes
    plans["foreground_intensity_properties_per_channel"] = {"0": {}}
    with pytest.raises(PlansError, match=message):
        pipeline_of(plans, DATASET_JSON, configuration)


@pytest.mark.parametrize("unread", [None, 10, "much"])
def test_a_threshold_that_nothing_reads_is_left_out(unread: Any) -> None:
    plans = stock_plans()
    plans["configurations"]["3d_fullres"]["resampling_fn_data_kwargs"] = {
        "force_separate_z": False,
        "separate_z_anisotropy_threshold": unread,
    }
    plans["foreground_intensity_properties_per_channel"] = {"0": {}}
    assert pipeline_of(plans, DATASET_JSON, "3d_fullres").anisotropy_threshold == 3.0


def test_the_threshold_of_thick_slices_is_that_of_the_plans() -> None:
    """It decides whether slices are resampled apart: 5 mm is thick by 3, and not by 10."""
    from nnunetv2.preprocessing.resampling.default_resampling import determine_do_sep_z_and_axis

    plans = stock_plans()
    keywords = {"order": 3, "force_separate_z": None, "separate_z_anisotropy_threshold": 10}
    plans["configurations"]["3d_fullres"] |= {
        "resampling_fn_data_kwargs": keywords,
        "resampling_fn_probabilities_kwargs": keywords,
    }
    plans["foreground_intensity_properties_per_channel"] = {"0": {}}
    pipeline = pipeline_of(plans, DATASET_JSON, "3d_fullres")
    both = (5.0, 1.0, 1.0), (2.5, 1.0, 1.0)
    threshold = pipeline.anisotropy_threshold
    ours = thick_axis(*both, pipeline.resampling_image, threshold)
    assert (ours is not None, ours) == determine_do_sep_z_and_axis(None, *both, 10)
    assert thick_axis(*both, pipeline.resampling_image, 3.0) == 0
