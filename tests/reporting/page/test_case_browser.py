"""The case browser in a real Chromium: what it draws is what numpy cuts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from browser import Browser, serious_findings, wait_a_frame
from case_pages import (
    COLOURS,
    HOSTILE,
    IMAGE,
    LABELS,
    PREDICTIONS,
    REFERENCE,
    SHAPE,
    cube,
    opened,
    press,
    volume,
    wait_for,
    write,
)
from umamba.datasets.checks import Case
from umamba.evaluation.browsed_cases import BrowsedCase, BrowsedMask, browse_cases
from umamba.reporting.page import writing
from umamba.reporting.page.case_data import Channel, Mask, encode_case, encode_problem
from umamba.reporting.page.content import Page, Section

pytestmark = pytest.mark.browser

# Colours of the voxels of a pane, read at their centres.
PIXELS = """(n) => {
  const viewer = umambaPage.viewer, pane = viewer.panes[n], view = viewer.placed(pane);
  const copy = document.createElement("canvas");
  copy.width = pane.canvas.width; copy.height = pane.canvas.height;
  const context = copy.getContext("2d", {willReadFrequently: true});
  context.drawImage(pane.canvas, 0, 0);
  const {height, width} = pane.plane, rows = [];
  for (let r = 0; r < height; r++) { rows.push([]); for (let c = 0; c < width; c++)
    rows[r].push([...context.getImageData(Math.floor(view.x + (c + 0.5) * view.sx),
      Math.floor(view.y + (r + 0.5) * view.sy), 1, 1).data].slice(0, 3)); }
  return rows;
}"""


def change(page: Any, **changes: Any) -> None:
    """Change the state of the viewer, and wait until it is drawn."""
    page.evaluate("(changes) => umambaPage.viewer.change(changes)", changes)
    wait_a_frame(page)


def state(page: Any, name: str) -> Any:
    """Return a part of the state of the viewer."""
    return page.evaluate("(name) => umambaPage.viewer[name]", name)


def slice_of(array: np.ndarray, axis: int, at: int) -> np.ndarray:
    """Return a slice as radiologists look at it: the head is up."""
    found = np.take(array, at, axis)
    return found if axis == 0 else found[::-1]


def test_a_slice_shows_the_voxels_of_an_oblique_volume(tmp_path: Path, browser: Browser) -> None:
    turn = np.radians(20)
    rows = [[0, 0, -1], [np.cos(turn), -np.sin(turn), 0], [-np.sin(turn), -np.cos(turn), 0]]
    for name, array in (("image", IMAGE), ("mask", REFERENCE)):
        image = SimpleITK.GetImageFromArray(array)
        image.SetDirection(np.ravel(rows).tolist())
        image.SetSpacing((0.5, 1.0, 2.0))
        SimpleITK.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    mask = tmp_path / "mask.nii.gz"
    masks = [BrowsedMask("one", mask, 0, {"": 1.0})]
    cases = {"a": BrowsedCase(Case("a", (tmp_path / "image.nii.gz",), mask), masks)}
    section = Section("cases", "Cases", (browse_cases(cases, LABELS, ignore=3),))
    writing.write_page(Page("A", "", (section,)), tmp_path / "report.html")
    page = opened(browser, tmp_path / "report.html", "a")
    oriented = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(tmp_path / "image.nii.gz")), "LPS")
    array = SimpleITK.GetArrayFromImage(oriented)
    assert "tilted by 20 degrees" in page.inner_text(".viewer-notes")
    page.fill("#viewer-level", "127.5")
    page.fill("#viewer-width", "255")
    page.keyboard.press("Enter")
    for axis, letters in ((0, "RLAP"), (1, "RLSI"), (2, "APSI")):
        change(page, layout="one", overlay=False, zoom=0.5, axis=axis, cursor=[1, 2, 3])
        drawn = np.array(page.evaluate(PIXELS, 0))
        np.testing.assert_array_equal(drawn[..., 0], slice_of(array, axis, axis + 1))
        ends = page.evaluate("() => Object.values(umambaPage.viewer.panes[0].plane.ends)")
        assert "".join(ends) == letters
        view = page.evaluate("() => umambaPage.viewer.placed(umambaPage.viewer.panes[0])")
        aspect = np.divide(*np.delete(oriented.GetSpacing()[::-1], axis))
        assert view["sy"] / view["sx"] == pytest.approx(aspect)


@pytest.mark.parametrize("label", ["", "organ", "tumour"])
def test_differences_are_those_of_numpy(tmp_path: Path, browser: Browser, label: str) -> None:
    page = opened(browser, write(tmp_path / "report.html", {"a": encode_case(volume())}), "a")
    if label:
        page.select_option("#viewer-label", label)
    change(page, layout="one", zoom=0.5, opacity=1, style="fill", mode="difference", outline=False)
    change(page, source=2, cursor=[3, 2, 1])
    predicted, reference = PREDICTIONS[1][3].astype(int), REFERENCE[3].astype(int)
    if label:
        inside = LABELS[label]
        p, r = np.isin(predicted, inside).astype(int), np.isin(reference, inside).astype(int)
    else:
        p, r = predicted, reference
    wanted = np.select(
        [(p > 0) & (r == 0), (p == 0) & (r > 0), (p > 0) & (p == r), p > 0], [1, 2, 3, 4]
    )
    wanted[reference == 3] = 0
    colours = np.array([[0, 0, 0], [213, 94, 0], [0, 114, 178], [187, 187, 187], [240, 228, 66]])
    drawn = np.array(page.evaluate(PIXELS, 0))
    np.testing.assert_array_equal(drawn[wanted > 0], colours[wanted[wanted > 0]])
    assert (drawn[wanted == 0] == drawn[wanted == 0][:, :1]).all()  # the image, which is grey
    # Dice of a label if it is known, or else that of all.
    dice = "Dice of organ 0.250" if label == "organ" else "Dice 0.750"
    assert page.inner_text(".pane figcaption") == f"model 1, seed 0: {dice}"


def test_keys_and_wheel_go_through_slices_models_and_modes(
    tmp_path: Path, browser: Browser
) -> None:
    page = opened(browser, write(tmp_path / "report.html", {"a": encode_case(volume())}), "a")
    change(page, cursor=[2, 3, 4])
    press(page, "ArrowUp")
    assert state(page, "cursor") == [3, 3, 4]
    assert "a, axial slice 4 of 5, model 0, seed 0, Dice 0.500" in page.inner_text(
        ".viewer-announced"
    )
    press(page, "PageDown")
    assert state(page, "cursor")[0] == 0
    page.hover(".pane:nth-child(2) canvas")
    page.mouse.wheel(0, 100)
    wait_a_frame(page)
    assert state(page, "cursor") == [0, 4, 4]
    assert page.input_value("#viewer-slice-1") == "5"
    page.fill("#viewer-slice-2", "2")
    wait_a_frame(page)
    assert state(page, "cursor") == [0, 4, 1]
    for key, name, value in [
        ("2", "source", 2), ("0", "source", 0), ("ArrowLeft", "source", 2), ("9", "source", 2),
        ("d", "mode", "difference"), ("f", "style", "fill"), ("o", "overlay", False),
        ("s", "layout", "side"), ("s", "layout", "planes"), ("+", "zoom", 1.25),
    ]:  # fmt: skip
        press(page, key)
        assert state(page, name) == value, key
    press(page, "r", "Shift+ArrowRight")
    assert state(page, "zoom") == 1
    assert state(page, "centre") != [n / 2 for n in SHAPE]
    change(page, source=1)
    press(page, "e")
    differs = (PREDICTIONS[0] != REFERENCE) & (REFERENCE != 3)
    most = [int(differs.sum(axis=(b, c)).argmax()) for b, c in ((1, 2), (0, 2), (0, 1))]
    assert state(page, "cursor") == most


def test_pointing_and_dragging(tmp_path: Path, browser: Browser) -> None:
    page = opened(browser, write(tmp_path / "report.html", {"a": encode_case(volume())}), "a")
    change(page, cursor=[2, 3, 4])
    box = page.locator(".pane canvas").first.bounding_box()
    view = page.evaluate("() => umambaPage.viewer.placed(umambaPage.viewer.panes[0])")
    x, y = box["x"] + view["x"] + 6.5 * view["sx"], box["y"] + view["y"] + 1.5 * view["sy"]
    page.mouse.move(x, y)
    names = ["background", "organ", "organ, tumour", "left out"]
    assert page.inner_text(".viewer-pointed") == (
        f"z 3, y 2, x 7; CT {IMAGE[2, 1, 6]}; reference: {names[REFERENCE[2, 1, 6]]}; "
        f"model 0, seed 0: {names[PREDICTIONS[0][2, 1, 6]]}"
    )
    page.mouse.click(x, y)
    assert state(page, "cursor") == [2, 1, 6]
    before = state(page, "windows")[0]
    page.mouse.down(button="right")
    page.mouse.move(x + 40, y)
    page.mouse.up(button="right")
    wait_a_frame(page)
    low, high = state(page, "windows")[0]
    span = float(np.ptp(IMAGE))
    assert high - low == pytest.approx(before[1] - before[0] + 40 * span / 400)
    assert float(page.input_value("#viewer-width")) == pytest.approx(high - low, rel=1e-4)


def test_windows_of_ct_and_channels(tmp_path: Path, browser: Browser) -> None:
    ct = IMAGE.astype(np.int16) * 10 - 1000
    case = volume(channels=[Channel("CT", ct), Channel("PET", IMAGE)])
    page = opened(browser, write(tmp_path / "report.html", {"a": encode_case(case)}), "a")
    page.select_option("#viewer-window", "lung")
    assert state(page, "windows")[0] == [-1350, 150]
    press(page, "w")
    assert page.input_value("#viewer-window") == "bone"
    page.select_option("#viewer-window", "whole range")
    wait_a_frame(page)
    assert state(page, "windows")[0] == [int(ct.min()), int(ct.max())]
    page.select_option("#viewer-channel", "1")
    wait_a_frame(page)
    options = page.locator("#viewer-window option").all_inner_texts()
    assert options == ["automatic", "whole range", "own"]


def odd_cases() -> dict[str, bytes]:
    """Cases with little in common."""
    many = np.arange(48).reshape(6, 8) % 71
    flat = {"spacing": (1.0, 1.0), "letters": (), "reference": many}
    rgb = {"masks": [Mask("one", many)], "channels": [Channel("RGB", COLOURS, colours=True)]}
    odd_values = {"masks": [Mask("one", -many)], "channels": [], "reference": many * 1000}
    slices = {"reference": many[None], "channels": [Channel("CT", np.full((1, 6, 8), np.nan))]}
    bare = {"masks": [], "channels": []}
    cases = {
        "rgb": volume(**flat, **rgb),
        "odd values": volume(**(flat | odd_values)),
        "one slice": volume(**slices, masks=[]),
        "no masks": volume(**bare, reference=np.zeros(SHAPE, int)),
        "a line": volume(**bare, reference=np.ones((1, 1, 5), int)),
    }
    return {name: encode_case(case) for name, case in cases.items()}


def test_odd_cases_are_shown(tmp_path: Path, browser: Browser) -> None:
    data = {**odd_cases(), "gone": encode_problem(f"It is gone: {HOSTILE}")}
    page = opened(browser, write(tmp_path / "report.html", data, notes=("All.",)), "rgb")
    change(page, overlay=False, zoom=0.5)
    assert page.evaluate(PIXELS, 0)[2][3] == COLOURS[2, 3].tolist()
    for name in data:
        page.evaluate("(name) => umambaPage.set('opened', name)", name)
        wait_for(page, name)
        if name != "gone":
            press(page, *"odfsevw1+r", "ArrowUp")
        assert page.locator(".pane").count() >= 1
    assert page.inner_text(".viewer-notes") == f"It is gone: {HOSTILE}".replace("\u202e", "\\u202e")
    assert page.locator(".viewer-body").is_hidden()


def test_cases_in_files_are_loaded_when_opened(
    tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "LARGEST_FILE", 1)
    data = {name: encode_case(volume()) for name in "abcde"}
    name = "a  report\u00a0100%20&quot;#"  # HTML and addresses change each of these
    path = write(tmp_path / f"{name}.html", data)
    assert not path.read_text().count("octet-stream")
    (files := tmp_path / f"{name}_files").joinpath("case_1.js").unlink()
    write(tmp_path / "b report.html", dict.fromkeys("abcd", data["a"]))  # of another run
    (tmp_path / "b report_files" / "case_3.js").replace(files / "case_3.js")
    page = opened(browser, path, "a")
    assert page.locator(".pane canvas").count() == 3
    for name in "ce":
        page.evaluate("(name) => umambaPage.set('opened', name)", name)
        wait_for(page, name)
    page.evaluate("() => umambaPage.set('opened', 'd')")
    page.locator(".viewer-notes", has_text="#_files belongs to another report").wait_for()
    page.evaluate("() => umambaPage.set('opened', 'b')")
    page.locator(".viewer-notes", has_text="100%20&quot;#_files next to").wait_for()
    assert all("ERR_FILE_NOT_FOUND" in problem for problem in browser.problems)
    browser.problems.clear()


def test_the_keyboard_is_enough_and_axe_is_content(tmp_path: Path, browser: Browser) -> None:
    names = ["a", "b", "c"]
    data = {name: encode_case(volume()) for name in names}
    path = write(tmp_path / "report.html", data, scores=cube(names))
    page = browser.open(path, width=800, color_scheme="dark")
    page.focus(".list-table .list-open")
    page.keyboard.press("Enter")
    page.wait_for_selector(".pane canvas")
    wait_a_frame(page)
    assert page.evaluate("() => document.activeElement.className") == "viewer-stage"
    assert page.get_attribute(".pane canvas", "aria-label").startswith("a, axial slice")
    page.keyboard.press("n")
    wait_for(page, "b")
    page.click(".viewer-title")
    for _ in range(2):
        assert serious_findings(page) == []
        page.click("#theme")
