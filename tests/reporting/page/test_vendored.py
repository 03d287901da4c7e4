"""The vendored libraries are those that were looked at, of the version that draws files, too."""

import hashlib
import re
from pathlib import Path

import umamba.reporting.page
from umamba.reporting.charts import VEGA_LITE
from umamba.reporting.page import assets

VENDOR = Path(umamba.reporting.page.__file__).parent / "vendor"


def test_files_have_their_hashes_and_licences():
    lines = (VENDOR / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in map(str.split, lines)}
    assert sums.keys() == {path.name for path in VENDOR.glob("*.js")}
    for name, digest in sums.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest
        assert "Redistribution" in (VENDOR / f"LICENSE-{name.split('.')[0]}.txt").read_text()


def test_drawing_and_pages_use_one_version():
    version = re.search(r'var n="([\d.]+)"', (VENDOR / "vega-lite.min.js").read_text())
    assert version is not None
    assert version[1].startswith(f"{VEGA_LITE}.")


def test_scripts_can_stand_in_html_and_load_nothing():
    for script in (assets.libraries(), assets.scripts(), assets.styles()):
        assert "</script" not in script.lower()
        assert "<!--" not in script
        assert "\r" not in script
        assert "sourceMappingURL" not in script
    assert not re.search(r"^(import|export)\b", assets.libraries(), re.MULTILINE)
    assert "innerHTML" not in assets.scripts()
    assert "http" not in assets.policy(with_files=True)
