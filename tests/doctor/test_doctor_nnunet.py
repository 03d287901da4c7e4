"""Which nnU-Net is imported, and whether it is the one from PyPI."""

import base64
import hashlib
import importlib
import json
import sys
from importlib import metadata
from pathlib import Path

import pytest

from umamba.doctor import nnunet
from umamba.doctor.nnunet import examine_nnunet

FILES = {"nnunetv2/__init__.py": "", "nnunetv2/paths.py": "raw = None", "nnunetv2/run.py": "pass"}


def install(site: Path, version: str = "2.8.1", **extra: str) -> None:
    """Install a package of that name as pip does, with a record of its files."""
    info = site / f"nnunetv2-{version}.dist-info"
    info.mkdir(parents=True)
    record = []
    for name, text in FILES.items():
        path = site / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
        record.append(f"{name},sha256={digest.decode().rstrip('=')},{len(text)}")
    (info / "RECORD").write_text("\n".join([*record, f"{info.name}/RECORD,,"]))
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: nnunetv2\nVersion: {version}\n")
    for name, text in extra.items():
        (info / name.replace("_json", ".json")).write_text(text)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which alone Python looks for packages."""
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.delitem(sys.modules, "nnunetv2", raising=False)
    return tmp_path / "site"


def test_the_installed_one_is_found_without_importing_it() -> None:
    section = examine_nnunet()
    assert section.lines["version"] == metadata.version("nnunetv2")
    assert section.lines["imported from"].endswith("nnunetv2")
    assert section.problems == ()


def test_the_range_of_versions_is_that_of_our_metadata() -> None:
    wanted = [text for text in metadata.requires("umamba") or () if text.startswith("nnunetv2")]
    assert [sorted(text[8:].split(",")) for text in wanted] == [
        sorted(nnunet._REQUIREMENT[8:].split(","))
    ]


def test_a_stock_one(site: Path) -> None:
    install(site)
    section = examine_nnunet()
    assert section.lines["stock"] == "yes: every file is as pip installed it"
    assert section.problems == section.warnings == ()


def test_own_trainers_are_named_and_do_no_harm(site: Path) -> None:
    install(site)
    (site / "nnunetv2" / "my_trainer.py").write_text("")
    section = examine_nnunet()
    assert section.lines["stock"].startswith("yes")
    assert section.lines["stock"].endswith("; not part of the release: my_trainer.py")
    assert section.warnings == ()


@pytest.mark.parametrize("how", ["changed", "deleted"])
def test_a_file_that_is_not_as_pip_installed_it(site: Path, how: str) -> None:
    install(site)
    file = site / "nnunetv2" / "paths.py"
    file.unlink() if how == "deleted" else file.write_text("raw = 1")
    section = examine_nnunet()
    assert section.lines["stock"] == ("no: 1 of its files changed or missing: nnunetv2/paths.py")
    (warning,) = section.warnings
    assert "`pip install --force-reinstall --no-deps 'nnunetv2==2.8.1'`" in warning
    assert section.problems == ()


def test_the_authors_fork(site: Path) -> None:
    """It registers as nnunetv2 2.1.1, mostly as an editable install."""
    source = {"url": "file:///home/me/U-Mamba/umamba", "dir_info": {"editable": True}}
    install(site, "2.1.1", direct_url_json=json.dumps(source))
    (site / "nnunetv2" / "nets").mkdir()
    (site / "nnunetv2" / "nets" / "UMambaBot_3d.py").write_text("")
    section = examine_nnunet()
    assert section.lines["stock"].startswith("no: it is the fork of U-Mamba's authors")
    (problem,) = section.problems
    assert problem.startswith("nnunetv2 2.1.1 is not nnunetv2>=2.8,<3 (it is the fork of U-Mamba's")
    assert problem.endswith("in a fresh environment: `pip install 'nnunetv2>=2.8,<3'`")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"url": "file:///src", "dir_info": {"editable": True}}, "an editable install of file:///"),
        ({"url": "https://host/fork.git", "vcs_info": {}}, "installed from https://host/fork.git"),
    ],
)
def test_not_from_pypi(site: Path, source: dict[str, object], message: str) -> None:
    install(site, direct_url_json=json.dumps(source))
    section = examine_nnunet()
    assert message in section.lines["stock"]
    assert message in section.warnings[0]


def test_without_a_record(site: Path) -> None:
    install(site)
    (site / "nnunetv2-2.8.1.dist-info" / "RECORD").unlink()
    assert examine_nnunet().lines["stock"] == "no: pip has no record of its files"


def test_a_folder_that_hides_it(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site)
    other = tmp_path / "checkout" / "nnunetv2"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(other.parent), str(site)])
    section = examine_nnunet()
    assert section.lines["imported from"] == str(other)
    assert "a folder earlier on Python's path hides" in section.lines["stock"]


def test_none_at_all_and_one_that_pip_does_not_know(site: Path) -> None:
    (problem,) = examine_nnunet().problems
    assert problem == "Python finds no nnunetv2; `pip install 'nnunetv2>=2.8,<3'`"
    (site / "nnunetv2").mkdir(parents=True)
    (site / "nnunetv2" / "__init__.py").write_text("")
    importlib.invalidate_caches()
    section = examine_nnunet()
    assert section.lines["stock"] == "no: pip did not install it"
    assert "`pip install" in section.warnings[0]


@pytest.mark.parametrize(("version", "fits"), [("2.7.9", False), ("2.9", True), ("3.0.0", False)])
def test_versions(site: Path, version: str, fits: bool) -> None:
    install(site, version)
    assert (examine_nnunet().problems == ()) == fits
