"""Prediction by a pruned UNet++, through the command line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model_folders import SHAPE, write_model
from toy import write_toy_images
from umamba.cli.main import main
from umamba.errors import PlansError
from umamba.nnunet.prediction.loading import PredictionOptions, load_model


@pytest.mark.parametrize("depth", [1, 2])
def test_the_predictor_computes_what_the_head_of_that_depth_gives(
    depth: int, tmp_path: Path
) -> None:
    (network,) = write_model(tmp_path / "model", "unetpp_nested")
    options = PredictionOptions(prune_to=depth, mirroring=False)
    predictor = load_model(tmp_path / "model", options)
    predictor.use_gaussian = False  # its weights are too coarse for numbers, in float16
    x = torch.randn(1, *SHAPE)
    got = predictor.predict_logits_from_preprocessed_data(x).float()
    network.decoder.deep_supervision = True
    with torch.no_grad():
        want = network(x[None])[2 - depth][0]
    np.testing.assert_allclose(got, want, atol=1e-2)  # nnU-Net adds windows up in float16
    assert float(want.std()) > 0.1


def test_a_depth_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_model(tmp_path / "model", "unetpp_nested")
    with pytest.raises(PlansError, match="must be from 1 to 2, the number of poolings; got 3"):
        load_model(tmp_path / "model", PredictionOptions(prune_to=3))


def test_another_depth_does_not_add_to_the_same_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_toy_images(tmp_path, n_cases=1)
    write_model(tmp_path / "model", "unetpp_nested")
    where = ["-m", str(tmp_path / "model"), "-i", str(tmp_path / "images")]
    command = ["predict", *where, "-o", str(tmp_path / "out"), "-device", "cpu"]
    assert main([*command, "--prune-to", "1"]) == 0
    assert main(command) == 2
    assert "(depth differs)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("attention_unet", "--prune-to is for unetpp_nested; a UMambaAttentionUNet cannot be"),
        ("unetpp", "pruning to depth 1 needs a network with nested_supervision"),
    ],
)
def test_other_models_are_refused(
    model: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_toy_images(tmp_path, n_cases=1)
    write_model(tmp_path / "model", model)
    where = ["-m", str(tmp_path / "model"), "-i", str(tmp_path / "images")]
    command = ["predict", *where, "-o", str(tmp_path / "out"), "-device", "cpu"]
    assert main([*command, "--prune-to", "1"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
