"""A real Chromium for tests of pages: without a network, and strict about its console."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LOCAL = ("file:", "data:", "blob:", "about:")
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


class Browser:
    """A browser whose pages must neither ask for anything remote nor write to the console.

    Args:
        browser: Playwright's browser.
    """

    def __init__(self, browser: Any) -> None:
        self._browser = browser
        self._contexts: list[Any] = []
        self.problems: list[str] = []

    def open(self, path: Path, *, width: int = 1400, height: int = 900, **options: Any) -> Any:
        """Open a file, and return playwright's page.

        Args:
            path: The file.
            width: Width of the window in pixels.
            height: Its height.
            options: Options of playwright's context, such as `color_scheme`.
        """
        context = self._browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(10_000)
        self._contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("request", self._asked)
        page.goto(path.resolve().as_uri())
        return page

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"console: {message.text}")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(LOCAL):
            self.problems.append(f"asked for {request.url}")

    def close(self) -> None:
        """Close all pages, and fail if any had a problem."""
        for context in self._contexts:
            context.close()
        self._contexts.clear()
        assert not self.problems, self.problems


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A Chromium that all tests of a module share."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("no chromium here; install it to test pages")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def browser(chromium: Any) -> Iterator[Browser]:
    """Pages for one test, which fails if any of them complains."""
    found = Browser(chromium)
    yield found
    found.close()


def wait_a_frame(page: Any) -> None:
    """Wait until the page has told all its parts of a change, and drawn it."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 60)))")


def serious_findings(page: Any) -> list[tuple[str, list[str]]]:
    """Return the serious and critical findings of axe-core, with the beginning of each element."""
    axe = pytest.importorskip("axe_core_python.sync_playwright", reason="needs axe-core-python")
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]})["violations"]
    return [
        (one["id"], [node["html"][:200] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
