"""What Slurm refuses or loses is said in one line, and nothing is submitted twice."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from umamba.errors import UMambaError
from umamba.executors.jobs import Job, Resources
from umamba.executors.slurm import commands
from umamba.executors.slurm.batches import Batch, read_batches
from umamba.executors.slurm.commands import SlurmCommands
from umamba.executors.slurm.executor import SlurmExecutor
from umamba.executors.slurm.site import EXAMPLE, Site, read_site
from umamba.executors.slurm.trial import run_on_node
from umamba.system.interruption import StopRequest

PARTITIONS = """\
PartitionName=low AllowGroups=ALL Default=YES MaxNodes=UNLIMITED MaxTime=02:00:00 State=UP
PartitionName=high AllowGroups=ALL Default=NO MaxNodes=UNLIMITED MaxTime=UNLIMITED State=UP
"""


class FakeSlurm:
    """Slurm's commands: what was submitted runs and ends as `states` says, look after look.

    Args:
        states: What squeue shows of all jobs, look after look; the last one stays.
        refusal: What sbatch says if it refuses.
    """

    def __init__(self, *states: str, refusal: str | None = None, limit: int = 1001) -> None:
        self.states, self.refusal, self.limit = list(states), refusal, limit
        self.scripts: list[str] = []
        self.lines: list[str] = []
        self.asked: list[Sequence[str]] = []
        self.arrays: dict[str, tuple[int, int]] = {}

    def __call__(self, words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        self.asked.append(words)
        answer = getattr(self, words[0])(words)
        code, out, err = (0, answer, "") if isinstance(answer, str) else answer
        return subprocess.CompletedProcess(words, code, out, err)

    def scontrol(self, words: Sequence[str]) -> str:
        return PARTITIONS if "partition" in words else f"MaxArraySize            = {self.limit}\n"

    def sbatch(self, words: Sequence[str]) -> Any:
        script = Path(words[-1]).read_text()
        if self.refusal is not None:
            return 1, "", f"sbatch: error: {self.refusal}\n"
        self.scripts.append(script)
        self.lines.append((Path(words[-1]).parent / "jobs").read_text())
        name = Path(words[-1]).parent.name
        number = script.partition("--array=0-")[2].partition("\n")[0].partition("%")[0]
        self.arrays[name] = (len(self.arrays) + 7, int(number) + 1)
        return f"{self.arrays[name][0]};cluster\n"

    def squeue(self, words: Sequence[str]) -> Any:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if state == "unreachable":
            return 1, "", "slurm_load_jobs error: Unable to contact slurm controller\n"
        asked = next(word for word in words if word.startswith("--name=")).partition("=")[2]
        return "".join(
            f"{name}  {array}_{index}  {state}\n"
            for name in asked.split(",")
            if name in self.arrays and state
            for array, n_jobs in [self.arrays[name]]
            for index in range(n_jobs)
        )

    def scancel(self, _: Sequence[str]) -> str:
        return ""

    def count(self, command: str) -> int:
        return sum(words[0] == command for words in self.asked)


RUNS, WAITS = "RUNNING 0 0 None", "PENDING 1 0 BeginTime"


def executor(folder: Path, slurm: Callable[..., Any], **changes: Any) -> SlurmExecutor:
    max_jobs = changes.pop("max_jobs", None)
    site = Site(**{"partition": "low", "poll_seconds": 0.01, **changes})
    return SlurmExecutor(site, folder / "slurm", max_jobs, commands=SlurmCommands(slurm))


def jobs(folder: Path, n: int = 1, **needs: Any) -> list[Job]:
    return [Job(f"{i}", ("x",), folder / f"{i}.log", Resources(**needs)) for i in range(n)]


def run(slurm: SlurmExecutor, wanted: Sequence[Job]) -> list[tuple[str, str, Any, Any]]:
    events = slurm.run(wanted, StopRequest())
    return [(e.job.name, e.kind, e.exit_code, e.reason) for e in events if e.kind != "running"]


def leave_word(folder: Path, index: int, attempt: int, code: int) -> None:
    (batch,) = read_batches(folder / "slurm")
    (batch.folder / f"{index}.{attempt}.ended").write_text(f"{code}\n")


def test_one_look_is_one_command_for_all_jobs(tmp_path: Path) -> None:
    slurm = FakeSlurm(WAITS, RUNS, "COMPLETED 0 0 None")
    events = executor(tmp_path, slurm).run(jobs(tmp_path, 50), StopRequest())
    kinds = [next(events).kind for _ in range(50 + 100)]
    assert kinds == ["waiting"] * 50 + ["started", "running"] * 50
    assert (slurm.count("sbatch"), slurm.count("squeue"), slurm.count("scontrol")) == (1, 2, 2)
    for index in range(50):
        leave_word(tmp_path, index, attempt=0, code=2)
        leave_word(tmp_path, index, attempt=1, code=0)
    assert [event.exit_code for event in events if event.kind == "ended"] == [0] * 50
    assert slurm.count("squeue") == 3


def test_a_lost_job_is_submitted_again_but_not_for_ever(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm = FakeSlurm(RUNS, "unreachable", "NODE_FAIL 0 0 None", "")
    told = run(executor(tmp_path, slurm), jobs(tmp_path))
    reason = "it vanished 3 times without a word; Slurm said nothing"
    assert told == [("0", "started", None, None), ("0", "ended", 1, reason)]
    assert slurm.count("sbatch") == 3
    assert "Slurm does not answer (slurm_load_jobs error: Unable to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("state", "code", "reason"),
    [
        ("CANCELLED 0 0 None", 75, "it was cancelled"),
        ("OUT_OF_MEMORY 0 0 None", 137, "it needs more memory"),
        ("FAILED 0 32512 NonZeroExitCode", 127, r"its script ended with 127; what it said is in"),
        ("FAILED 0 9 None", -9, "its script ended with -9"),
    ],
)
def test_ends_without_a_word(tmp_path: Path, state: str, code: int, reason: str) -> None:
    slurm = FakeSlurm(RUNS, state)
    _, ended = run(executor(tmp_path, slurm), jobs(tmp_path))
    assert ended[1:3] == ("ended", code)
    assert reason in ended[3]
    assert slurm.count("sbatch") == 1


def test_arrays_are_no_larger_than_slurm_takes_and_alike_in_their_needs(tmp_path: Path) -> None:
    slurm = FakeSlurm("", limit=3)
    small, large = (
        jobs(tmp_path, 4, memory_gib=3.2, hours=0.5),
        jobs(tmp_path, 1, gpus=1, hours=9.0),
    )
    executor(tmp_path, slurm, options=("--exclude=n 7",)).submit([*small, *large])
    heads = [script.partition("\n\n")[0].splitlines()[1:] for script in slurm.scripts]
    assert ["#SBATCH --array=0-2" in head for head in heads] == [True, False, False]
    assert "#SBATCH --mem=4G" in heads[1]
    assert "#SBATCH --time=30" in heads[1]
    # No longer than the partition allows: then it goes on in another turn.
    assert {"#SBATCH --time=120", "#SBATCH --gres=gpu:1"} <= set(heads[2])
    assert heads[0][-1] == '#SBATCH "--exclude=n 7"'


def test_a_throttle_holds_for_all_arrays(tmp_path: Path) -> None:
    slurm = FakeSlurm("", limit=3)
    wanted = [*jobs(tmp_path, 3, memory_gib=1.0, cores=4), *jobs(tmp_path, 1, memory_gib=2.0)]
    executor(tmp_path, slurm, max_jobs=2).submit(wanted)
    assert ["--array=0-2%2\n" in slurm.scripts[0], "--array=0-0%2\n" in slurm.scripts[1]]
    assert all("--mem=2G\n" in script and "=4\n" in script for script in slurm.scripts)
    submitted = [words for words in slurm.asked if words[0] == "sbatch"]
    assert "--dependency=afterany:7" in submitted[1]


def test_what_slurm_does_not_take_is_not_tried_again(tmp_path: Path) -> None:
    slurm = FakeSlurm("", refusal="Batch job submission failed: Invalid account")
    with pytest.raises(UMambaError, match=r"not take the jobs: sbatch: error: .*Invalid account"):
        run(executor(tmp_path, slurm), jobs(tmp_path, 2))
    assert slurm.count("sbatch") == 1
    with pytest.raises(UMambaError, match="partition 'lo' does not exist; did you mean low"):
        run(executor(tmp_path, slurm, partition="lo"), jobs(tmp_path, 2))
    assert slurm.count("sbatch") == 1


def test_a_submission_that_is_late_starts_nothing(tmp_path: Path) -> None:
    """The submitter died before sbatch had an answer, and sbatch lived on."""
    slurm = FakeSlurm("")
    batch = Batch.create(tmp_path / "slurm", jobs(tmp_path))
    executor(tmp_path, slurm).submit(jobs(tmp_path))
    assert slurm.count("sbatch") == 1
    assert batch.is_given_up
    # Known to Slurm by its name, it is followed instead.
    slurm = FakeSlurm(RUNS)
    known = Batch.create(tmp_path / "other" / "slurm", jobs(tmp_path))
    slurm.arrays[known.name] = (5, 1)
    other = executor(tmp_path / "other", slurm)
    assert next(other.run(jobs(tmp_path), StopRequest())).kind == "started"
    assert (slurm.count("sbatch"), read_batches(other.folder)[0].array) == (0, "5")


def test_a_node_without_our_package_ends_it(tmp_path: Path) -> None:
    slurm = FakeSlurm(RUNS, "FAILED 0 19968 None")
    events = executor(tmp_path, slurm, setup=("module load x",)).run(jobs(tmp_path), StopRequest())
    next(events)
    (batch,) = read_batches(tmp_path / "slurm")
    leave_word(tmp_path, 0, 0, 78)
    (batch.folder / "0.out").write_text("No module named 'umamba'\non node7\n")
    message = r"python cannot import umamba on node7: No module named 'umamba'; .*setup = "
    with pytest.raises(UMambaError, match=message):
        list(events)


def test_one_node_without_our_package_does_not_end_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm = FakeSlurm(RUNS, "", "", "", RUNS)
    events = executor(tmp_path, slurm).run(jobs(tmp_path, 2), StopRequest())
    next(events)
    leave_word(tmp_path, 0, 0, 78)  # and what the node said has not reached this disk yet
    (tmp_path / "1.log").write_text("at work\n")
    told = []
    for event in events:
        told.append((event.job.name, event.kind))
        if slurm.count("sbatch") == 2 and event.kind == "running":
            break
    assert ("0", "ended") not in told
    assert "cannot import umamba on a node: no word" in capsys.readouterr().err
    assert slurm.count("scancel") == 0
    assert "log=" in slurm.lines[-1]


def test_lost_jobs_that_slurm_refuses_for_now_are_submitted_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm = FakeSlurm(RUNS, "", "", "", "", limit=2)
    events = executor(tmp_path, slurm).run(jobs(tmp_path, 3), StopRequest())
    next(events)
    slurm.refusal = "Job violates accounting policy (job submit limit)"
    looks = slurm.count("squeue")
    submit, slurm_sbatch = slurm.count("sbatch"), slurm.sbatch

    def one_array_only(words: Sequence[str]) -> Any:
        """Take one array, refuse the next, then take all."""
        slurm.refusal = "submit limit" if slurm.count("sbatch") == submit + 2 else None
        return slurm_sbatch(words)

    slurm.sbatch = one_array_only  # type: ignore[method-assign]
    slurm.states = ["", "", "", RUNS]
    for event in events:
        if event.kind == "running" and slurm.count("sbatch") == submit + 3:
            break
    assert slurm.count("squeue") > looks
    assert "lost jobs cannot be submitted again yet: Slurm does not" in capsys.readouterr().err
    again = "".join(slurm.lines[submit:])
    assert [again.count(f"/{name}.log; ") for name in "012"] == [1, 1, 1]


@pytest.mark.parametrize("reason", ["PartitionTimeLimit", "QOSMaxCpuPerJobLimit"])
def test_jobs_that_will_wait_for_ever_are_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reason: str
) -> None:
    slurm = FakeSlurm(f"PENDING 0 0 {reason}")
    events = executor(tmp_path, slurm).run(jobs(tmp_path, 3), StopRequest())
    assert [next(events).reason for _ in range(6)] == [reason] * 6
    assert capsys.readouterr().err.count(f"Slurm says {reason}") == 1


@pytest.mark.parametrize("cancels", [False, True])
def test_an_interrupt_leaves_or_cancels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cancels: bool
) -> None:
    slurm, stop = FakeSlurm(RUNS), StopRequest()
    chosen = executor(tmp_path, slurm)
    chosen.asks = lambda n: cancels and n == 2
    for event in chosen.run(jobs(tmp_path, 2), stop):
        if event.job.name == "1" and event.kind == "running":
            stop.ask("SIGINT")
    said = capsys.readouterr().err
    assert ("2 jobs are cancelled" in said) == cancels
    assert ("2 jobs are left to Slurm: the same command follows" in said) != cancels
    cancelled = [words for words in slurm.asked if words[0] == "scancel"]
    assert cancelled == ([("scancel", "7")] if cancels else [])
    leave_word(tmp_path, 0, 0, 75)
    chosen.submit(jobs(tmp_path, 2))  # which is begun anew if it was cancelled
    assert slurm.count("sbatch") == 1 + cancels


def test_without_slurm_it_says_where_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    slurm = SlurmExecutor(Site(), tmp_path / "slurm")
    with pytest.raises(UMambaError, match="no command scontrol here: run this on a machine of the"):
        run(slurm, jobs(tmp_path))


def test_the_file_of_a_site(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(EXAMPLE)
    site = read_site(file)
    assert (site.partition, site.cpus, site.memory, site.program) == ("gpu", 8, "32G", "python")
    assert Site().program == sys.executable
    assert Site(container="apptainer exec a.sif").program == "python"
    for text, message in {
        "partion = 'gpu'": "unknown field `partion`; did you mean partition",
        "cpus = 0": "Expected `int` >= 1",
        "time = 5": "Expected `str | null`, got `int`",
        "partition = 'a b'": "partition = 'a b' is not one word",
        'setup = ["a\\nb"]': r"setup = 'a\\nb' is not one line",
        "partition": "is not TOML",
    }.items():
        file.write_text(text)
        with pytest.raises(UMambaError, match=rf"--slurm: {file}.*{message}"):
            read_site(file)
    with pytest.raises(UMambaError, match="No such file or directory; it could say\n  partition"):
        read_site(tmp_path / "missing")


def test_a_damaged_batch_is_named(tmp_path: Path) -> None:
    (tmp_path / "slurm" / "umamba-1").mkdir(parents=True)
    (tmp_path / "slurm" / "umamba-1" / "batch.json").write_text('{"jobs": 3}')
    with pytest.raises(UMambaError, match=r"batch\.json is damaged; cancel its jobs by their name"):
        run(executor(tmp_path, FakeSlurm("")), jobs(tmp_path))


class TrialSlurm(FakeSlurm):
    """End the one job as `says`: its exit code, and its output."""

    says = (1, "Versions\n")

    def squeue(self, words: Sequence[str]) -> Any:
        if len(self.states) == 1:
            (batch,) = (Path(words[-1]).parent for words in self.asked if words[0] == "sbatch")
            (batch / "0.0.ended").write_text(f"{self.says[0]}\n")
            (batch.parent / "said").write_text(self.says[1])
        return super().squeue(words)


def test_a_trial_returns_what_the_node_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm = TrialSlurm("", WAITS, WAITS, RUNS, "COMPLETED 0 0 None")
    site = Site(poll_seconds=0.01)
    assert run_on_node(site, ["doctor"], tmp_path, SlurmCommands(slurm)) == (1, "Versions\n")
    told = capsys.readouterr().err.splitlines()
    assert told == ["the job is waiting (BeginTime)", "the job is started", "the job is running"]
    assert "set -- doctor\n" in slurm.lines[0]
    slurm = TrialSlurm("", RUNS, "COMPLETED 0 0 None")
    slurm.says = (2, "umamba doctor: no\n\n")
    with pytest.raises(UMambaError, match=r"failed: umamba doctor: no \(it ran in .*every node"):
        run_on_node(site, ["doctor"], tmp_path, SlurmCommands(slurm))
    slurm = FakeSlurm("", RUNS, "FAILED 0 256 None")
    with pytest.raises(UMambaError, match=r"failed: its script ended with 1; .*every node must"):
        run_on_node(site, ["doctor"], tmp_path, SlurmCommands(slurm))
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_is_interrupted_is_cancelled(tmp_path: Path) -> None:
    class Interrupted(FakeSlurm):
        def squeue(self, words: Sequence[str]) -> Any:
            if len(self.states) == 1 and self.count("scancel") == 0:
                self.states.append(RUNS)
                raise KeyboardInterrupt
            return super().squeue(words)

    slurm = Interrupted("", RUNS)
    with pytest.raises(KeyboardInterrupt):
        run_on_node(Site(poll_seconds=0.01), ["doctor"], tmp_path, SlurmCommands(slurm))
    assert slurm.asked[-1] == ("scancel", "7")


@pytest.mark.parametrize("code", [0, 2, 75])
def test_what_has_ended_is_submitted_again(tmp_path: Path, code: int) -> None:
    slurm = FakeSlurm(RUNS, "")
    chosen = executor(tmp_path, slurm)
    chosen.submit(jobs(tmp_path, 2))
    leave_word(tmp_path, 0, 0, 75)  # and was requeued
    chosen.submit(jobs(tmp_path, 2))
    assert slurm.count("sbatch") == 1
    leave_word(tmp_path, 0, 1, code)
    chosen.submit(jobs(tmp_path, 1))
    assert [line.count("log=") for line in slurm.lines] == [2, 1]
    assert chosen.ended() == {}


def test_a_call_that_waits_tells_of_old_ends_but_goes_on_with_interrupted_jobs(
    tmp_path: Path,
) -> None:
    slurm = FakeSlurm("")
    executor(tmp_path, slurm).submit(jobs(tmp_path, 3))
    for index, code in enumerate((0, 2, 75)):
        leave_word(tmp_path, index, 0, code)
    events = executor(tmp_path, slurm).run(jobs(tmp_path, 3), StopRequest())
    told = [next(events) for _ in range(4)]
    assert [(e.job.name, e.exit_code) for e in told if e.kind == "ended"] == [("0", 0), ("1", 2)]
    assert [line.count("log=") for line in slurm.lines] == [3, 1]
    assert "2.log" in slurm.lines[1]


def test_a_job_is_known_by_its_command_too(tmp_path: Path) -> None:
    slurm = FakeSlurm(RUNS, "")
    chosen, other = executor(tmp_path, slurm), [Job("0", ("x", "-z"), tmp_path / "0.log")]
    chosen.submit(jobs(tmp_path))
    message = r"0 is in the queue with another command, see .*umamba-.*; end it with --cancel, or"
    with pytest.raises(UMambaError, match=message):
        next(chosen.run(other, StopRequest()))
    assert slurm.count("sbatch") == 1
    leave_word(tmp_path, 0, 0, 0)
    with closing(chosen.run(other, StopRequest())) as events:
        slurm.states = ["", RUNS]
        assert next(events).kind == "started"
    assert "set -- x -z\n" in slurm.lines[1]


def test_what_is_cancelled_elsewhere_does_not_come_back(tmp_path: Path) -> None:
    slurm = FakeSlurm("", RUNS)
    events = executor(tmp_path, slurm).run(jobs(tmp_path, 3), StopRequest())
    assert [next(events).kind for _ in range(6)] == ["started", "running"] * 3
    assert executor(tmp_path, slurm).cancel() == 3
    leave_word(tmp_path, 0, 0, 75)
    leave_word(tmp_path, 1, 0, 0)
    slurm.states = [""]
    ends = [(event.job.name, event.exit_code, event.reason) for event in events]
    cancelled = (75, "it was cancelled")
    assert ends == [("0", *cancelled), ("1", 0, None), ("2", *cancelled)]
    assert slurm.count("sbatch") == 1


def test_interruptions_do_not_end_a_job_however_many(tmp_path: Path) -> None:
    """Those of which Slurm tells, and those that have left a word."""

    class Interrupted(FakeSlurm):
        def sbatch(self, words: Sequence[str]) -> Any:
            if self.count("sbatch") > 3:
                (Path(words[-1]).parent / "0.0.ended").write_text("75\n")
            return super().sbatch(words)

    told = [f"{state} 0 0 None" for state in ("NODE_FAIL", "PREEMPTED", "TIMEOUT")]
    slurm = Interrupted(
        *[state for state in told for _ in range(3)], *[""] * 9, "FAILED 0 256 None"
    )
    for event in executor(tmp_path, slurm).run(jobs(tmp_path), StopRequest()):
        assert (event.kind, event.exit_code) in [("started", None), ("ended", 1)]
    assert slurm.count("sbatch") == 7


def test_slurms_commands_take_no_options_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "squeue").write_text("#!/bin/sh\n/usr/bin/env >&2\nexit 1\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("SQUEUE_STATES", "SBATCH_PARTITION", "SLURM_JOB_ID", "SLURM_CONF", "OTHER"):
        monkeypatch.setenv(name, "set")
    seen = commands._run(("squeue",)).stderr.splitlines()
    assert sorted(line for line in seen if line.endswith("=set")) == ["OTHER=set", "SLURM_CONF=set"]


def test_what_is_hidden_is_seen(tmp_path: Path) -> None:
    slurm = FakeSlurm(RUNS)
    next(executor(tmp_path, slurm).run(jobs(tmp_path), StopRequest()))
    asked = [words for words in slurm.asked if words[0] == "squeue" or "partition" in words]
    assert ["--all" in words for words in asked] == [True, True]


@pytest.mark.parametrize("option", ["-Mother", "-M other", "--clusters=other", "--cluster=other"])
def test_a_site_names_no_other_cluster(option: str) -> None:
    with pytest.raises(ValueError, match=rf"options: '{option}' is not for us, as jobs are looked"):
        Site(options=("--cluster-constraint=x", option))


def test_a_copied_folder_does_not_touch_the_jobs_of_the_original(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm = FakeSlurm(RUNS)
    executor(tmp_path / "a", slurm).submit(jobs(tmp_path))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    copied = executor(tmp_path / "b", slurm)
    assert (copied.states(), copied.cancel(), slurm.count("scancel")) == ({}, 0, 0)
    assert f"came from {tmp_path}/a/slurm, whose jobs are left alone" in capsys.readouterr().err
    copied.submit(jobs(tmp_path))
    assert slurm.count("sbatch") == 2
    (tmp_path / "c").symlink_to(tmp_path / "a")
    assert executor(tmp_path / "c", slurm).cancel() == 1


def test_any_folder_is_a_place_for_what_scripts_print(tmp_path: Path) -> None:
    slurm = FakeSlurm(RUNS)
    executor(tmp_path / """it's "50 %a" #""", slurm).submit(jobs(tmp_path))
    (submitted,) = (words for words in slurm.asked if words[0] == "sbatch")
    folder = Path(submitted[-1]).parent
    assert f"""--output={tmp_path}/it's "50 %%a" #/slurm/{folder.name}/%a.out""" in submitted


def test_a_throttle_counts_the_jobs_that_are_there(tmp_path: Path) -> None:
    slurm = FakeSlurm(RUNS)
    chosen = executor(tmp_path, slurm, max_jobs=2)
    chosen.submit(jobs(tmp_path, 2))
    chosen.submit(jobs(tmp_path, 3))  # by another call, once a data set has grown, say
    assert [len(words) for words in slurm.asked if words[0] == "sbatch"] == [4, 5]
    assert "--dependency=afterany:7" in slurm.asked[-1]


def test_words_are_read_once_and_may_be_taken_away_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm = FakeSlurm("")
    chosen = executor(tmp_path, slurm)
    chosen.submit(jobs(tmp_path, 30))
    for index in range(30):
        leave_word(tmp_path, index, 0, 0)
    read, looks = Batch.ended, []
    monkeypatch.setattr(Batch, "ended", lambda batch: [looks.append(batch), read(batch)][1])
    ends = list(chosen.run(jobs(tmp_path, 30), StopRequest()))
    assert (len(ends), len(looks)) == (60, 2)  # to find them, and to follow them
    (batch,) = read_batches(tmp_path / "slurm")
    for index in range(2):
        leave_word(tmp_path, index, 0, 0)
    text = Path.read_text

    def late(file: Path, *args: Any, **kwargs: Any) -> str:
        if file.name == "0.0.ended":
            file.unlink()
        return text(file, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", late)
    assert batch.ended() == {1: 0}
