"""Read the facts of files as nnU-Net will read them, and remember those of a data set by content.

The facts are kept in the user's cache, a file per data set, and are only a shortcut: they
count for the same bytes, the same reader, and the same code, and are ignored where the file is
damaged or cannot be written.
"""

import functools
import hashlib
import json
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from umamba.errors import UMambaError
from umamba.images.facts import FileFacts
from umamba.images.file_names import split_ending
from umamba.images.formats import FORMATS
from umamba.system.atomic_files import write_whole
from umamba.system.environment import cache_folder
from umamba.system.path_names import no_plain_file, shown

__all__ = ["CheckedFiles", "Reading", "remembered_note"]

log = logging.getLogger(__name__)

_LIBRARIES = ("numpy", "SimpleITK", "nibabel", "nnunetv2", "pillow", "scikit-image", "tifffile")
_CHUNK = 2**20
_MOST_FILES = 100_000  # per data set, some 50 MB
_MOST_DATASETS = 50
_MOST_BYTES = 2**28


class CheckedFiles:
    """The facts of a data set's files, those of earlier runs included.

    Args:
        dataset: The folder of the data set.
    """

    def __init__(self, dataset: Path) -> None:
        name = hashlib.blake2b(os.fsencode(dataset.absolute()), digest_size=16).hexdigest()
        folder = cache_folder()
        self._file = folder / "checked" / f"{name}.json" if folder else None
        self._known = _load(self._file)
        self._used: dict[str, dict[str, Any]] = {}
        self.n_files = 0
        self.n_remembered = 0

    def facts(self, path: Path, reader: str | None, *, is_mask: bool) -> FileFacts:
        """Return the facts of a file; arguments and errors are those of `read_image`."""
        self.n_files += 1
        before = _state(path)
        if before is None:
            return FileFacts.read(path, is_mask=is_mask, reader=reader)
        key = _key(path, reader, is_mask=is_mask)
        if key is None:
            return FileFacts.read(path, is_mask=is_mask, reader=reader)
        if key in self._known:
            with suppress(KeyError, TypeError, ValueError):
                facts = FileFacts.from_dict(path, self._known[key])
                self._used[key] = self._known[key]
                self.n_remembered += 1
                return facts
        facts = FileFacts.read(path, is_mask=is_mask, reader=reader)
        if _state(path) == before:
            self._used[key] = facts.to_dict()
        return facts

    def save(self, most_datasets: int = _MOST_DATASETS) -> None:
        """Remember the files of this run, and no others; it does not matter if that fails.

        Args:
            most_datasets: How many data sets are remembered; older ones are forgotten.
        """
        if self._file is None or self._used == self._known or len(self._used) > _MOST_FILES:
            return
        entries = json.dumps(self._used)
        head = {"version": _version(), "digest": _digest(entries)}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._file, f"{json.dumps(head)}\n{entries}\n")
            _prune(self._file.parent, most_datasets)
        except (OSError, UMambaError):
            log.debug("cannot remember what was checked", exc_info=True)


@dataclass(frozen=True)
class Reading:
    """The way in which the files of a data set are read.

    Attributes:
        reader: nnU-Net's reader; by default that of the ending.
        as_it_is: Whether nnU-Net gets the files themselves, and not what we make of them.
        memory: The facts that are already known of the files.
    """

    reader: str | None = None
    as_it_is: bool = False
    memory: CheckedFiles | None = None

    def facts(self, path: Path, *, is_mask: bool) -> FileFacts:
        """Return the facts of a file; arguments and errors are those of `read_image`."""
        if self.memory is None:
            return FileFacts.read(path, is_mask=is_mask, reader=self.reader)
        return self.memory.facts(path, self.reader, is_mask=is_mask)


def remembered_note(n_remembered: int, n_files: int) -> str:
    """Say how many files were not read again; "" if none."""
    if not n_remembered:
        return ""
    return f" ({n_remembered} of {n_files} files are unchanged since an earlier check)"


def _state(path: Path) -> tuple[int, ...] | None:
    """Return values that change with the file; `None` if its name or kind cannot be read."""
    try:
        if shown(path) != str(path) or no_plain_file(path):
            return None
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _key(path: Path, reader: str | None, *, is_mask: bool) -> str | None:
    ending = split_ending(path)[1]
    usual = FORMATS[ending].usual_reader if ending else None
    content = hashlib.blake2b(digest_size=20)
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                content.update(chunk)
    except OSError:
        return None
    kind = "mask" if is_mask else "image"
    return f"{content.hexdigest()} {ending} {reader or usual} {kind}"


def _load(file: Path | None) -> dict[str, dict[str, Any]]:
    if file is None:
        return {}
    try:
        first, _, text = file.read_text(encoding="utf-8").partition("\n")
        head = json.loads(first)
        if (head["version"], head["digest"]) != (_version(), _digest(text.rstrip("\n"))):
            return {}
        known = json.loads(text)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    entries = known.items() if isinstance(known, dict) else ()
    return {key: entry for key, entry in entries if isinstance(entry, dict)}


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


@functools.cache
def _version() -> str:
    """Return a digest of the modules of this room and the versions of the libraries it reads with.

    After a change of any of them all files are read again.
    """
    code = hashlib.blake2b(digest_size=20)
    for module in sorted(Path(__file__).parent.glob("*.py")):
        code.update(module.read_bytes())
    for library in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            code.update(f"{library} {metadata.version(library)} ".encode())
    return code.hexdigest()


def _prune(folder: Path, most_datasets: int) -> None:
    """Forget the data sets that were checked longest ago."""
    kept = 0
    newest = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    for n, file in enumerate(newest):
        kept += file.stat().st_size
        if n > 0 and (n >= most_datasets or kept > _MOST_BYTES):
            file.unlink()
