"""Attention coefficients of a whole case, and the pictures of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model_folders import SHAPE, write_model
from toy import write_toy_images
from umamba.cli.main import main
from umamba.nnunet.prediction.attention_maps import draw_maps, load_attention
from umamba.nnunet.prediction.loading import PredictionOptions


def predict(folder: Path, *options: str) -> int:
    where = ["-m", str(folder / "model"), "-i", str(folder / "images"), "-o", str(folder / "out")]
    maps = ["--attention-maps", str(folder / "maps")]
    return main(["predict", *where, *maps, "-device", "cpu", "--disable_tta", *options])


def test_maps_are_averaged_over_folds_and_mirrored_images(tmp_path: Path) -> None:
    networks = write_model(tmp_path / "model", "attention_unet", n_folds=2)
    predictor = load_attention(tmp_path / "model", tmp_path / "maps", PredictionOptions())
    x = torch.randn(1, *SHAPE)
    got = predictor.predict_logits_from_preprocessed_data(x)
    assert got.shape == (1, *SHAPE)
    flips = [[axis for axis in (2, 3, 4) if mask >> axis & 1] for mask in range(0, 32, 4)]
    with torch.no_grad():
        maps = [
            network.attention_maps(x[None].flip(axes)).flip(axes)
            for network in networks
            for axes in flips
        ]
    want = torch.stack(maps).mean(0)[0]
    assert float((got.float() - want).abs().max()) < 5e-3  # nnU-Net adds windows up in float16
    assert float(want.std()) > 0.02


def test_every_predicted_case_gets_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nnunetv2.configuration.default_num_processes", 1)
    write_toy_images(tmp_path, n_cases=2)
    (tmp_path / "images" / "broken.nii.gz").write_text("no image")
    write_model(tmp_path / "model", "attention_unet")
    assert predict(tmp_path) == 1  # one case was left out
    pictures = tmp_path / "maps"
    assert sorted(p.name for p in pictures.glob("*.png")) == ["case_0.png", "case_1.png"]
    kept = pictures / "case_1.png"
    drawn = kept.read_bytes()
    assert drawn.startswith(b"\x89PNG")
    (pictures / "case_0.png").unlink()
    kept.write_bytes(b"as it was")
    assert predict(tmp_path) == 1
    assert (pictures / "case_0.png").stat().st_size > 5_000
    assert kept.read_bytes() == b"as it was"


def test_an_interrupt_is_told_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nnunetv2.configuration.default_num_processes", 1)
    write_toy_images(tmp_path, n_cases=1)
    write_model(tmp_path / "model", "attention_unet")
    monkeypatch.setattr("umamba.nnunet.prediction.attention_maps.draw_maps", interrupt)
    assert predict(tmp_path) == 75
    assert "run the same command again to draw the rest" in capsys.readouterr().err
    assert not list((tmp_path / "maps").glob("*.png"))
    monkeypatch.undo()
    monkeypatch.setattr("nnunetv2.configuration.default_num_processes", 1)
    assert predict(tmp_path) == 0
    assert [p.name for p in (tmp_path / "maps").glob("*.png")] == ["case_0.png"]


def test_pictures_of_another_model_are_neither_kept_as_ours_nor_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nnunetv2.configuration.default_num_processes", 1)
    write_toy_images(tmp_path, n_cases=1)
    write_model(tmp_path / "model", "attention_unet", n_folds=2)
    assert predict(tmp_path, "-f", "0") == 0
    picture = tmp_path / "maps" / "case_0.png"
    drawn = picture.read_bytes()
    (tmp_path / "out").rename(tmp_path / "kept")
    assert predict(tmp_path, "-f", "1") == 2
    assert "(weights_sha256 differs); give another --attention-maps" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert picture.read_bytes() == drawn
    assert predict(tmp_path, "-f", "1", "--overwrite") == 0
    assert picture.read_bytes() != drawn


def test_the_slice_is_the_one_in_which_the_gates_choose(tmp_path: Path) -> None:
    from matplotlib.image import imread

    image = np.zeros((3, 8, 8), np.float32)
    maps = np.full((2, 3, 8, 8), 0.5, np.float32)
    maps[:, 1, 2:5] = 0.9
    draw_maps(tmp_path / "a.png", image, maps)
    varied = imread(tmp_path / "a.png")
    maps[:, 1] = 0.5
    maps[:, 1, 5:] = 0.9
    draw_maps(tmp_path / "b.png", image, maps)
    assert not np.array_equal(varied, imread(tmp_path / "b.png"))
    maps[:, 2] = 0.3  # uniform, so it is not what is shown
    draw_maps(tmp_path / "c.png", image, maps)
    assert np.array_equal(imread(tmp_path / "c.png"), imread(tmp_path / "b.png"))


def test_what_has_no_gates_is_refused_before_anything_is_predicted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_toy_images(tmp_path, n_cases=1)
    write_model(tmp_path / "model", "unetpp")
    assert predict(tmp_path) == 2
    message = capsys.readouterr().err
    assert "--attention-maps needs a model with attention gates" in message
    assert "is of UMambaUNetPlusPlus; leave it out" in message
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "maps").exists()
    (tmp_path / "maps").touch()
    assert predict(tmp_path) == 2
    assert "give another folder as --attention-maps" in capsys.readouterr().err
