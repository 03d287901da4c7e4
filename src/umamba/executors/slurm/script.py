"""The script of an array of jobs, the only thing of ours that Slurm sees."""

import math
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from umamba.executors.jobs import Job, Resources
from umamba.executors.slurm.site import Site
from umamba.system.fencing import ATTEMPT_VARIABLE, JOB_VARIABLE

__all__ = [
    "GIVEN_UP",
    "JOBS",
    "NO_PACKAGE",
    "command_line",
    "job_lines",
    "job_options",
    "job_script",
    "output_option",
]

JOBS = "jobs"  # file with a line per job: its log and its arguments
GIVEN_UP = "given-up"  # file that keeps jobs from starting
NO_PACKAGE = 78  # exit code of a job on a node without our package

_SCRIPT = """\
#!/bin/bash
{options}

folder={folder}
attempt=${{SLURM_RESTART_COUNT:-0}}
task=$SLURM_ARRAY_TASK_ID
job=${{SLURM_ARRAY_JOB_ID}}_$task

# Leave word of how this attempt has ended; the file takes its name when it is whole.
end() {{
    cd "$folder" && echo "$1" >".$task.$attempt" && mv -f ".$task.$attempt" "$task.$attempt.ended"
    exit "$1"
}}

[ -e "$folder/{given_up}" ] && exit 0
{setup}
{python} -c "import umamba" || {{ echo "on $(hostname)"; end {no_package}; }}

# The line of this job sets its log, its name among all attempts at it, and its arguments.
eval "$(sed -n "$((task + 1))p" "$folder/{jobs}")"
export {attempt}="$SLURM_JOB_ID.$attempt"

# Slurm sends these signals to the step, too, which saves; this shell has to outlive it.
trap : TERM USR1
srun --ntasks=1 --cpus-per-task="${{SLURM_CPUS_PER_TASK:-1}}" --kill-on-bad-exit=0 \\
    {python} {program} "$@" >>"$log" 2>&1 &
step=$!
code=0
while kill -0 "$step" 2>/dev/null; do
    wait "$step"
    code=$?
done

# 75 is "interrupted": unless Slurm ends or requeues this job by itself, it goes to the queue again.
if [ "$code" = 75 ]; then
    for pause in 1 5 30; do
        state=$(scontrol -o show job "$job" | sed -n "s/.* JobState=\\([A-Z]*\\).*/\\1/p")
        [ -n "$state" ] && break
        sleep "$pause"
    done
    [ "$state" = RUNNING ] && scontrol requeue "$job" && sleep 600
fi
end "$code"
"""


def job_script(
    site: Site,
    program: Sequence[str],
    folder: Path,
    n_jobs: int,
    options: Iterable[str],
    max_jobs: int | None,
) -> str:
    """Return the script of an array.

    Args:
        site: The site.
        program: The arguments of Python that run a job's command.
        folder: The folder of the array, whose name is that of the jobs.
        n_jobs: Number of jobs.
        options: The options of sbatch from `job_options`.
        max_jobs: Most of them that run at a time; `None` means all.
    """
    throttle = "" if max_jobs is None else f"%{max_jobs}"
    given = [
        f"--job-name={folder.name}",
        f"--array=0-{n_jobs - 1}{throttle}",
        "--open-mode=append",
        "--requeue",
        f"--signal=USR1@{site.signal_seconds}",
        "--nodes=1",
        "--ntasks=1",
        *options,
        *site.options,
    ]
    python = " ".join(filter(None, [site.container, shlex.quote(site.program)]))
    return _SCRIPT.format(
        options="\n".join(f"#SBATCH {_directive(option)}" for option in given),
        folder=shlex.quote(str(folder)),
        given_up=GIVEN_UP,
        setup="\n".join(site.setup),
        python=python,
        no_package=NO_PACKAGE,
        jobs=JOBS,
        attempt=ATTEMPT_VARIABLE,
        program=shlex.join(program),
    )


def job_lines(folder: Path, jobs: Sequence[Job]) -> str:
    """Return the lines of an array's jobs.

    Args:
        folder: The folder of all arrays, to which names of jobs belong.
        jobs: The jobs.
    """
    return "".join(
        f"log={shlex.quote(str(job.log))}; "
        f"export {JOB_VARIABLE}={shlex.quote(f'{job.name} of {folder}')}; "
        f"{command_line(job)}\n"
        for job in jobs
    )


def command_line(job: Job) -> str:
    """Return the end of a job's line, which sets its arguments."""
    return f"set -- {shlex.join(job.command)}"


def job_options(site: Site, needs: Resources, time_limit: float | None) -> tuple[str, ...]:
    """Return the options of sbatch for what a job needs; what the site's file says comes first.

    Args:
        site: The site.
        needs: What the job needs.
        time_limit: The partition's time limit in hours, if it has one.
    """
    hours = needs.hours
    if hours is not None and time_limit is not None:
        hours = min(hours, time_limit)  # then it goes on in another turn
    minutes = None if hours is None else math.ceil(hours * 60)
    memory = None if needs.memory_gib is None else f"{math.ceil(needs.memory_gib)}G"
    gpus = f"gpu:{needs.gpus}" if needs.gpus else None
    found = {
        "partition": site.partition,
        "account": site.account,
        "qos": site.qos,
        "constraint": site.constraint,
        "gres": site.gres or gpus,
        "cpus-per-task": site.cpus or needs.cores,
        "mem": site.memory or memory,
        "time": site.time or minutes,
    }
    return tuple(f"--{name}={value}" for name, value in found.items() if value is not None)


def output_option(folder: Path) -> str:
    """Return the option of sbatch for what scripts print; a line of `#SBATCH` takes no quotes."""
    pattern = str(folder).replace("%", "%%")
    return f"--output={pattern}/%a.out"


def _directive(option: str) -> str:
    """Quote an option for a line of `#SBATCH`, which splits at spaces."""
    return f'"{option}"' if " " in option or "#" in option else option
