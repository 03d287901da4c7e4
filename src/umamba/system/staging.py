"""Copies of folders on a disk of this machine, made once and shared by the jobs that run here."""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from umamba.errors import UMambaError
from umamba.system.atomic_files import flush_to_disk, make_folder, take_name
from umamba.system.environment import expanded
from umamba.system.file_lock import waited_lock

__all__ = ["staged"]

_FOLDER = "umamba-staged"
_BLOCK = 1 << 22
_MIB = 2**20
_MARGIN_BYTES = 50 * _MIB  # for the system, and what others write meanwhile


def staged(
    source: Path,
    place: Path,
    name: str,
    *,
    wanted: Callable[[str], bool] = lambda _: True,
    seconds_between_looks: float = 0.5,
) -> Path:
    """Return a folder's copy on a disk of this machine, made now unless it is there.

    The copy is named after the names, sizes and times of the source's files, so that a changed
    source is copied anew, and so is a copy that lacks some of them. It appears once it is whole,
    and only its user can read it. If another process is making it, that is waited for.

    Args:
        source: A folder of files.
        place: A folder on the disk; variables in it are replaced by their values.
        name: A name for the copy, which the source's fingerprint is added to.
        wanted: Whether a file, given by its name, is copied.
        seconds_between_looks: Time between looks at a copy that another process makes.

    Raises:
        UMambaError: If the disk has no room, the copy differs from the source, or either cannot be
            read or written; nothing is left of the copy.
    """
    root = _own_folder(Path(expanded(str(place))))
    files = _files(source, wanted)
    copy = root / f"{name}-{_fingerprint(files)}"
    if _has(copy, files):
        return copy
    lock = waited_lock(
        copy.with_name(f".{copy.name}.waiting"),
        on_wait=lambda holder: sys.stderr.write(f"waiting for {holder}, which makes {copy}\n"),
        seconds_between_looks=seconds_between_looks,
    )
    with _explained(copy), lock:
        if not _has(copy, files):  # another process may have made it meanwhile
            shutil.rmtree(copy, ignore_errors=True)  # parts of it may have been cleaned away
            _check_room(source, root, sum(status.st_size for status in files.values()))
            sys.stderr.write(f"copying {source} to {copy}\n")
            with _made(copy) as partial:
                _copy(source, partial, files)
                if _fingerprint(_files(source, wanted)) != _fingerprint(files):
                    msg = f"{source} was changed while it was copied; run the command again"
                    raise UMambaError(msg)
    return copy


@contextmanager
def _made(copy: Path) -> Iterator[Path]:
    """Make a folder under a temporary name, and give it its own on leaving."""
    partial = copy.with_name(f".{copy.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a killed process
        partial.mkdir(mode=0o700)
        yield partial
        take_name(partial, copy)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _explained(copy: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = (
            f"cannot make {copy}: {error.strerror or error}; nothing is left of it. Make room, "
            "give another --stage, or leave it out"
        )
        raise UMambaError(msg) from error


def _own_folder(place: Path) -> Path:
    """Return a folder below a place that others may use, too; it is this user's alone."""
    if "$" in str(place):
        msg = f"--stage {place} names a variable that is not set on this machine; set it"
        raise UMambaError(msg)
    user = f"-{os.getuid()}" if hasattr(os, "getuid") else ""
    folder = place.absolute() / f"{_FOLDER}{user}"
    make_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        msg = f"cannot make {folder}: {error.strerror}; make room, or give another --stage"
        raise UMambaError(msg) from None
    if folder.is_symlink() or (user and status.st_uid != os.getuid()):
        msg = f"{folder} is a link or belongs to somebody else; give another --stage"
        raise UMambaError(msg)
    return folder


def _files(source: Path, wanted: Callable[[str], bool]) -> dict[str, os.stat_result]:
    try:
        with os.scandir(source) as entries:
            found = {e.name: e.stat() for e in entries if e.is_file() and wanted(e.name)}
    except OSError as error:
        msg = f"{error.filename or source} cannot be read ({error.strerror}); check the disk"
        raise UMambaError(msg) from None
    return dict(sorted(found.items()))


def _has(copy: Path, files: dict[str, os.stat_result]) -> bool:
    """Return whether a copy has all files; a cleaner of old ones may have removed some."""
    if not copy.is_dir():
        return False
    there = _files(copy, files.__contains__)
    return all(
        name in there and there[name].st_size == status.st_size for name, status in files.items()
    )


def _fingerprint(files: dict[str, os.stat_result]) -> str:
    facts = [(name, status.st_size, status.st_mtime_ns) for name, status in files.items()]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _check_room(source: Path, root: Path, n_bytes: int) -> None:
    needed, free = n_bytes + _MARGIN_BYTES, shutil.disk_usage(root).free
    if free < needed:
        msg = (
            f"the copy of {source} needs {-(-needed // _MIB)} MiB, and {root} has {free // _MIB} "
            "MiB left; make room, give another --stage, or leave it out"
        )
        raise UMambaError(msg)


def _copy(source: Path, copy: Path, files: dict[str, os.stat_result]) -> None:
    """Copy files, and compare what is on the disk with what was read."""
    for name, status in files.items():
        digest = hashlib.blake2b()
        with (source / name).open("rb") as original, (copy / name).open("wb") as target:
            for block in _blocks(original.read):
                digest.update(block)
                target.write(block)
        flush_to_disk(copy / name)
        written = hashlib.blake2b()
        with (copy / name).open("rb") as target:
            for block in _blocks(target.read):
                written.update(block)
        size = (copy / name).stat().st_size
        if size != status.st_size or written.digest() != digest.digest():
            msg = f"the copy of {source / name} differs from it; check both disks"
            raise UMambaError(msg)
        os.utime(copy / name, ns=(status.st_atime_ns, status.st_mtime_ns))


def _blocks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    return iter(lambda: read(_BLOCK), b"")
