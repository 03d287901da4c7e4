"""The one place where whatever goes wrong in a command becomes one line."""

import errno
import logging
import os
import re
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from typing import Any

from umamba.system.terminal import one_line

__all__ = [
    "EXIT_BROKEN_PIPE",
    "EXIT_USER_ERROR",
    "close_broken_output",
    "explain",
    "log_to_stderr",
    "tell",
]

EXIT_USER_ERROR = 2
EXIT_BROKEN_PIPE = 141  # as shells count a SIGPIPE: who read our output wants no more

_REMEDIES = {
    errno.EACCES: "give a folder that you may write to, and files that you may read",
    errno.EDQUOT: "make room, or give another folder; TMPDIR names that of temporary files",
    errno.EIO: "check the disk, or the connection to it",
    errno.ELOOP: "links lead in a circle; give the file itself",
    errno.EMFILE: "too many files are open: raise `ulimit -n`",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENFILE: "too many files are open on this machine",
    errno.ENOENT: "it may have been removed meanwhile; check the path",
    errno.ENOSPC: "make room, or give another folder; TMPDIR names that of temporary files",
    errno.EPERM: "give a folder that you may write to, and files that you may read",
    errno.EROFS: "give a folder that can be written to",
}
_SMALLER = "use a machine with more, a smaller batch or patch, or fewer workers"
# How torch says that memory is short, on a CPU without a class of its own.
_SHORT_OF_MEMORY = re.compile(
    "not enough memory|can't allocate memory|out of memory", re.IGNORECASE
)
# How nnU-Net and batchgenerators say so, in the main thread and in threads of their own.
_WORKER_DIED = re.compile("background workers? (is|are) (6 feet under|no longer alive)")


def tell(command: str, error: BaseException | str) -> None:
    """Write one error to stderr.

    Args:
        command: The command that failed.
        error: What went wrong; lines after its first are indented where they are its own.
    """
    text = re.sub(r"\n(?!  )", r"\\n", str(error))  # a name may hold a line break, and forge a line
    with suppress(OSError, ValueError):
        sys.stderr.write(f"umamba {command}: {text}\n")
        sys.stderr.flush()


def explain(error: Exception) -> str:
    """Return what went wrong, and what to do, for an error that nothing has explained yet."""
    reason = one_line(next(iter(str(error).splitlines()), ""))[:300]
    if isinstance(error, OSError) and error.errno is not None:
        place = "" if error.filename is None else f"{one_line(os.fsdecode(error.filename))}: "
        remedy = _REMEDIES.get(error.errno)
        return f"{place}{error.strerror}" + (f"; {remedy}" if remedy else "")
    if isinstance(error, MemoryError) or _SHORT_OF_MEMORY.search(reason):
        return f"the memory is too small ({type(error).__name__} {reason}); {_SMALLER}"
    if _WORKER_DIED.search(reason):
        return (
            "a worker process was killed, which happens where memory runs out: set "
            "nnUNet_def_n_proc and nnUNet_n_proc_DA to fewer, and run the command again; a "
            "training that has checkpoints goes on with --resume"
        )
    if isinstance(error, RecursionError):
        return "an input is nested too deep; use another copy"
    if isinstance(error, UnicodeError):
        return f"a name or text cannot be written as it should ({reason}); rename it"
    kept = _keep_traceback(error)
    return (
        f"unexpected {type(error).__name__}: {reason}. If your input is right, this is a defect of "
        f"umamba; please report it with {kept}"
    )


def _keep_traceback(error: Exception) -> str:
    """Write down where an error comes from, for those who can mend it; return where that is."""
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="umamba-traceback-",
            suffix=".txt",
            delete=False,
            encoding="utf-8",
            errors="backslashreplace",
        ) as file:
            file.writelines(lines)
    except OSError:
        return f"its place, {one_line(lines[-2].strip())}"
    return file.name


def close_broken_output() -> bool:
    """Write out what waits; where that is impossible, let it go nowhere and return `True`.

    The interpreter would try again at its end, and complain.
    """
    return bool(sum(map(_close_if_broken, (sys.stdout, sys.stderr))))


def _close_if_broken(stream: Any) -> bool:
    with suppress(OSError, ValueError):
        stream.flush()
    if stream.failed:
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    return bool(stream.failed)


class _StderrHandler(logging.StreamHandler[Any]):
    """Writes to what stderr is at the time; names from files stay on one line."""

    @property
    def stream(self) -> Any:
        return sys.stderr

    @stream.setter
    def stream(self, _: Any) -> None:
        pass

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return re.sub(r"\n(?!  )", r"\\n", text)


def _report_from_thread(failed: threading.ExceptHookArgs) -> None:
    if not _WORKER_DIED.search(str(failed.exc_value)):
        threading.__excepthook__(failed)


def log_to_stderr() -> None:
    """Show our own messages, and nobody else's; nor what the command itself will fail with."""
    threading.excepthook = _report_from_thread
    log = logging.getLogger("umamba")
    if not log.handlers:
        log.addHandler(_StderrHandler())
        log.setLevel(logging.INFO)
