"""A job that counts up to a number, one step after another, as a training does.

It keeps its number in a file, and goes on from there; it saves and exits with 75 when it is asked
to stop. It notes every start, and every step.

Usage: `counting_job.py FOLDER STEPS SECONDS [EXIT_CODE]`.
"""

import os
import signal
import sys
import time
from pathlib import Path

from umamba.system.atomic_files import write_whole
from umamba.system.run_lock import only_process


def main() -> int:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with only_process(folder):
        return count_up(folder)


def count_up(folder: Path) -> int:
    steps, seconds = int(sys.argv[2]), float(sys.argv[3])
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, lambda number, _: asked.append(number))
    count = folder / "count"
    step = int(count.read_text()) if count.exists() else 0
    with (folder / "starts").open("a") as starts:
        restart = os.environ.get("SLURM_RESTART_COUNT", "0")
        starts.write(f"{os.environ.get('SLURM_JOB_ID', '-')} {restart} {step} {os.getpid()}\n")
    while step < steps and not asked:
        time.sleep(seconds)
        step += 1
        write_whole(count, str(step))
    if step < steps:
        sys.stdout.write(f"stopped at {step} by {asked}\n")
        return 75
    sys.stdout.write(f"counted to {step}\n")
    return int(sys.argv[4]) if len(sys.argv) > 4 else 0


if __name__ == "__main__":
    sys.exit(main())
