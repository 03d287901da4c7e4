"""The command of a comparison's jobs."""

import json
from pathlib import Path

import pytest

from umamba.cli.main import main
from umamba.comparison.runs import cells
from umamba.comparison.runs.cells import Cell, EvaluationTask, write_cell
from umamba.evaluation.settings import EvaluationSettings
from umamba.system.atomic_files import write_whole


def test_an_older_attempt_at_an_evaluation_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UMAMBA_JOB", "a job")
    monkeypatch.setenv("UMAMBA_ATTEMPT", "7.0")
    cache, file = tmp_path / "nnunet.json", tmp_path / "nnunet.job.json"
    settings, cases = EvaluationSettings(), frozenset({"a"})
    task = EvaluationTask(
        tmp_path / "fold_0", cache, tmp_path, cases, ".nii.gz", {"1": 1}, settings, {}
    )
    write_cell(file, Cell(task))  # of a training of another program, whose folder is not ours

    def evaluate(todo: EvaluationTask) -> None:
        later = {"job": "a job", "attempt": [7, 1]}
        (tmp_path / "nnunet.claim").write_text(json.dumps(later))
        write_whole(todo.cache, "late")

    monkeypatch.setattr(cells, "evaluate_training", evaluate)
    assert main(["cell", str(file)], commands=["_cell"]) == 76
    assert "a job, attempt 7.1 has taken over the work of a job, attempt 7.0" in (
        capsys.readouterr().err
    )
    assert not cache.exists()
