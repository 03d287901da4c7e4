"""Parts of a folder of images that jobs segment."""

import json
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faked_trainings import option
from model_factory import write_model
from toy import write_toy_images
from umamba.cli.main import main
from umamba.errors import ResumableInterruptError, SupersededError, UMambaError
from umamba.executors.jobs import Event, Job
from umamba.nnunet import places
from umamba.nnunet.prediction.parts import predict_part
from umamba.nnunet.prediction_request import PredictionRequest
from umamba.system.atomic_files import write_whole
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
    empty = {"predicted": [], "skipped": [], "failed": {}, "notes": {}}
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
                if isinstance(said, str):
                    job.log.write_text(said)
                else:
                    job.log.with_suffix(".json").write_text(json.dumps(empty | said))
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
        (0, {"predicted": ["c"], "failed": {"d": "no image"}, "notes": {"x": "other"}}),
        (2, "umamba part: out of luck\n"),
    ]
    jobs = use(monkeypatch, *ends)
    assert main(words) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (found["predicted"], found["skipped"]) == (["a", "c"], ["b"])
    assert found["failed"] == {"d": "no image", "part_3_of_3": "out of luck"}
    assert found["notes"] == {"x": "odd"}
    assert "case d was left out: no image" in captured.err
    for number, job in enumerate(jobs):
        assert (job.name, job.command[0]) == (f"part_{number + 1}_of_3", "part")
        assert option(job.command, "-num_parts") == "3"
        assert str(number) == (option(job.command, "-part_id") if number else "0")
        assert not {"--executor", "--parts"} & set(job.command)

    use(monkeypatch, ends[0], (75, "interrupted"), ends[0])
    assert main(words) == 75
    assert "run the same command again to continue" in capsys.readouterr().err
    # What the parts have reported above is not the report of those that fail now.
    use(monkeypatch, *[(1, "umamba part: no model\n")] * 3)
    assert main(words) == 2
    assert "no part could be predicted: no model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--parts", "2"], "--parts is for jobs of an executor; give --executor as well"),
        (["--executor", "ray", "-num_parts", "2"], "-num_parts is for one part"),
        (["--attention-maps", "a", "--ensemble", "b"], "leave it out, or --ensemble"),
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


@pytest.mark.slow
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


@pytest.fixture
def part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PredictionRequest:
    """Return the request of a job, the first attempt at it."""
    monkeypatch.setenv("UMAMBA_JOB", "a job")
    monkeypatch.setenv("UMAMBA_ATTEMPT", "7.0")
    out = tmp_path / "out"
    return PredictionRequest(images=tmp_path, output=out, num_parts=8, part_id=2)


def nothing(_: PredictionRequest) -> dict[str, Any]:
    return {"predicted": []}


def interrupt(_: PredictionRequest) -> dict[str, Any]:
    msg = "run it again"
    raise ResumableInterruptError(msg)


def test_a_part_reports_what_it_has_done_in_this_run(part: PredictionRequest) -> None:
    report = Path(part.output) / "jobs" / "part_3_of_8.json"
    predict_part(part, lambda _: {"predicted": ["a"]})
    assert json.loads(report.read_text())["predicted"] == ["a"]

    def fail(_: PredictionRequest) -> dict[str, Any]:
        msg = "no model"
        raise UMambaError(msg)

    with pytest.raises(UMambaError, match="no model"):
        predict_part(part, fail)
    assert not report.exists()


def test_a_part_that_gets_no_further_is_not_started_for_ever(part: PredictionRequest) -> None:
    def start(times: int) -> None:
        for _ in range(times):
            with pytest.raises(ResumableInterruptError):
                predict_part(part, interrupt)

    for _ in range(21):
        predict_part(part, nothing)  # to the end
    start(20)
    (Path(part.output) / "case_2.nii.gz").touch()  # progress
    start(20)
    predict_part(replace(part, num_parts=4), nothing)
    with pytest.raises(UMambaError, match="started 20 times in a row"):
        predict_part(part, nothing)


def test_of_two_attempts_at_a_part_the_older_one_writes_nothing_more(
    part: PredictionRequest,
) -> None:
    folder = Path(part.output)

    def be_overtaken(request: PredictionRequest) -> dict[str, Any]:
        claim = folder / "jobs" / "part_3_of_8.claim"
        claim.write_text(json.dumps({"job": "a job", "attempt": [7, 1]}))
        with pytest.raises(SupersededError, match=r"a job, attempt 7\.1 has taken over"):
            write_whole(folder / "case_2.nii.gz", "late")
        return nothing(request)

    with pytest.raises(SupersededError):
        predict_part(part, be_overtaken)
    assert [file.name for file in folder.iterdir()] == ["jobs"]
    assert not list(folder.glob("jobs/*.json"))
    with pytest.raises(SupersededError):
        predict_part(part, nothing)  # the older attempt, which begins late
