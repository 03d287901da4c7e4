"""Of two processes in one folder, the older one stops writing and loses."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from umamba.errors import SupersededError, UMambaError
from umamba.system.atomic_files import write_new, write_whole
from umamba.system.fencing import Token, check_claims, claiming, own_token
from umamba.system.run_lock import only_process, refuse_if_at_work


def become(monkeypatch: pytest.MonkeyPatch, job: str, attempt: str) -> None:
    """Let this process be an attempt at a job."""
    monkeypatch.setenv("UMAMBA_JOB", job)
    monkeypatch.setenv("UMAMBA_ATTEMPT", attempt)


def claim_of(file: Path) -> object:
    return json.loads(file.read_text()) if file.exists() else None


def test_tokens_of_jobs_users_jobs_and_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UMAMBA_JOB", "UMAMBA_ATTEMPT", "SLURM_JOB_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    assert str(os.getpid()) in own_token().job
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "big")
    assert own_token() == Token("job 12 on big", (0,))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    assert own_token().is_newer_than(Token("job 12 on big", (2,)))
    become(monkeypatch, "a", "13.0")
    assert own_token().is_newer_than(Token("a", (12, 5)))
    assert not own_token().is_newer_than(Token("a", (13, 0)))
    assert not own_token().is_newer_than(Token("b", (1, 0)))  # of which nothing is known
    monkeypatch.setenv("UMAMBA_ATTEMPT", "x")
    with pytest.raises(UMambaError, match="UMAMBA_ATTEMPT is 'x', which is not numbers"):
        own_token()


def test_who_is_replaced_gives_nothing_a_name_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, output = tmp_path / "claim", tmp_path / "file"
    become(monkeypatch, "a", "5.0")
    with claiming(claim):
        write_whole(output, "old")
        become(monkeypatch, "a", "5.1")
        code = "import sys; from umamba.system.fencing import *; from pathlib import Path\n"
        code += "with claiming(Path(sys.argv[1])): sys.stdin.read()"
        replacing = subprocess.Popen(
            [sys.executable, "-c", code, str(claim)], stdin=subprocess.PIPE
        )
        assert replacing.stdin is not None
        while claim_of(claim) != {"job": "a", "attempt": [5, 1]}:
            assert replacing.poll() is None
        for write in (write_whole, write_new):
            with pytest.raises(
                SupersededError, match=r"a, attempt 5\.1 has taken over the work of"
            ):
                write(output, "new")
        replacing.communicate()
        assert claim_of(claim) is None  # it has let go of it, and still nobody else may go on
        with pytest.raises(SupersededError, match="another process has taken over"):
            write_whole(output, "new")
    assert output.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
    write_whole(output, "new")  # without a claim everybody may


def test_who_is_older_and_late_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = tmp_path / "claim"
    become(monkeypatch, "a", "6.0")
    with claiming(claim):
        become(monkeypatch, "a", "5.9")
        with pytest.raises(SupersededError), claiming(claim):
            pass
        # It had looked before the newer one claimed the folder, and writes after that.
        claim.write_text('{"job": "a", "attempt": [5, 9]}')
        check_claims()
        assert claim_of(claim) == {"job": "a", "attempt": [6, 0]}
        claim.write_text('{"job": "b", "attempt": [1]}')  # of another job: the last one counts
        with pytest.raises(SupersededError, match="b, attempt 1 has taken over"):
            check_claims()
        claim.write_text("{")
        with pytest.raises(SupersededError, match="whoever has written"):
            check_claims()
    assert claim.exists()  # it is not this process's any more


def hold(folder: Path, ready: object, asked: object) -> None:
    os.environ |= {"UMAMBA_JOB": "a", "UMAMBA_ATTEMPT": "5.0"}
    with only_process(folder):
        ready.set()
        asked.wait(30)
        write_whole(folder / "checkpoint", "old")


def test_the_next_attempt_does_not_wait_for_the_lock_of_an_orphan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    context = multiprocessing.get_context("fork")
    ready, asked = context.Event(), context.Event()
    folder = tmp_path / "fold_0"
    folder.mkdir()
    orphan = context.Process(target=hold, args=(folder, ready, asked))
    orphan.start()
    assert ready.wait(30)
    for job, attempt in (("b", "9.0"), ("a", "5.0"), ("a", "4.2")):
        become(monkeypatch, job, attempt)
        with pytest.raises(UMambaError, match="another process is at work"), only_process(folder):
            pass
    become(monkeypatch, "a", "5.1")
    refuse_if_at_work(folder)
    with only_process(folder):
        assert f"taking over from process {orphan.pid}" in capsys.readouterr().err
        asked.set()
        orphan.join(30)
        assert orphan.exitcode == 76
        assert not (folder / "checkpoint").exists()
        write_whole(folder / "checkpoint", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["fold_0"]
