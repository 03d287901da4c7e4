"""The section on nnU-Net: where Python imports it from, and whether it is the PyPI release."""

import base64
import hashlib
import json
from importlib.metadata import Distribution, PackageNotFoundError, PackagePath, distribution
from importlib.util import find_spec
from pathlib import Path

from umamba.doctor.section import Section

__all__ = ["examine_nnunet"]

_PACKAGE = "nnunetv2"
_REQUIREMENT = "nnunetv2>=2.8,<3"  # as in our own metadata; a test compares the two
_INSTALL = f"`pip install '{_REQUIREMENT}'`"
# A file that the authors' U-Mamba fork adds.
_FORK_FILE = "nets/UMambaBot_3d.py"
_SHOWN = 3


def examine_nnunet() -> Section:
    """Find nnU-Net without importing it, and compare its files with pip's record."""
    folder = _imported_from()
    if folder is None:
        problem = f"Python finds no {_PACKAGE}; {_INSTALL}"
        return Section("nnU-Net", {"nnunetv2": "not installed"}, (problem,))
    try:
        installed = distribution(_PACKAGE)
    except PackageNotFoundError:
        lines = {"imported from": str(folder), "stock": "no: pip did not install it"}
        return Section("nnU-Net", lines, warnings=(f"{lines['stock']}; {_INSTALL}",))
    doubt = _doubt(installed, folder)
    version = installed.version
    stock = f"yes: every file is as pip installed it{_additions(installed, folder)}"
    lines = {
        "version": version,
        "imported from": str(folder),
        "stock": f"no: {doubt}" if doubt else stock,
    }
    if not _fits(version):
        text = f"{_PACKAGE} {version} is not {_REQUIREMENT}{f' ({doubt})' if doubt else ''}"
        return Section("nnU-Net", lines, (f"{text}; in a fresh environment: {_INSTALL}",))
    mend = (
        f"`pip install --force-reinstall --no-deps '{_PACKAGE}=={version}'` installs the stock one"
    )
    warnings = (f"this is not the stock {_PACKAGE}: {doubt}; {mend}",) if doubt else ()
    return Section("nnU-Net", lines, warnings=warnings)


def _imported_from() -> Path | None:
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def _fits(version: str) -> bool:
    numbers = [int(part) if part.isdigit() else 0 for part in version.split(".")[:2]]
    return [2, 8] <= numbers < [3]


def _doubt(installed: Distribution, folder: Path) -> str | None:
    """Return what suggests that it is not the release from PyPI."""
    if (folder / _FORK_FILE).is_file():
        return "it is the fork of U-Mamba's authors, which is called nnunetv2 as well"
    source = json.loads(installed.read_text("direct_url.json") or "{}")
    if source:
        kind = "an editable install of" if _is_editable(source) else "installed from"
        return f"{kind} {source.get('url', 'an unknown place')}"
    recorded = [file for file in installed.files or () if file.parts[0] == _PACKAGE]
    if not any(file.hash for file in recorded):
        return "pip has no record of its files"
    if Path(str(installed.locate_file(_PACKAGE))).resolve() != folder:
        return "a folder earlier on Python's path hides the one that pip installed"
    changed = [str(file) for file in recorded if file.hash and not _is_intact(file)]
    return f"{len(changed)} of its files changed or missing: {_some(changed)}" if changed else None


def _is_editable(source: dict[str, object]) -> bool:
    info = source.get("dir_info")
    return isinstance(info, dict) and bool(info.get("editable"))


def _additions(installed: Distribution, folder: Path) -> str:
    """Name additional files in its folder: mostly trainers of the user."""
    known = {Path(str(file.locate())).resolve() for file in installed.files or ()}
    sources = sorted(file.resolve() for file in folder.rglob("*.py"))
    added = [str(file.relative_to(folder)) for file in sources if file not in known]
    return f"; not part of the release: {_some(added)}" if added else ""


def _is_intact(file: PackagePath) -> bool:
    path = Path(str(file.locate()))
    if file.hash is None or file.hash.mode not in hashlib.algorithms_available:
        return True
    if not path.is_file():
        return False
    digest = hashlib.new(file.hash.mode, path.read_bytes()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == file.hash.value


def _some(files: list[str]) -> str:
    more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    return ", ".join(sorted(files)[:_SHOWN]) + more
