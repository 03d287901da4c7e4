"""Receptive fields of the registry and of trained models: measured, tabled, drawn."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from model_factory import write_image, write_model
from umamba.errors import UMambaError
from umamba.reach.field_drawing import draw_fields
from umamba.reach.field_results import ReceptiveFieldResult
from umamba.reach.networks import initial_network
from umamba.reach.receptive_fields import measure_receptive_fields
from umamba.reach.requests import ReceptiveFieldRequest
from umamba.registry import find_architecture


def request(**changes: object) -> ReceptiveFieldRequest:
    options = {"patch_size": (16, 24), "features": (2, 3), "number": 1}
    return ReceptiveFieldRequest(**options | changes)


@pytest.mark.parametrize("patch", [(16, 24), (8, 16, 16)])
def test_models_of_the_registry(patch: tuple[int, ...]) -> None:
    result = measure_receptive_fields(request(models=("nnunet", "umamba_bot"), patch_size=patch))
    assert [(field.name, field.state) for field in result.fields] == [
        ("nnunet", "initial"),
        ("umamba_bot", "initial"),
    ]
    (whole,) = result.whole_patch
    for field in (*result.fields, whole):
        assert field.patch_size == field.shares.shape == patch
        assert field.shares.sum() == pytest.approx(1)
        assert field.within[-1] == pytest.approx(1)
        assert field.sizes[50].radius < field.sizes[99].radius
        assert len(field.sizes[90].per_axis) == len(patch)
    assert np.unique(whole.shares.round(12)).size == 1
    assert result.fields[0].sizes != result.fields[1].sizes


def test_weights_come_from_the_seed() -> None:
    weights = [
        next(initial_network("nnunet", (16, 16), features=(2,), seed=seed).network.parameters())
        for seed in (1, 1, 2)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_stages_are_left_out_from_below() -> None:
    deep, flat = (initial_network("nnunet", (32, 32), n_stages=n, features=(2,)) for n in (3, 2))
    assert len(flat.network.encoder.stages) == 2
    assert len(deep.network.encoder.stages) == 3
    with pytest.raises(UMambaError, match=r"5 stages are too many .* give at most 4"):
        initial_network("nnunet", (32, 32), n_stages=5)


def test_all_leaves_out_what_cannot_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    some = ("nnunet", "umamba_enc_nomamba", "segresnet", "resenc_m", "resenc_l", "primus_v2_s")
    monkeypatch.setattr(
        "umamba.reach.receptive_fields.architectures", lambda: [*map(find_architecture, some)]
    )
    result = measure_receptive_fields(request(all=True))
    assert [field.name for field in result.fields] == ["nnunet", "resenc_m"]
    # umamba_enc_nomamba and resenc_l are the same networks as others, and primus_v2_s is for 3D.
    assert set(result.left_out) == {"segresnet"}
    assert f"segresnet was left out: {result.left_out['segresnet']}" in result.to_markdown()


def test_all_needs_a_network_that_can_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "umamba.reach.receptive_fields.architectures", lambda: [find_architecture("segresnet")]
    )
    with pytest.raises(
        UMambaError, match="no network can be measured: segresnet: --features takes"
    ):
        measure_receptive_fields(request(all=True))
    monkeypatch.setattr("umamba.reach.receptive_fields.architectures", list)
    with pytest.raises(UMambaError, match="no network can be measured: none is for such"):
        measure_receptive_fields(request(all=True))


def test_a_model_folder_beside_all_must_be_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "umamba.reach.receptive_fields.architectures", lambda: [find_architecture("nnunet")]
    )
    with pytest.raises(UMambaError, match="missing"):
        measure_receptive_fields(request(all=True, trained=(tmp_path / "missing",)))


def test_models_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    first = write_model(tmp_path / "one" / "model")
    second = tmp_path / "two" / "model"
    shutil.copytree(first, second)
    result = measure_receptive_fields(request(trained=(first, second, first)))
    titles = ["one/model", "one/model, trained", "two/model", "two/model, trained"]
    assert [field.title for field in result.fields] == titles


def test_names_leave_out_what_all_models_share(tmp_path: Path) -> None:
    first = write_model(tmp_path / "Trainer__PlansBot_features8_s0__2d")
    folders = [first]
    for plans in ("Plans", "PlansBot_nomamba"):
        folders.append(tmp_path / f"Trainer__{plans}_features8_s0__2d")
        shutil.copytree(first, folders[-1])
    result = measure_receptive_fields(request(trained=folders, number=1))
    names = ["PlansBot", "Plans", "PlansBot_nomamba"]
    assert list(dict.fromkeys(field.name for field in result.fields)) == names


def test_a_trained_model_before_and_after(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "trained_here", folds=2)  # with weights of seeds 0 and 1
    result = measure_receptive_fields(request(trained=(folder,), fold=1))
    assert [field.title for field in result.fields] == ["trained_here", "trained_here, trained"]
    before, after = result.fields
    assert before.patch_size == after.patch_size == (8, 16, 16)
    assert not np.array_equal(before.shares, after.shares)
    assert result.patches == "normal noise"


def test_no_more_images_are_read_than_patches_are_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "images" / "a_0000.nii.gz", (9, 20, 12))
    (tmp_path / "images" / "b_0000.nii.gz").write_bytes(b"no image")
    folder = write_model(tmp_path / "model")
    measure_receptive_fields(request(trained=(folder,), images=tmp_path / "images", number=1))
    assert "b_0000" not in capsys.readouterr().err  # which cannot be read


def test_patches_come_from_images(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    for name, seed in (("a", 0), ("b", 1)):
        write_image(tmp_path / "images" / f"{name}_0000.nii.gz", (9, 40, 12), seed=seed)
    (tmp_path / "images" / "c_0000.nii.gz").write_bytes(b"no image")
    result = measure_receptive_fields(
        request(trained=(folder,), images=tmp_path / "images", number=3)
    )
    noise = measure_receptive_fields(request(trained=(folder,), number=3))
    assert result.patches == "real images"
    assert not np.array_equal(result.fields[1].shares, noise.fields[1].shares)


def test_images_that_cannot_be_used_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, images = write_model(tmp_path / "model"), tmp_path / "images"
    images.mkdir()
    (images / "c_0000.nii.gz").write_bytes(b"no image")
    with pytest.raises(UMambaError, match=r"no image in .* can be used"):
        measure_receptive_fields(request(trained=(folder,), images=images))
    assert "case c is left out: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": "images"}, "--images need a trained model, -m FOLDER"),
        ({"all": True, "models": ("nnunet",)}, "--all includes nnunet; leave out one"),
        ({"models": ("nnunet", "umamba")}, "model 'umamba' does not exist"),
        ({"patch_size": (64,)}, r"\[64\] is not a patch of two or three axes"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UMambaError, match=message):
        ReceptiveFieldRequest(**options)


def test_a_named_model_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UMambaError, match="primus_v2_s is for 3D images only"):
        measure_receptive_fields(request(models=("nnunet", "primus_v2_s")))
    with pytest.raises(UMambaError, match="missing"):
        measure_receptive_fields(request(trained=(tmp_path / "missing",)))


def test_table_json_and_figures(tmp_path: Path) -> None:
    result = measure_receptive_fields(request(models=("nnunet", "umamba_bot")))
    content = json.loads(json.dumps(result.to_dict()))
    read = ReceptiveFieldResult.from_dict(content)
    assert read.to_dict() == content
    assert read.to_markdown() == result.to_markdown()
    shown = result.to_markdown()
    assert "| whole patch | 16 x 24 |" in shown
    assert "Mean over 1 patch of normal noise; means and variances of norms are part of" in shown
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files = draw_fields(result, tmp_path / name)
    for file in files:
        assert file.read_bytes() == (tmp_path / "a" / file.name).read_bytes()
    drawn = (tmp_path / "a" / "receptive-field.svg").read_text()
    for text in ("nnunet", "umamba_bot", "99 %"):
        assert f"<!-- {text} -->" in drawn
