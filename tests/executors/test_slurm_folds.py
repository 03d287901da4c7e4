"""Folds of a model, and parts of a folder of images, on Slurm are those of this machine."""

import json
import re
import shutil
from pathlib import Path

import pytest

from slurm_cluster import Cluster
from toy import NAME, PLANS, folder_options
from toy_process import MODEL
from umamba.cli.main import main
from umamba.nnunet.checkpoints.files import read_checkpoint

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.nnunet]

SITE = 'partition = "low"\nmemory = "1500M"\ncpus = 1\npoll_seconds = 1.0\n'


def test_folds_and_parts_are_those_of_this_machine(
    cluster: Cluster, preprocessed_toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "site.toml"
    site.write_text(SITE)
    slurm = ["--executor", "slurm", "--slurm", str(site)]
    length = ["--epochs", "1", "--iterations", "2", "--seed", "0", "--validation-tta", "off"]
    finals, predicted = [], []
    local = ["--executor", "local", "--workers", "2"]  # a core each, as on Slurm
    for name, how in (("slurm", slurm), ("here", local)):
        root = tmp_path / name
        shutil.copytree(preprocessed_toy, root)
        folders, device = folder_options(root), ["-p", PLANS, "-device", "cpu"]
        train = ["train", "901", "3d_fullres", "0,1", *device, *length, *how, *folders]
        if how is slurm:
            assert main([*train, "--print-jobs"]) == 0
            assert "#SBATCH --array=0-1\n" in capsys.readouterr().out
            assert main([*train, "--detach"]) == 0
            assert "2 jobs are with Slurm" in capsys.readouterr().out
            assert main([*train, "--status"]) == 0
            assert re.match(r"fold_0: (pending|running|configuring) ", capsys.readouterr().out)
        assert main(train) == 0  # attaches
        files = [root / MODEL / f"fold_{fold}" / "checkpoint_final.pth" for fold in range(2)]
        finals.append([read_checkpoint(file)["network_weights"] for file in files])
        images = str(root / "raw" / NAME / "imagesTr")
        predict = ["predict", "-d", "901", "-c", "3d_fullres", *device, "-i", images]
        predict += ["-o", str(root / "out"), "--disable_tta", "--json", *folders]
        capsys.readouterr()
        assert main([*predict, *how, "--parts", "2"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert sorted(report["predicted"]) == [f"case_{i}" for i in range(6)]
        predicted.append({f.name: f.read_bytes() for f in (root / "out").glob("*.nii.gz")})
    starts = (tmp_path / "slurm" / MODEL / "jobs").glob("*.starts")
    assert [len(file.read_text().splitlines()) for file in starts] == [1, 1]  # none twice
    assert predicted[0] == predicted[1]
    for one, other in zip(*finals, strict=True):
        assert one.keys() == other.keys()
        assert all(one[key].equal(other[key]) for key in one)
