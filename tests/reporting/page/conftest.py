"""The browser and a page, for all tests of pages."""

from pathlib import Path
from typing import Any

import pytest

from browser import Browser, browser, chromium
from example_page import example
from umamba.reporting.page.writing import write_page

__all__ = ["browser", "chromium"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(example(), path)
    return path


@pytest.fixture
def page(browser: Browser, report: Path) -> Any:
    opened = browser.open(report, height=2400)
    opened.wait_for_function("umambaPage.views.size === 2")
    return opened
