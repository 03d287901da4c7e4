"""Unpack zip files from elsewhere: nothing outside the folder, no links, no bombs."""

import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from umamba.errors import ModelFileError, quoted
from umamba.system.path_names import is_hidden_below

__all__ = ["check_member_name", "list_members", "unpack"]

_MOST_MEMBERS = 10_000
_MOST_BYTES = 64 * 2**30
# Weights shrink by a tenth and JSON tenfold; deflate reaches a thousandfold.
_MOST_RATIO = 200
_MOST_MEAN_RATIO = 20
_SMALL = 2**20  # a member below this may shrink as it likes
_LONGEST_NAME = 240  # in bytes, with its folders
_RESERVED = frozenset('<>:"|?*\\')


def list_members(path: Path, most_bytes: int = _MOST_BYTES) -> list[zipfile.ZipInfo]:
    """Return the files in a zip file, once all of them can be unpacked safely.

    Args:
        path: The zip file.
        most_bytes: How many bytes it may unpack to, whatever its own size.

    Returns:
        Its files, without folders and the hidden files that systems add.

    Raises:
        ModelFileError: If it is not a zip file, or a member has a name that leads elsewhere, is a
            link, is encrypted, or unpacks to far more than it should.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        msg = f"{path} is not a zip file, or is damaged ({error}); get another copy"
        raise ModelFileError(msg) from None
    if len(members) > _MOST_MEMBERS:
        msg = f"{path} holds {len(members)} files, more than the {_MOST_MEMBERS} that are accepted"
        raise ModelFileError(msg)
    seen: set[str] = set()
    for member in members:
        _check_member(member, path)
        folded = member.filename.rstrip("/").casefold()
        if folded in seen:
            msg = f"{path} holds {member.filename!r} twice; {_NOTHING_UNPACKED}"
            raise ModelFileError(msg)
        seen.add(folded)
    _check_sizes(members, path, most_bytes)
    return [m for m in members if not m.is_dir() and not is_hidden_below(m.filename)]


_NOTHING_UNPACKED = "nothing was unpacked. Get the model from a source that you trust"


def _check_member(member: zipfile.ZipInfo, path: Path) -> None:
    check_member_name(member.filename.removesuffix("/"), path)
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if kind == stat.S_IFLNK else "not an ordinary file"
        msg = f"{path}: {member.filename!r} is {what}; {_NOTHING_UNPACKED}"
        raise ModelFileError(msg)
    if member.flag_bits & 1:
        msg = f"{path}: {member.filename!r} is encrypted; get a copy that is not"
        raise ModelFileError(msg)
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        msg = f"{path}: {member.filename!r} is not compressed by deflate; zip it again with deflate"
        raise ModelFileError(msg)


def check_member_name(name: str, path: Path) -> None:
    """Check that a file's name, with / between folders, stays inside the folder it is put in.

    Args:
        name: The name.
        path: The file or folder that it comes from, for messages.

    Raises:
        ModelFileError: If it is absolute, leads upwards, or is not a portable name.
    """
    parts = name.split("/")
    climbs = any(part.strip(". ") == "" for part in parts)  # "", ".", "..", and what Windows trims
    if len(name.encode("utf-8", "replace")) > _LONGEST_NAME:
        msg = f"{path}: the name {quoted(name)} is too long; {_NOTHING_UNPACKED}"
        raise ModelFileError(msg)
    if climbs or not name.isprintable() or _RESERVED.intersection(name):
        msg = f"{path}: the name {name!r} leads out of the model's folder; {_NOTHING_UNPACKED}"
        raise ModelFileError(msg)


def _check_sizes(members: list[zipfile.ZipInfo], path: Path, most_bytes: int) -> None:
    """Check that the files do not unpack to far more than such a file should hold."""
    packed = sum(member.compress_size for member in members)
    total = sum(member.file_size for member in members)
    if packed > path.stat().st_size:
        msg = f"{path}: files overlap in it, as in a zip bomb; {_NOTHING_UNPACKED}"
        raise ModelFileError(msg)
    swollen = next(
        (m for m in members if m.file_size > max(_SMALL, _MOST_RATIO * m.compress_size)), None
    )
    if swollen is not None:
        msg = (
            f"{path}: {swollen.filename!r} would grow from {swollen.compress_size} to "
            f"{swollen.file_size} bytes, as a zip bomb does; {_NOTHING_UNPACKED}"
        )
        raise ModelFileError(msg)
    most = min(most_bytes, max(64 * _SMALL, _MOST_MEAN_RATIO * path.stat().st_size))
    if total > most:
        msg = (
            f"{path} would grow to {total} bytes, more than {most}, as a zip bomb does; "
            f"{_NOTHING_UNPACKED}"
        )
        raise ModelFileError(msg)


def unpack(path: Path, members: Iterable[zipfile.ZipInfo], folder: Path) -> None:
    """Unpack files that `list_members` has let through.

    Args:
        path: The zip file.
        members: Which of its files.
        folder: Where they go; created if it does not exist.

    Raises:
        ModelFileError: If one is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        for member in members:
            target = folder / member.filename
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with archive.open(member) as packed, target.open("xb") as file:
                    shutil.copyfileobj(packed, file, 2**20)
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
                msg = f"{path}: {member.filename!r} is damaged ({error}); get another copy"
                raise ModelFileError(msg) from None
