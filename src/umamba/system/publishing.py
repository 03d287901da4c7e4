"""Put finished folders and files in their place atomically, without losing anybody else's.

They are made in a hidden folder beside their place, and get their name in a step that fails where
anything has that name. What they replace is moved aside first, and is only removed once the
new one is in place. After a kill between any two steps the next run for the same place finishes or
undoes what was begun; what was moved aside is put back.
"""

import errno
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from umamba.errors import UMambaError
from umamba.system.atomic_files import take_name
from umamba.system.file_lock import FileLock, LockHeldError

__all__ = [
    "Publication",
    "full_temporary_folder_explained",
    "publication",
    "scratch_folder",
]

_Snapshot = dict[str, tuple[int, ...]]

_CLAIM_MODE = 0o1700  # nobody else's empty folder has it


class Publication:
    """One folder or file that is being made.

    Args:
        target: Its place.

    Attributes:
        new: Where it is made; nothing is there at first.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.workspace = target.with_name(f".{target.name}.partial")
        self.new = self.workspace / "new"
        self._aside = target.with_name(f".{target.name}.original")
        self._claim = self.workspace / "claim"
        self._replacing = self.workspace / "replacing"
        self._seen: _Snapshot | None = None

    @property
    def replaces(self) -> bool:
        """True if anything was there at the beginning."""
        return self._seen is not None

    def begin(self) -> None:
        """Put right what a killed run left, and note what is there: only that may be replaced.

        Raises:
            UMambaError: If what was moved aside cannot be put back.
            OSError: If the place cannot be written to.
        """
        self.clear()
        if os.path.lexists(self.target):
            self._seen = _snapshot(self.target)
            if not self.target.is_symlink() and not os.access(self.target, os.W_OK):
                raise PermissionError(errno.EACCES, "Permission denied", os.fspath(self.target))
        self.workspace.mkdir()

    def publish(self) -> None:
        """Give what was made its name.

        Raises:
            UMambaError: If anything has appeared or changed there since the beginning; it stays.
            OSError: If it cannot be renamed.
        """
        if self._seen is not None:
            self._set_aside(self._seen)
        try:
            _rename_to_free_name(self.new, self.target, self._claim)
        except FileExistsError:
            raise self._changed() from None
        if self._seen is not None:
            self._aside.rename(self.workspace / "old")

    def _set_aside(self, seen: _Snapshot) -> None:
        self._replacing.touch()
        try:
            self.target.rename(self._aside)
        except FileNotFoundError:
            raise self._changed() from None
        if _snapshot(self._aside) != seen:
            raise self._changed()

    def clear(self) -> None:
        """Finish or undo what was begun, and remove what is left of it.

        Raises:
            UMambaError: If what was moved aside cannot be put back.
            OSError: If it cannot be renamed.
        """
        _give_back(self._claim, self.target)
        try:
            if os.path.lexists(self._aside):
                self._settle_aside()
        finally:  # the mark goes first: it tells that what is no longer new was published
            self._replacing.unlink(missing_ok=True)
            _remove(self.workspace)

    def _settle_aside(self) -> None:
        if os.path.lexists(self.target) and _is_same(self._aside, self.target):
            self._aside.unlink()  # a file that has its name back already
            return
        if os.path.lexists(self.target) and self._is_published():
            self._aside.rename(self.workspace / "old")
            return
        self.workspace.mkdir(exist_ok=True)
        try:
            _rename_to_free_name(self._aside, self.target, self._claim)
        except FileExistsError:
            msg = (
                f"{self.target} was made by another program while it was being replaced; what was "
                f"there before is whole, in {self._aside}. Move one of them away, then run the "
                "command again"
            )
            raise UMambaError(msg) from None

    def _is_published(self) -> bool:
        if not self._replacing.exists():
            return False
        return not os.path.lexists(self.new) or _is_same(self.new, self.target)

    def _changed(self) -> UMambaError:
        return UMambaError(
            f"{self.target} was made, changed or removed by another program in the meantime, and "
            "was left as it is; look at it, then run the command again"
        )


@contextmanager
def publication(target: Path, remedy: str, *, overwrite: bool = False) -> Iterator[Publication]:
    """Make a folder or a file, while no other process can make the same one.

    Args:
        target: Its place; missing folders above it are made.
        remedy: What to do where something is there already, for the message.
        overwrite: Whether what is there at the beginning may be replaced.

    Yields:
        Where it is made; `publish` gives it its name. What is not published is removed.

    Raises:
        UMambaError: If something is there, another process makes it, or it cannot be written.
    """
    work = Publication(target.absolute())
    try:
        with _made(work.target.parent), _only_one(work.target):
            work.begin()
            try:
                if work.replaces and not overwrite:
                    msg = f"{target} exists already; {remedy}"
                    raise UMambaError(msg)
                yield work
            finally:
                work.clear()
    except OSError as error:
        msg = (
            f"cannot make {target}: {_reason(error, work.workspace)}; nothing was changed there. "
            "Make room or give write access, or choose another place"
        )
        raise UMambaError(msg) from error


@contextmanager
def scratch_folder(prefix: str = "umamba-", parent: Path | None = None) -> Iterator[Path]:
    """Make a folder for what is needed for a while; those that killed runs left are removed.

    Args:
        prefix: The beginning of its name, and of the names of those that killed runs left.
        parent: Where it is made; `None` takes the system's folder for temporary files.

    Yields:
        The folder, which is removed on leaving.

    Raises:
        UMambaError: If it cannot be made.
    """
    try:
        place = Path(tempfile.gettempdir()) if parent is None else parent
        lock = _lock_of_free_name(prefix, place)
    except OSError as error:
        msg = f"no temporary folder can be made: {_reason(error)}; {_TEMPORARY_REMEDY}"
        raise UMambaError(msg) from error
    folder = lock.path.with_suffix("")
    try:
        _remove_stale(prefix, place)
        with full_temporary_folder_explained(place):
            folder.mkdir(mode=0o700)
        yield folder
    finally:
        _remove(folder)
        lock.release()


_TEMPORARY_REMEDY = "make room or give write access, or set TMPDIR to another folder"


@contextmanager
def full_temporary_folder_explained(folder: Path) -> Iterator[None]:
    """Explain an error met while a temporary folder is written to.

    Raises:
        UMambaError: If there was one.
    """
    try:
        yield
    except OSError as error:
        msg = f"cannot write to {folder}: {_reason(error, folder)}; {_TEMPORARY_REMEDY}"
        raise UMambaError(msg) from error


def _lock_of_free_name(prefix: str, place: Path) -> FileLock:
    while True:
        with suppress(LockHeldError):  # for a moment, by one who looks for what killed runs left
            return FileLock(place / f"{prefix}{secrets.token_hex(8)}.lock")


def _remove_stale(prefix: str, place: Path) -> None:
    """Remove scratch folders of this user whose processes have ended."""
    for path in place.glob(f"{prefix}*.lock"):
        try:
            if hasattr(os, "getuid") and path.lstat().st_uid != os.getuid():
                continue
            lock = FileLock(path, create=False)
        except (OSError, LockHeldError):
            continue
        _remove(path.with_suffix(""))
        lock.release()


@contextmanager
def _only_one(target: Path) -> Iterator[None]:
    try:
        lock = FileLock(target.with_name(f".{target.name}.lock"))
    except LockHeldError as error:
        msg = f"{target} is being made by {error}; wait for it, or stop it"
        raise UMambaError(msg) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder, and those above it; those that stay empty are removed again."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(folder))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


def _rename_to_free_name(source: Path, target: Path, claim: Path) -> None:
    """Rename a file or folder.

    Args:
        source: What is finished, on the same file system.
        target: Its new name.
        claim: A folder that is there while an empty folder holds the name.

    Raises:
        FileExistsError: If anything has the name.
        OSError: If it cannot be renamed.
    """
    if os.name == "nt" or not stat.S_ISDIR(source.lstat().st_mode):
        if not take_name(source, target, replace=False):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(target))
        return
    _reserve(target, claim)
    try:
        take_name(source, target)  # replaces nothing but an empty folder
    except OSError as error:
        _give_back(claim, target)
        if os.path.lexists(target):
            raise FileExistsError(*error.args) from error
        raise
    claim.rmdir()


def _reserve(target: Path, claim: Path) -> None:
    claim.mkdir(_CLAIM_MODE)
    try:
        target.mkdir(_CLAIM_MODE)
    except OSError:
        claim.rmdir()
        raise


def _give_back(claim: Path, target: Path) -> None:
    """Remove an empty folder that reserved a name, if it was not filled."""
    if not claim.exists():
        return
    if target.is_dir() and target.lstat().st_mode == claim.lstat().st_mode:
        with suppress(OSError):  # it has been filled
            target.rmdir()
    claim.rmdir()


def _snapshot(path: Path) -> _Snapshot:
    """Return what is at a path and below it, so that any change but a renaming shows.

    Raises:
        OSError: If it cannot be read.
    """
    found = {"": _facts(path.lstat())}
    folders = [("", path)] if stat.S_ISDIR(path.lstat().st_mode) else []
    while folders:
        name, folder = folders.pop()
        found[name] = found[name][:2]  # its entries say more than its size and time
        with os.scandir(folder) as entries:
            for entry in entries:
                below = f"{name}/{entry.name}"
                found[below] = _facts(entry.stat(follow_symlinks=False))
                if entry.is_dir(follow_symlinks=False):
                    folders.append((below, Path(entry.path)))
    return found


def _is_same(one: Path, other: Path) -> bool:
    return os.path.samestat(one.lstat(), other.lstat())


def _facts(status: os.stat_result) -> tuple[int, ...]:
    return stat.S_IFMT(status.st_mode), status.st_ino, status.st_size, status.st_mtime_ns


def _remove(path: Path) -> None:
    """Remove what is ours; say so if it cannot be removed."""
    if not os.path.lexists(path):
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
    if os.path.lexists(path):
        sys.stderr.write(f"note: {path} is no longer needed, but cannot be removed\n")


def _reason(error: OSError, ours: Path | None = None) -> str:
    """Return what the system says, with the file that it means unless that is one of ours."""
    text = error.strerror or str(error) or type(error).__name__
    file = error.filename
    if not isinstance(file, str) or (ours and ours in Path(file).parents):
        return text
    return f"{text}: {file}"
