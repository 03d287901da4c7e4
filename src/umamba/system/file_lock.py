"""Tell whether the process that owns a file or folder still runs: by a lock, or by its number.

The system releases locks when their process ends, however it ends.
"""

import math
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "FileLock",
    "LockHeldError",
    "is_abandoned",
    "is_running",
    "own_signature",
    "waited_lock",
]

_HOLDER = re.compile(r"process (\d+) on (.+)", re.ASCII)
_SIGNATURE = re.compile(r"(\d+)@(.+)", re.ASCII)
_held: set[int] = set()


class LockHeldError(Exception):
    """Another process holds the lock; the text says which."""


class FileLock:
    """The lock of a file, held from the start until `release`.

    Where files cannot be locked, the process that the file names is looked up instead.

    Args:
        path: The file, created if it does not exist; its folder must exist.
        create: Whether the file is created; if not, a missing file is an error.

    Attributes:
        refusal: Why the file could not be locked by the system; `None` where it was.

    Raises:
        LockHeldError: If another process holds it.
        OSError: If the file cannot be opened.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        self.refusal: str | None = None
        flags = os.O_RDWR | (os.O_CREAT if create else 0) | getattr(os, "O_NOFOLLOW", 0)
        while True:
            self._descriptor = os.open(path, flags, 0o666)
            try:
                self._lock()
                if self._is_in_place():
                    break
            except BaseException:
                os.close(self._descriptor)
                raise
            os.close(self._descriptor)  # its holder removed it in the meantime
        _held.add(self._descriptor)
        self._sign()

    def release(self) -> None:
        """Let go of the lock, and remove its file."""
        if self._is_in_place():
            with suppress(OSError):  # Windows removes no open file
                self.path.unlink()
        _held.discard(self._descriptor)
        os.close(self._descriptor)

    def _lock(self) -> None:
        if fcntl is not None:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockHeldError(self._holder() or "another process") from None
            except OSError as error:
                self.refusal = error.strerror or str(error)
            else:
                return
        self.refusal = self.refusal or "this system has no flock"
        holder = _HOLDER.fullmatch(self._holder())
        if holder is None or int(holder[1]) == os.getpid():
            return
        if holder[2] != socket.gethostname() or is_running(int(holder[1])):
            raise LockHeldError(holder[0])

    def _holder(self) -> str:
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        return os.read(self._descriptor, 200).decode(errors="replace").strip()

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._descriptor), self.path.lstat())
        except OSError:
            return False

    def _sign(self) -> None:
        """Write who holds the lock, for messages; a full disk keeps nobody from locking."""
        text = f"process {os.getpid()} on {socket.gethostname()}\n"
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, text.encode())


@contextmanager
def waited_lock(
    path: Path,
    *,
    on_wait: Callable[[str], object] = lambda _: None,
    most_seconds: float = math.inf,
    seconds_between_looks: float = 0.1,
) -> Iterator[None]:
    """Hold the lock of a file; wait for it while another process does.

    Args:
        path: The file; its folder must exist.
        on_wait: Called once, with who holds it, if it has to be waited for.
        most_seconds: How long it is waited for.
        seconds_between_looks: Time between attempts.

    Raises:
        LockHeldError: If it is still held after that time.
        OSError: If the file cannot be opened.
    """
    began, holder = time.monotonic(), ""
    while isinstance(lock := _lock_or_holder(path), str):
        if time.monotonic() - began > most_seconds:
            raise LockHeldError(lock)
        if not holder:
            holder = lock
            on_wait(holder)
        time.sleep(seconds_between_looks)
    try:
        yield
    finally:
        lock.release()


def _lock_or_holder(path: Path) -> FileLock | str:
    try:
        return FileLock(path)
    except LockHeldError as error:
        return str(error)


def own_signature() -> str:
    """Return the ending of the names of this process's own files."""
    return f"{os.getpid()}@{socket.gethostname()}"


def is_abandoned(signature: str) -> bool:
    """Return whether a signature is that of a process of this machine that has ended."""
    match = _SIGNATURE.fullmatch(signature)
    return match is not None and match[2] == socket.gethostname() and not is_running(int(match[1]))


def is_running(process_id: int) -> bool:
    """Return whether a process of that number is alive on this machine."""
    if process_id <= 0:
        return False
    if os.name == "nt":
        return True  # signal 0 would end it there
    try:
        os.kill(process_id, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _let_go() -> None:
    """Close the locks in a forked worker, which would otherwise hold them after its parent dies."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
