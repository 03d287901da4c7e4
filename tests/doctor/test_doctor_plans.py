"""Networks that plans name: importable, and the very class."""

import json
from pathlib import Path
from typing import Any

import pytest

from umamba.doctor.plans import examine_plans
from umamba.nnunet.paths import Paths


def write_plans(root: Path, name: str, dataset: str = "Dataset004_Brain", **classes: str) -> Paths:
    folder = root / dataset
    folder.mkdir(exist_ok=True)
    configurations: dict[str, Any] = {
        configuration: {"architecture": {"network_class_name": class_name}}
        for configuration, class_name in classes.items()
    }
    configurations["3d_cascade_fullres"] = {"inherits_from": "3d_fullres"}
    content = {"plans_name": name, "configurations": configurations}
    (folder / f"{name}.json").write_text(json.dumps(content))
    return Paths(preprocessed=root)


def test_networks_that_are_there(tmp_path: Path) -> None:
    ours = "umamba.networks.UMambaBot"
    stock = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
    write_plans(tmp_path, "nnUNetPlans", **{"2d": stock, "3d_fullres": stock})
    paths = write_plans(tmp_path, "nnUNetUMambaBotPlans", "Dataset005_Heart", **{"2d": ours})
    section = examine_plans(paths)
    assert section.lines == {
        "plans": "2 in 2 data sets",
        stock: "found; 2 configurations",
        ours: "found; 1 configuration",
    }
    assert section.problems == ()


@pytest.mark.parametrize(
    ("name", "reason", "remedy"),
    [
        ("umamba.networks.UMambaTop", "there is no such class", "`pip install --upgrade umamba`"),
        ("gone.nets.Net", "there is no such class", "`export PYTHONPATH=/folder/with/gone`, or"),
        ("umamba.networks", "it resolves to <module 'umamba.networks'", "--upgrade umamba`"),
        ("collections.OrderedDict", "it resolves to <class", "`export PYTHONPATH=/folder/with/col"),
        ("umamba.networks.contract.Sequence", "it resolves to", "--upgrade umamba`"),
        (
            "dynamic_network_architectures.architectures.unet.NoUNet",
            "there is no such class",
            "`pip install --upgrade dynamic-network-architectures`",
        ),
    ],
)
def test_networks_that_are_not(tmp_path: Path, name: str, reason: str, remedy: str) -> None:
    paths = write_plans(tmp_path, "somePlans", **{"2d": name, "3d_fullres": name})
    section = examine_plans(paths)
    assert section.lines[name].startswith(reason)
    (problem,) = section.problems
    assert problem.startswith("Dataset004_Brain/somePlans.json, 2d and 1 more name the network ")
    assert reason in problem
    assert remedy in problem


def test_a_module_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_nets.py").write_text("raise RuntimeError('no mamba_ssm')")
    monkeypatch.syspath_prepend(tmp_path)
    paths = write_plans(tmp_path, "somePlans", **{"2d": "broken_nets.Net"})
    (problem,) = examine_plans(paths).problems
    assert "its module cannot be imported (no mamba_ssm)" in problem


def test_damaged_plans(tmp_path: Path) -> None:
    paths = write_plans(tmp_path, "nnUNetPlans")
    (tmp_path / "Dataset004_Brain" / "nnUNetPlans.json").write_text("{")
    (problem,) = examine_plans(paths).problems
    assert problem.startswith(f"cannot read the plans {tmp_path}/Dataset004_Brain/nnUNetPlans.json")
    assert problem.endswith("`nnUNetv2_plan_experiment -d 004` makes nnU-Net's plans again")


@pytest.mark.parametrize("folder", [None, Path("/no/such/folder")])
def test_no_folder(folder: "Path | None") -> None:
    section = examine_plans(Paths(preprocessed=folder))
    assert section.lines == {"plans": "0 in 0 data sets"}
    assert section.problems == ()
