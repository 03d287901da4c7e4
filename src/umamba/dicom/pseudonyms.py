"""Names of cases that tell nothing of the patient, and the key file that tells who they are."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from umamba.errors import UMambaError
from umamba.system.atomic_files import make_folder, whole_file
from umamba.system.file_lock import waited_lock
from umamba.system.json_files import load_json
from umamba.system.path_names import shown

__all__ = ["Identity", "case_names", "key_beside", "known_cases"]

_FORMAT = 1
_NAME = re.compile(r"case_[0-9a-f]{8}", re.ASCII)


@dataclass(frozen=True)
class Identity:
    """The entry of a case in the key file: whose it is.

    Args:
        patient_id: The PatientID.
        study_uid: The StudyInstanceUID.
        series_uids: The SeriesInstanceUIDs, in the order of the channels.
        path: The folder of the first series, or a file that cannot be read.
        suv: Whether its PET is read as SUV, which makes it another case.
    """

    patient_id: str
    study_uid: str
    series_uids: tuple[str, ...]
    path: str
    suv: bool = False

    @property
    def same(self) -> tuple[str, ...]:
        """Return what identifies the case in any folder: UIDs, or an unreadable file's path."""
        uids = (self.study_uid, *self.series_uids) if self.series_uids else (self.path,)
        return (*uids, str(self.suv))


class _KeyFile(msgspec.Struct):
    umamba_key: int
    about: str
    cases: dict[str, Identity]


def key_beside(folder: Path) -> Path:
    """Return the key file of a folder of cases, unless another is given."""
    named = folder if folder.name not in ("", "..") else folder.resolve()
    return named.parent / f"{named.name}.key.json"


def case_names(identities: Sequence[Identity], key: Path) -> list[str]:
    """Return a name for each case, drawn at random unless the key file has one, and keep them.

    Args:
        identities: The cases.
        key: The key file, which only its owner can read.

    Raises:
        UMambaError: If it cannot be read or written.
    """
    make_folder(key.parent)
    try:
        with waited_lock(key.with_name(f".{key.name}.lock")):
            known = _known(key)
            names = {identity.same: name for name, identity in known.items()}
            new = [one for one in identities if one.same not in names]
            for identity in new:
                name = _new_name(known)
                known[name], names[identity.same] = identity, name
            if new:
                _write(key, known)
    except OSError as error:
        msg = f"the key file {shown(key)} cannot be written ({error.strerror}); give another --key"
        raise UMambaError(msg) from error
    return [names[identity.same] for identity in identities]


def known_cases(key: Path) -> dict[str, list[str]]:
    """Return the names of the cases of each SeriesInstanceUID; none without a key file.

    Raises:
        UMambaError: If it is not a key file.
    """
    found: dict[str, list[str]] = {}
    for name, identity in _known(key).items():
        for uid in identity.series_uids:
            found.setdefault(uid, []).append(name)
    return found


def _new_name(known: dict[str, Identity]) -> str:
    while (name := f"case_{secrets.token_hex(4)}") in known:
        pass
    return name


def _known(key: Path) -> dict[str, Identity]:
    if not key.exists():
        return {}
    try:
        content = msgspec.convert(load_json(key), _KeyFile)
    except msgspec.ValidationError as error:
        msg = f"{shown(key)} is not a key file ({error}); give another --key"
        raise UMambaError(msg) from None
    if content.umamba_key != _FORMAT or not all(map(_NAME.fullmatch, content.cases)):
        msg = f"{shown(key)} is not a key file of this version; give another --key"
        raise UMambaError(msg)
    return content.cases


def _write(key: Path, cases: dict[str, Identity]) -> None:
    about = "the patients of the cases: keep this file apart from what you share"
    text = msgspec.json.encode(_KeyFile(_FORMAT, about, cases))
    with whole_file(key) as partial:
        partial.touch(mode=0o600)
        partial.chmod(0o600)
        partial.write_bytes(msgspec.json.format(text, indent=2) + b"\n")
