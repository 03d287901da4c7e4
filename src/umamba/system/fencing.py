"""Fencing: of two processes that work in one folder, the older one loses.

When a node stops answering, its scheduler starts the job again elsewhere, while the process on that
node may go on writing; a lock may not reach from one machine to the other. So whoever begins to
work in a folder claims it, by a file with a token: the job's name, and which attempt at it this is.
Before anything of ours takes its name, `check_claims` reads the file again: a process that finds
another token there, or none, has been replaced, and ends.

This was reasoned for file systems where a file that is renamed replaces another one atomically, and
one that is opened after that has the new content: local ones, Lustre, GPFS, and NFS with its usual
close-to-open consistency (not with `nocto`). A token that is claimed between the check and the
renaming is seen one file too late. That file is a checkpoint or a result of the same training, as
whole and as valid as the one that it replaces, and the next one is refused.
"""

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from umamba.errors import SupersededError, UMambaError
from umamba.system.environment import setting

__all__ = [
    "ATTEMPT_VARIABLE",
    "JOB_VARIABLE",
    "Token",
    "adopt_claims",
    "check_claims",
    "claiming",
    "held_claims",
    "own_token",
    "supersedes_holder",
]

# Set by executors: a name that stays the same for all attempts at a job, and two numbers that rise.
JOB_VARIABLE = "UMAMBA_JOB"
ATTEMPT_VARIABLE = "UMAMBA_ATTEMPT"

_claims: "dict[Path, Token]" = {}  # of this process, by their files
_started = time.time_ns()


@dataclass(frozen=True)
class Token:
    """The token of an attempt at a job.

    Attributes:
        job: The job, or else the process.
        attempt: Numbers that rise from one attempt to the next, such as those of the scheduler's
            job and of its restarts.
    """

    job: str
    attempt: tuple[int, ...]

    def is_newer_than(self, other: "Token") -> bool:
        """Return whether this is a later attempt at the same job."""
        return self.job == other.job and self.attempt > other.attempt

    def __str__(self) -> str:
        return f"{self.job}, attempt {'.'.join(map(str, self.attempt))}"


def own_token() -> Token:
    """Return the token of this process: that of its job, if it is one.

    A job that the user has submitted to Slurm is known by its number.
    """
    name, attempt = setting(JOB_VARIABLE), setting(ATTEMPT_VARIABLE)
    if name is None and setting("SLURM_JOB_ID") is not None:
        cluster = setting("SLURM_CLUSTER_NAME") or "Slurm"
        name = f"job {setting('SLURM_JOB_ID')} on {cluster}"
        attempt = setting("SLURM_RESTART_COUNT") or "0"
    if name is None:
        return Token(f"process {os.getpid()} on {socket.gethostname()}", (_started,))
    numbers = (attempt or "0").split(".")
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        msg = f"{ATTEMPT_VARIABLE} is {attempt!r}, which is not numbers with dots; unset it"
        raise UMambaError(msg)
    return Token(name, tuple(map(int, numbers)))


def supersedes_holder(file: Path) -> bool:
    """Return whether this process is a later attempt at the job that has claimed something.

    Args:
        file: The file of the claim.
    """
    found = _read(file)
    return found is not None and own_token().is_newer_than(found)


@contextmanager
def claiming(file: Path) -> Iterator[None]:
    """Claim what a file stands for, and let go of it on leaving.

    Args:
        file: The file of the claim, in a folder that exists.

    Raises:
        SupersededError: If a later attempt at the same job has claimed it.
        UMambaError: If the file cannot be written.
    """
    token, found = own_token(), _read(file)
    if found is not None and found.is_newer_than(token):
        raise SupersededError(_refusal(token, found))
    _write(file, token)
    _claims[file] = token
    try:
        yield
    finally:
        del _claims[file]
        if _read(file) == token:
            with suppress(OSError):
                file.unlink()


def check_claims() -> None:
    """Check that nobody else has claimed what this process works on.

    Raises:
        SupersededError: If somebody has.
    """
    for file, token in list(_claims.items()):
        found = _read(file)
        if found is not None and token.is_newer_than(found):
            _write(file, token)  # an older attempt that had looked before this one's claim
        elif found != token:
            raise SupersededError(_refusal(token, found))


def held_claims() -> Mapping[Path, Token]:
    """Return the claims of this process, for one that works for it."""
    return dict(_claims)


def adopt_claims(claims: Mapping[Path, Token]) -> None:
    """Let the claims of the process that this one works for hold here, too."""
    _claims.update(claims)


def _refusal(token: Token, found: Token | None) -> str:
    other = "another process" if found is None else str(found)
    return f"{other} has taken over the work of {token}; this one writes nothing more"


def _read(file: Path) -> Token | None:
    """Read a claim anew; `None` if there is none."""
    try:
        content = json.loads(file.read_bytes())
        return Token(str(content["job"]), tuple(map(int, content["attempt"])))
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError):
        return Token(f"whoever has written {file}", ())


def _write(file: Path, token: Token) -> None:
    partial = file.with_name(f"{file.name}.partial-{os.getpid()}@{socket.gethostname()}")
    try:
        partial.write_text(json.dumps(asdict(token)), encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        msg = f"cannot write {file} ({error.strerror}), which keeps other processes out"
        raise UMambaError(msg) from None
