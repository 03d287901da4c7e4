"""Pages on paper and in small windows."""

import pytest

from browser import wait_a_frame

pytestmark = pytest.mark.browser


def test_it_fits_small_windows_and_prints_every_chart(browser, report):
    opened = browser.open(report, width=800, height=400)
    opened.wait_for_function("umambaPage.views.size > 0")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 800
    assert opened.pdf().count(b"/Type /Page\n") >= 1
    assert opened.evaluate("umambaPage.views.size") == 2


def test_paper_is_white_and_charts_fit_it(browser, report):
    opened = browser.open(report, color_scheme="dark", width=1400)
    opened.wait_for_function("umambaPage.views.size > 0")
    texts = "[...document.querySelectorAll('.plot text')].map((t) => t.getAttribute('fill'))"
    dark = set(opened.evaluate(texts))
    opened.evaluate(f"addEventListener('beforeprint', () => {{ window.printed = {texts}; }})")
    opened.pdf()
    light = set(opened.evaluate("window.printed"))
    assert light
    assert not light & dark
    wait_a_frame(opened)
    assert set(opened.evaluate(texts)) == dark

    opened.set_viewport_size({"width": 500, "height": 700})  # of a small sheet
    opened.emulate_media(media="print", color_scheme="dark")
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    wait_a_frame(opened)
    assert (
        opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    )
    for plot in opened.locator(".plot").all():
        drawing = plot.locator("svg, canvas").bounding_box()
        assert drawing["width"] <= plot.bounding_box()["width"]
        assert drawing["height"] > 50
