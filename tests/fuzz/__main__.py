"""Fuzz every reader of files from elsewhere: `PYTHONPATH=tests:tests/support python -m fuzz`.

Each round is a process of its own with a limit on its memory, and each input has a limit of
time. An input must be read, or be refused by an error that explains it; anything else is kept as a
finding, with the damaged files that led to it. It goes on until the minutes are over.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import shutil
import signal
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

from fuzz.targets import EXPLAINED, Target, Targets
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

_SECONDS = 10  # for one input
_MEMORY = 16 * 2**30  # of addresses, which torch alone takes many of
_INPUTS = 60  # of one round


class _TooSlowError(BaseException):
    """One input took longer than any should."""


def main() -> None:
    """Fuzz all targets in turn, and write counts after each round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--report", type=Path, default=Path("fuzz.json"))
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--targets", nargs="*")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    end, began = time.monotonic() + 60 * args.minutes, time.monotonic()
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory(prefix="umamba-fuzz-") as folder:
        targets = Targets(Path(folder)).named()
        number = args.seed
        while time.monotonic() < end:
            for name, target in targets.items():
                if args.targets and name not in args.targets:
                    continue
                work = Path(folder) / "work" / f"{number}"
                work.mkdir(parents=True)
                count = _round(target, number, work, args.findings / name.replace(" ", "_"))
                counts.setdefault(name, Counter()).update(count)
                shutil.rmtree(work)
                minutes = (time.monotonic() - began) / 60
                report = {"minutes": round(minutes, 1), "counts": counts}
                args.report.write_text(json.dumps(report, indent=2) + "\n")
            number += 1


def _round(target: Target, number: int, work: Path, findings: Path) -> Counter[str]:
    """Fuzz one target in a child process; its death is a finding, too."""
    counted = work / "counts.json"
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            counted.write_text(json.dumps(_fuzz(target, number, work, findings)))
        finally:
            os._exit(0)
    deadline = time.monotonic() + 10 * _INPUTS * _SECONDS
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.05)
    if counted.is_file():
        return Counter(json.loads(counted.read_text()))
    _keep(work / "input", findings / f"dead-{number}", "the process died, or hung")
    return Counter({"died": 1})


def _fuzz(target: Target, number: int, work: Path, findings: Path) -> Counter[str]:
    counts: Counter[str] = Counter()

    @seed(number)
    @settings(
        max_examples=_INPUTS,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def explore(data: Any) -> None:
        folder = work / "input"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        counts["inputs"] += 1
        outcome, trace = _outcome(target, data.draw, folder)
        counts[outcome] += 1
        if trace:
            place = [line for line in trace.splitlines() if line.startswith("  File")][-3:]
            kept = findings / f"{zlib.crc32(repr(place).encode()):08x}"
            if not kept.exists():
                _keep(folder, kept, trace)

    signal.signal(signal.SIGPROF, _raise_too_slow)  # by the processor's time, not the clock
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        explore()
    return counts


def _raise_too_slow(*_: object) -> None:
    raise _TooSlowError


def _outcome(target: Target, draw: Any, folder: Path) -> tuple[str, str]:
    """Return what became of one input, and how it came to that if it should not have."""
    began = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, _SECONDS)
    try:
        target(draw, folder)
    except EXPLAINED as error:
        lines = str(error).splitlines()
        if len(lines) > 1 or not str(error).isprintable() or len(str(error)) > 2000:
            return "not one line", f"{type(error).__name__}\n{error!r:.3000}\n"
        return "explained", ""
    except _TooSlowError:
        return "too slow", traceback.format_exc()
    except Exception as error:
        if type(error).__module__.startswith("hypothesis"):
            raise
        return "not explained", traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return ("slow" if time.process_time() - began > 5 else "read"), ""


def _keep(folder: Path, kept: Path, why: str) -> None:
    kept.mkdir(parents=True, exist_ok=True)
    if folder.is_dir():
        shutil.copytree(folder, kept / "input", dirs_exist_ok=True)
    (kept / "why.txt").write_text(why, encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    main()
