"""Paths of a machine are told from what else is in texts."""

import pytest

from umamba.nnunet.sharing.shareable import names_local_path


@pytest.mark.parametrize(
    "text",
    [
        "/home/anna/scans",
        "scans were in /data/anna before",
        "(/data)",
        "path=/data/x",
        "host:/export/x",
        "C:\\scans",
        "see d:/scans",
        "\\\\server\\share",
        "home\\anna\\scans",
        "~/scans",
        "in ~anna/scans",
        "../scans",
        "$HOME/scans",
        "${DATA}/x",
        "%USERPROFILE%\\x",
        "home/anna/scans",
        "file:scans",
        "FILE:///x",
        "smb://server/share",
        "http://localhost:8888/tree/home",
        "https://example.org/?file=/home/anna",
    ],
)
def test_local_paths(text: str) -> None:
    assert names_local_path(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Liver and/or spleen, T1/T2, 50 %, 3/4 of the cases",
        "CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/)",
        "www.example.org/data/liver, doi:10.1000/182, DOI 10.1038/s41592-020-01008-z",
        "see http://medicaldecathlon.com/a/b?c=d#e; ftp://ftp.example.org/x.",
        "voxels of 1 / 2 mm; grades I..IV; a:b",
    ],
)
def test_other_texts(text: str) -> None:
    assert not names_local_path(text)
