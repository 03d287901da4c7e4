"""Folders of outputs: whose they are, said before the first output, and files made out of sight."""

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from umamba import __version__
from umamba.errors import UMambaError
from umamba.system.atomic_files import flush_to_disk, take_name
from umamba.system.file_lock import (
    FileLock,
    LockHeldError,
    is_abandoned,
    own_signature,
    waited_lock,
)

__all__ = [
    "RECORD",
    "OutputClaim",
    "Workshop",
    "clear_stale",
    "publish",
    "segmentations_of_others",
    "staging_name",
]

_STAGING = ".umamba-partial-"
RECORD = "umamba_prediction.json"
_LOCK = ".umamba_prediction.lock"
_OPTIONAL = (
    "ensemble",
    "postprocessing",
    "codes_sha256",
    "skip_background_patches",
)  # of an identity: what most folders do not have
_LONGEST_WAIT = 60.0  # the lock is held for as long as a small file is written
_STOCK_RECORD = "predict_from_raw_data_args.json"  # what stock nnU-Net leaves beside predictions


def staging_name() -> str:
    """Return the hidden name under which this process makes files in an output folder."""
    return f"{_STAGING}{own_signature()}"


def clear_stale(folder: Path) -> None:
    """Remove unfinished files of this machine's dead processes from an output folder."""
    for stale in folder.glob(f"{_STAGING}*"):
        if is_abandoned(stale.name.removeprefix(_STAGING).removesuffix(".json")):
            if stale.is_dir():
                shutil.rmtree(stale, ignore_errors=True)
            else:
                stale.unlink(missing_ok=True)
    with suppress(OSError, LockHeldError):
        FileLock(folder / _LOCK, create=False).release()


class Workshop:
    """A hidden folder in the output folder, in which files are made; gone when it is left.

    Its name tells its process, and folders of processes that died are removed.

    Args:
        output: The output folder, created if it does not exist.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        output.mkdir(parents=True, exist_ok=True)
        clear_stale(output)
        self.folder = output / staging_name()

    def __enter__(self) -> Path:
        self.clear()
        self.folder.mkdir()
        return self.folder

    def __exit__(self, *_: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Remove the folder, even what is left if an interrupt came during an earlier removal."""
        shutil.rmtree(self.folder, ignore_errors=True)


def publish(files: list[Path], folder: Path, *, replace: bool) -> None:
    """Flush whole files to the disk, then move them to their place in the given order.

    Args:
        files: The files.
        folder: The folder they go to.
        replace: Whether existing files are replaced.

    Raises:
        FileExistsError: If one exists that may not be replaced.
    """
    for file in files:
        flush_to_disk(file)
        target = folder / file.name
        if not take_name(file, target, replace=replace):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))


def segmentations_of_others(folder: Path) -> set[str]:
    """Return the cases in a folder that the model which claims it has not made, or not yet."""
    try:
        there = json.loads((folder / RECORD).read_text())
        return {*there["others"], *there["replacing"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


class OutputClaim:
    """A model's claim on a folder, written before its first output and so valid after any kill.

    The record names the cases whose files another model, or nobody known, has made: those that
    stay (`others`), and those that `--overwrite` has begun to replace (`replacing`). Several
    processes of one model may share a folder, each with cases of its own.

    Args:
        folder: The folder, which need not exist yet.
        identity: All that two predictions must share to be put into one folder.
        endings: The endings of a case's outputs: first those that a case needs to count as done.
        required: The number of those endings.
        overwrite: Whether files are replaced.
        option: The option that names the folder, for messages.
        companions: Files that describe the outputs, by name, as JSON.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        *,
        endings: Sequence[str],
        required: int,
        overwrite: bool,
        option: str = "-o",
        companions: Mapping[str, Any] | None = None,
    ) -> None:
        self._folder = folder
        self._identity = json.loads(json.dumps(identity))
        self._endings, self._required = endings, endings[:required]
        self._overwrite, self._option = overwrite, option
        self._companions = companions or {}
        self._others: set[str] = set()
        self._replacing: set[str] = set()
        self._wanted: set[str] = set()
        self._there: set[str] = set()
        self._is_claimed = False

    @property
    def others(self) -> set[str]:
        """Return the cases in the folder that are not of this model and stay."""
        return self._others

    def find_done(self, case_ids: Iterable[str]) -> set[str]:
        """Return the cases that this model has done; nothing is written.

        Raises:
            UMambaError: If the folder is another model's, or files would be replaced unasked.
        """
        wanted = self._wanted = set(case_ids)
        self._there = self._outputs()
        record = self._read()
        if record is None:
            self._check_companions()
        else:
            self._is_claimed = self._check(record)
        if self._is_claimed and record is not None:
            self._take_up(record)
        else:
            self._others = set(self._there)
        if self._overwrite:
            self._is_claimed = False
            self._replacing = self._there & wanted
            self._others -= wanted
            return set()
        self._check_others(wanted)
        return {case_id for case_id in wanted - self._replacing if self._is_whole(case_id)}

    def _outputs(self) -> set[str]:
        """Return the cases that have any output in the folder."""
        names = [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []
        return {
            name.removesuffix(ending)
            for name in names
            for ending in self._endings
            if name.endswith(ending) and not name.startswith(".")
        }

    def _is_whole(self, case_id: str) -> bool:
        return all((self._folder / f"{case_id}{ending}").is_file() for ending in self._required)

    def _read(self) -> dict[str, Any] | None:
        """Return the record; `None` if there is none, or a damaged one may be replaced."""
        path = self._folder / RECORD
        try:
            there: dict[str, Any] = json.loads(path.read_text())
            if there["weights_sha256"]:
                return {"others": [], "replacing": []} | there
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            pass
        if self._overwrite:
            return None
        msg = f"{path} is damaged; {self._remedy()}"
        raise UMambaError(msg)

    def _check(self, record: Mapping[str, Any]) -> bool:
        """Return whether the record is this model's.

        Raises:
            UMambaError: If it is not, and nothing may be replaced.
        """
        differing = self._differing(record)
        if differing and not self._overwrite:
            verb = "differs" if len(differing) == 1 else "differ"
            msg = (
                f"the files in {self._folder} were made with another model or other settings "
                f"({', '.join(differing)} {verb}); {self._remedy()}"
            )
            raise UMambaError(msg)
        return not differing

    def _check_others(self, wanted: set[str]) -> None:
        unknown = sorted(self._others & wanted & self._outputs())
        if unknown:
            more = ", ..." if len(unknown) > 3 else ""
            msg = (
                f"{self._folder} holds files of {len(unknown)} of the cases "
                f"({', '.join(unknown[:3])}{more}) that are not recorded as this model's; "
                f"{self._remedy()}"
            )
            raise UMambaError(msg)

    def _check_companions(self) -> None:
        """Check that no description of something else is replaced, such as a data set's."""
        if self._overwrite and (self._folder / _STOCK_RECORD).is_file():
            return
        for name, content in self._companions.items():
            path = self._folder / name
            if path.is_file() and not _holds(path, content):
                msg = (
                    f"{path} describes something other than this model's predictions, and would be "
                    f"overwritten; give another {self._option}"
                )
                raise UMambaError(msg)

    def _remedy(self) -> str:
        return f"give another {self._option}, or --overwrite to predict all cases again"

    def may_replace(self, case_id: str) -> bool:
        """Return whether files of a case were there when the prediction began."""
        return case_id in self._there

    def stake(self, case_id: str, names: Iterable[str]) -> None:
        """Claim the folder, if that is not done; call before files of a case are published.

        Args:
            case_id: The case.
            names: The files. Other files of a case that is replaced are removed.

        Raises:
            UMambaError: If the folder became another model's in the meantime.
            OSError: If the record cannot be written.
        """
        if self._is_claimed:
            self._check_still_ours()
        else:
            if self._overwrite:
                self._take_over()
            else:
                self._write(first=True)
            self._is_claimed = True
            for name, content in self._companions.items():
                _write_durably(self._folder / name, content)
        if case_id in self._replacing:
            stale = {f"{case_id}{ending}" for ending in self._endings} - set(names)
            for name in stale:
                (self._folder / name).unlink(missing_ok=True)

    def settle(self, case_id: str) -> None:
        """Note that the files of a case are this model's; call after they were published."""
        if case_id in self._replacing:
            with self._alone():
                self._take_up(self._check_still_ours())
                self._replacing.discard(case_id)
                self._write(first=False)

    def _take_over(self) -> None:
        """Claim the folder for cases that are replaced, besides those of other processes."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            there = self._read()
            if there is not None and self._is_ours(there):
                replacing = self._replacing
                self._take_up(there)
                self._others -= self._wanted
                self._replacing |= replacing
            self._write(first=False)

    def _take_up(self, record: Mapping[str, Any]) -> None:
        self._others, self._replacing = set(record["others"]), set(record["replacing"])

    def _is_ours(self, record: Mapping[str, Any]) -> bool:
        return not self._differing(record)

    def _differing(self, record: Mapping[str, Any]) -> list[str]:
        """Return the properties in which a record differs from this model."""
        wanted = dict.fromkeys(_OPTIONAL) | self._identity
        there = dict.fromkeys(wanted, "?") | dict.fromkeys(_OPTIONAL) | dict(record)
        return [name for name, value in wanted.items() if there[name] != value]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from changing the record."""
        path = self._folder / _LOCK
        try:
            with waited_lock(path, most_seconds=_LONGEST_WAIT):
                yield
        except LockHeldError as error:
            msg = (
                f"{path} has been held by {error} for {_LONGEST_WAIT:.0f} s; remove it if that "
                "process is gone, then run the command again"
            )
            raise UMambaError(msg) from None

    def _check_still_ours(self) -> dict[str, Any]:
        there = self._read()
        if there is None or not self._is_ours(there):
            msg = (
                f"{self._folder} was taken over by another prediction in the meantime; give each a "
                f"{self._option} of its own, then run the command again"
            )
            raise UMambaError(msg)
        return there

    def _write(self, *, first: bool) -> None:
        path = self._folder / RECORD
        content = {
            "umamba": __version__,
            **self._identity,
            "others": sorted(self._others),
            "replacing": sorted(self._replacing),
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        if not _write_durably(path, content, only_if_absent=first):
            self._check_still_ours()  # another process was quicker


def _holds(path: Path, content: Any) -> bool:
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(content)))
    except (OSError, ValueError):
        return False


def _write_durably(path: Path, content: Any, *, only_if_absent: bool = False) -> bool:
    """Write JSON atomically, and flush it to the disk; return whether it was written."""
    partial = path.with_name(f"{staging_name()}.json")
    try:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        flush_to_disk(partial)
        return take_name(partial, path, replace=not only_if_absent)
    finally:
        partial.unlink(missing_ok=True)
