"""The one place that turns any failure of a command into one line."""

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

from umamba.errors import UMambaError
from umamba.system.interruption import EXIT_INTERRUPTED
from umamba.system.terminal import one_line

__all__ = [
    "EXIT_BROKEN_PIPE",
    "close_broken_output",
    "exit_code",
    "explain",
    "log_to_stderr",
    "tell",
]

EXIT_BROKEN_PIPE = 141  # the code that shells give for SIGPIPE: the reader of our output has gone

_REMEDIES = {
    errno.EACCES: "give a folder that you may write to, and files that you may read",
    errno.EDQUOT: "make room, or give another folder; TMPDIR sets that of temporary files",
    errno.EIO: "check the disk, or the connection to it",
    errno.ELOOP: "symbolic links form a loop; give the file itself",
    errno.EMFILE: "too many files are open: raise `ulimit -n`",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENFILE: "too many files are open on this machine",
    errno.ENOENT: "it may have been removed in the meantime; check the path",
    errno.ENOSPC: "make room, or give another folder; TMPDIR sets that of temporary files",
    errno.EPERM: "give a folder that you may write to, and files that you may read",
    errno.EROFS: "give a folder that can be written to",
}
_SMALLER = "use a machine with more memory, a smaller batch or patch, or fewer workers"
# The words in which torch reports a lack of memory; on a CPU there is no class for it.
_SHORT_OF_MEMORY = re.compile(
    "not enough memory|can't allocate memory|out of memory", re.IGNORECASE
)
# The words in which nnU-Net and batchgenerators report it, in the main thread and in others.
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


def exit_code(error: BaseException) -> int:
    """Return the exit code of a command that an error ends."""
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    code: int = getattr(error, "EXIT_CODE", UMambaError.EXIT_CODE)
    return code


def explain(error: Exception) -> str:
    """Return what went wrong and what to do, for an error that nothing has explained yet."""
    reason = one_line(next(iter(str(error).splitlines()), ""))[:300]
    if isinstance(error, OSError) and error.errno is not None:
        place = "" if error.filename is None else f"{one_line(os.fsdecode(error.filename))}: "
        remedy = _REMEDIES.get(error.errno)
        return f"{place}{error.strerror}" + (f"; {remedy}" if remedy else "")
    if isinstance(error, MemoryError) or _SHORT_OF_MEMORY.search(reason):
        return f"not enough memory ({type(error).__name__} {reason}); {_SMALLER}"
    if _WORKER_DIED.search(reason):
        return (
            "a worker process was killed, which happens where memory runs out: set "
            "nnUNet_def_n_proc and nnUNet_n_proc_DA to fewer, and run the command again; a "
            "training that has checkpoints continues with --resume"
        )
    if isinstance(error, RecursionError):
        return "an input is nested too deeply; use another copy"
    if isinstance(error, UnicodeError):
        return f"a name or text cannot be encoded ({reason}); rename it"
    kept = _keep_traceback(error)
    return (
        f"unexpected {type(error).__name__}: {reason}. If your input is correct, this is a bug in "
        f"umamba; please report it with {kept}"
    )


def _keep_traceback(error: Exception) -> str:
    """Write an error's traceback to a file, for those who can fix it; return where that is."""
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
    """Flush the output; if that is impossible, discard it and return `True`.

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
    """A log handler that writes to the current stderr and keeps names from files on one line."""

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
    """Show our own messages only, without the one that the command itself will fail with."""
    threading.excepthook = _report_from_thread
    log = logging.getLogger("umamba")
    if not log.handlers:
        log.addHandler(_StderrHandler())
        log.setLevel(logging.INFO)
