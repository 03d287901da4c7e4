"""Pages with nothing but a case browser, and how tests use them."""

from pathlib import Path
from typing import Any

import numpy as np

from browser import Browser, wait_a_frame
from umamba.reporting.page import writing
from umamba.reporting.page.case_data import CaseData, Channel, Mask
from umamba.reporting.page.content import CaseBrowser, Page, ScoreCube, ScoredMetric, Section

HOSTILE = '</script><img src=x onerror=alert(1)>"quoted", \u202eright to left'
LABELS = {"organ": (1, 2), "tumour": (2,)}
RNG = np.random.default_rng(0)
SHAPE = (5, 7, 9)
IMAGE = RNG.integers(0, 256, SHAPE, np.uint8)
REFERENCE = RNG.integers(0, 4, SHAPE, np.uint8)  # 3 is ignored
PREDICTIONS = [RNG.integers(0, 3, SHAPE, np.uint8) for _ in range(2)]
COLOURS = RNG.integers(0, 255, (6, 8, 3), np.uint8)
LETTERS = (("I", "S"), ("A", "P"), ("R", "L"))


def volume(**changes: Any) -> CaseData:
    """A case in which every voxel is random."""
    parts = {
        "channels": [Channel("CT", IMAGE)],
        "reference": REFERENCE,
        "masks": [
            Mask(f"model {i}", values, 0, {"": 0.5 + i / 4, "organ": 0.25})
            for i, values in enumerate(PREDICTIONS)
        ],
        "spacing": (2.0, 1.0, 0.5),
        "letters": LETTERS,
        "ignore": 3,
    }
    return CaseData(**(parts | changes))


def write(
    path: Path, cases: dict[str, bytes], *, scores: ScoreCube | None = None, notes: tuple = ()
) -> Path:
    """Write a page with nothing but a case browser."""
    labels = [[name, list(values)] for name, values in LABELS.items()]
    index = {"cases": [*cases], "labels": labels, "unit": "mm", "notes": list(notes)}
    browser = CaseBrowser(index, cases.items())
    writing.write_page(Page("Cases", "", (Section("cases", "Cases", (browser,)),), scores), path)
    return path


def opened(browser: Browser, path: Path, case: str, **options: Any) -> Any:
    """Open a page and a case in it."""
    page = browser.open(path, **options)
    page.evaluate("(name) => umambaPage.set('opened', name)", case)
    wait_for(page, case)
    return page


def wait_for(page: Any, case: str) -> None:
    """Wait until a case is shown."""
    shown = "(name) => document.querySelector('.viewer-title').dataset.shown === name"
    page.wait_for_function(shown, arg=case)
    wait_a_frame(page)


def press(page: Any, *keys: str) -> None:
    """Press keys in the picture."""
    page.focus(".viewer-stage")
    for key in keys:
        page.keyboard.press(key)
    wait_a_frame(page)


def cube(names: list[str]) -> ScoreCube:
    """Scores of three cases by two models."""
    values = [[0.5, 0.7, 0.9], [0.6, 0.95, None]]
    return ScoreCube(
        cases=names,
        models=["one", HOSTILE],
        metrics=[ScoredMetric("dice", "Dice"), ScoredMetric("hd95", "HD95", False, 1)],
        labels=["", "organ"],
        values={"dice": {"": values, "organ": values}, "hd95": {"": [[1, 2, 3], [4, 5, 6]]}},
        facts={"fold": [0, 1, 1], "group": ["x", HOSTILE, "x"], "size": [10.0, 3.0, 20.0]},
    )
