"""Parts of a folder of images that jobs segment."""

import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from faked_trainings import option
from model_factory import write_model
from toy import write_toy_images
from umamba.cli.main import main
from umamba.executors.jobs import Event, Job
from umamba.nnunet import places
from umamba.system.interruption import StopRequest


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_model(tmp_path / "model")
    write_toy_images(tmp_path, n_cases=3)
    return tmp_path / "images"


def command(tmp_path: Path, *more: str, output: str = "out") -> list[str]:
    model, images, out = (str(tmp_path / name) for name in ("model", "images", output))
    fixed = ["predict", "-m", model, "-i", images, "-o", out, "-device", "cpu"]
    return [*fixed, "--disable_tta", *more]


def use(monkeypatch: pytest.MonkeyPatch, *ends: tuple[int, dict[str, Any] | str]) -> list[Job]:
    """Let jobs end with these codes, after they have said this, or reported that."""
    given: list[Job] = []

    class FakeExecutor:
        def run(
            self,
            jobs: Sequence[Job],
            stop: StopRequest,  # noqa: ARG002
        ) -> Generator[Event, None, None]:
            for job, (code, said) in zip(jobs, ends, strict=True):
                given.append(job)
                yield Event(job, "started")
                report = {"output": "", "predicted": [], "skipped": [], "failed": {}, "notes": {}}
                last = said if isinstance(said, str) else json.dumps(report | said)
                job.log.write_text(f"loading\n{last}\nPredict more!\n" if code < 2 else last)
                yield Event(job, "ended", code)

    place = places.Place(lambda _: FakeExecutor(), "cpu", 1, None, is_elsewhere=True)
    monkeypatch.setitem(places.PLACES, "ray", lambda _: place)
    return given


def test_parts_are_jobs_whose_reports_become_one(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    words = command(tmp_path, "--executor", "ray", "--parts", "3", "--json")
    ends = [
        (0, {"predicted": ["a"], "skipped": ["b"], "notes": {"x": "odd"}}),
        (1, {"predicted": ["c"], "failed": {"d": "no image"}, "notes": {"x": "other"}}),
        (2, "umamba predict: out of luck\n"),
    ]
    jobs = use(monkeypatch, *ends)
    assert main(words) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (found["predicted"], found["skipped"]) == (["a", "c"], ["b"])
    assert found["failed"] == {"d": "no image", "part_2": "out of luck"}
    assert found["notes"] == {"x": "odd"}
    assert "case d was left out: no image" in captured.err
    for number, job in enumerate(jobs):
        assert (job.command[0], job.command[-1]) == ("predict", "--json")
        assert option(job.command, "-num_parts") == "3"
        assert str(number) == (option(job.command, "-part_id") if number else "0")
        assert not {"--executor", "--parts"} & set(job.command)

    use(monkeypatch, ends[0], (75, "interrupted"), ends[0])
    assert main(words) == 75
    assert "run the same command again to continue" in capsys.readouterr().err
    use(monkeypatch, *[(2, "umamba predict: no model\n")] * 3)
    assert main(words) == 2
    assert "no part could be predicted: no model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--parts", "2"], "parts are jobs of an executor; give executor as well"),
        (["--executor", "ray", "-num_parts", "2"], "give parts for jobs of an executor"),
        (["--executor", "ray", "-m", "nowhere"], "there is no model nowhere"),
        (["--executor", "ray", "-i", "nowhere"], "-i nowhere is not a folder"),
        (["--status"], "only jobs of Slurm go on without this process"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path,
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "model").mkdir()
    jobs = use(monkeypatch)
    assert main(command(tmp_path, *options)) == 2
    assert message in capsys.readouterr().err
    assert not jobs
    assert not (tmp_path / "out").exists()


def test_jobs_make_what_one_process_makes(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "case_1.nii.gz").write_bytes(b"not an image")
    assert main(command(tmp_path, output="here")) == 1
    capsys.readouterr()
    words = command(tmp_path, "--executor", "local", "--parts", "2", "--json")
    assert main(words) == 1
    report = json.loads(capsys.readouterr().out)
    assert sorted(report["predicted"]) == ["case_0", "case_2"]
    assert list(report["failed"]) == ["case_1"]
    for case in ("case_0", "case_2"):
        here, there = (tmp_path / name / f"{case}.nii.gz" for name in ("here", "out"))
        assert here.read_bytes() == there.read_bytes()
