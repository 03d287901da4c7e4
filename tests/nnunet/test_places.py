"""Places where jobs run, and the device that is expected there."""

from pathlib import Path

import pytest

from umamba.executors.requests import ExecutorRequest
from umamba.nnunet.places import PLACES


@pytest.mark.parametrize(
    ("lines", "device"),
    [
        ('gres = "gpu:a100:1"', "cuda"),
        ('gres = "lscratch:100,gpu"', "cuda"),
        ('gres = "lscratch:100"', "cpu"),
        ('options = ["--gres=gpu:1"]', "cuda"),
        ('options = ["--gres lscratch:9,gres/gpu:1"]', "cuda"),
        ('options = ["--gpus-per-node=2"]', "cuda"),
        ('options = ["-G1"]', "cuda"),
        ('options = ["--exclude=gpu7", "--comment=no-gpu", "--gres-flags=enforce-binding"]', "cpu"),
        ('partition = "gpu"', "cpu"),
    ],
)
def test_jobs_of_slurm_use_gpus_if_they_ask_for_them(
    lines: str, device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "site.toml"
    file.write_text(lines + "\n")
    request = ExecutorRequest(executor="slurm", slurm=file)
    assert [PLACES["slurm"](request).device for _ in range(2)] == [device] * 2
    said = f"jobs compute on the CPU: {file} asks for no GPU; give gres in that file, or -device "
    assert capsys.readouterr().err.count(said) == (device == "cpu")
    for given in ("cpu", "cuda"):
        request = ExecutorRequest(executor="slurm", slurm=file, device=given)
        assert PLACES["slurm"](request).device == given
    assert not capsys.readouterr().err
