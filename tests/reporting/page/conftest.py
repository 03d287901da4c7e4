"""The browser, for all tests of pages."""

from browser import browser, chromium

__all__ = ["browser", "chromium"]
