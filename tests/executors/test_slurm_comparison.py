"""A comparison on Slurm is the same as one on this machine, by the commands of the tutorial."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from reference_cases import REPOSITORY
from slurm_cluster import Cluster
from toy import NAME, prepare_toy
from umamba.nnunet.checkpoints.files import read_checkpoint

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.nnunet]

PAGE = (REPOSITORY / "docs" / "tutorials" / "cluster.md").read_text(encoding="utf-8")
SITE = """
partition = "low"
memory = "1500M"
cpus = 1
poll_seconds = 1.0
"""
ASKED = "--models nnunet,umamba_bot --folds 0-1 --seeds 2 --budget iterations:2 -device cpu "
ASKED += "--no-controls --features 4,8 --patch-size 8 16 16 --batch-size 2"


def six_commands() -> list[str]:
    """The commands of the page, for a toy data set."""
    block = re.findall(r"```bash\n(compare\(\).*?)```", PAGE, re.DOTALL)[0]
    block = block.replace("umamba", f"{sys.executable} -m umamba.cli.main")
    block = re.sub(r"compare 4 --models.*?epochs:100", f"compare 901 {ASKED}", block)
    block = block.replace("check 4 ", "check 901 ")
    lines = block.splitlines()
    assert sum(bool(re.search(r"# \d\. ", line)) for line in lines) == 6
    return lines


def started(command: str, root: Path) -> "subprocess.Popen[str]":
    folders = {f"nnUNet_{n}": str(root / n) for n in ("raw", "preprocessed", "results")}
    environment = {**os.environ, **folders, "nnUNet_n_proc_DA": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        ["bash", "-c", command],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(command: str, root: Path) -> str:
    with started(command, root) as process:
        said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, f"{command}: {said}"
    return said


def weights(results: Path) -> dict[str, Any]:
    """The weights of all trainings, by the names of their folders."""
    return {
        str(file.relative_to(results)): {
            key: value.numpy().tobytes()
            for key, value in read_checkpoint(file)["network_weights"].items()
        }
        for file in results.rglob("checkpoint_final.pth")
    }


def test_six_commands_end_with_the_results_of_this_machine(
    cluster: Cluster, tmp_path: Path
) -> None:
    prepare_toy(tmp_path)
    (tmp_path / "site.toml").write_text(SITE)
    define, check, doctor, *rest = six_commands()
    run(check, tmp_path)
    assert "Devices and selective scan" in run(doctor, tmp_path)
    printed, submitted, status, _ = (run(f"{define}\n{command}", tmp_path) for command in rest)
    assert "#SBATCH --array=0-7\n" in printed
    assert "#   7: umamba_bot_fold1_seed1\n" in printed
    assert "8 jobs are with Slurm" in submitted
    assert re.search(r"^umamba_bot +\d", status, re.MULTILINE)
    here = tmp_path / "here"
    command = f"{sys.executable} -m umamba.cli.main compare 901 {ASKED} -o here/out --workers 2 "
    run(command + f"--results {here}", tmp_path)
    found, wanted = (weights(root) for root in (tmp_path / "results", here))
    assert len(wanted) == 8
    assert found == wanted
    results = [
        json.loads((output / "results.json").read_text())
        for output in (tmp_path / "umamba-compare" / NAME, here / "out")
    ]
    assert results[0]["cases"] == results[1]["cases"]
    assert results[0]["verdicts"] == results[1]["verdicts"]


def test_a_training_whose_node_is_lost_ends_with_the_same_weights(
    cluster: Cluster, tmp_path: Path
) -> None:
    prepare_toy(tmp_path)
    (tmp_path / "site.toml").write_text(SITE)
    asked = ASKED.replace("nnunet,umamba_bot --folds 0-1 --seeds 2", "nnunet --folds 0 --seeds 1")
    command = f"{sys.executable} -m umamba.cli.main compare 901 {asked} -o "
    command = command.replace("iterations:2 ", "iterations:2000 ")
    log = tmp_path / "out" / "logs" / "nnunet_fold0_seed0.log"
    with started(f"{command} out --executor slurm --slurm site.toml", tmp_path) as comparing:
        until = time.monotonic() + 300
        while not log.exists() or "epoch 2/20" not in log.read_text():
            assert comparing.poll() is None
            assert time.monotonic() < until
            time.sleep(0.2)
        job = cluster.command("squeue", "--noheader", "-o", "%A").strip()
        node = cluster.node_of(job)
        cluster.lose_node(node, dies=False)
        said, _ = comparing.communicate(timeout=900)
        cluster.find_node(node)
    assert comparing.returncode == 0, said
    assert "taking over from process" in log.read_text()
    assert not list(tmp_path.rglob("*.partial*"))
    run(f"{command} here/out --results {tmp_path}/here --workers 2", tmp_path)  # on one core, too
    found, wanted = (weights(root) for root in (tmp_path / "results", tmp_path / "here"))
    assert len(wanted) == 1
    assert found == wanted
    results = [json.loads((tmp_path / o / "results.json").read_text()) for o in ("out", "here/out")]
    assert results[0]["cases"] == results[1]["cases"]
