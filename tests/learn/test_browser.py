"""The lessons in a real browser: each opens without an error cell, and its figure follows its slider."""

import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from hora.learn import LESSONS, export, lesson

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SHOTS = os.environ.get("HORA_SCREENSHOTS")
# A sentence that stands below the slowest cell of each lesson.
LAST = {1: "more workers stop paying", 2: "apart after 40 steps", 3: "The least is sent by", 4: "finds nothing."}
SECONDS = 400


@pytest.fixture(scope="module")
def browser():
    sync = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install chromium")
    with sync.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(*command, cwd):
    """Run a server and give its port once it says that it is there."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", *command, str(port)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        for line in process.stdout:
            if str(port) in line:
                break
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=30)


@contextmanager
def opened(browser, number, cwd):
    """Open a lesson and give its page once its last cell is there."""
    with serving("hora", "learn", str(number), "--no-browser", "--port", cwd=cwd) as port:
        page = browser.new_page(viewport={"width": 1100, "height": 1000})
        page.goto(f"http://127.0.0.1:{port}/?show-code=true")
        page.locator(".output-area").get_by_text(LAST[number]).wait_for(timeout=1000 * SECONDS)
        page.locator(".output-area").get_by_text("Not graded yet").wait_for(timeout=1000 * SECONDS)
        page.wait_for_timeout(1000)
        yield page
        page.close()


def errors(page):
    return page.locator(".marimo-cell.has-error").all_inner_texts()


def keep(page, name):
    """Keep a screenshot of the whole lesson where the reader of the tests asked for them."""
    if SHOTS:
        height = page.evaluate("Math.max(...[...document.querySelectorAll('*')].map(e => e.scrollHeight))")
        page.set_viewport_size({"width": 1100, "height": min(height + 50, 16000)})
        page.wait_for_timeout(3000)
        page.screenshot(path=Path(SHOTS) / f"{name}.png")


def move(page, slider, presses):
    """Move a slider by its keys."""
    thumb = page.get_by_role("slider").nth(slider)
    thumb.focus()
    for _ in range(presses):
        thumb.press("ArrowRight")


def drawing(page, figure):
    """The lines of a figure as they are drawn."""
    plot = page.locator("marimo-plotly").nth(figure)
    plot.scroll_into_view_if_needed()
    paths = plot.locator(".scatterlayer path.js-line, .barlayer path")
    return [path.get_attribute("d") for path in paths.all()]


def wait_until(page, holds, seconds=60):
    for _ in range(10 * seconds):
        if holds():
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"not within {seconds} s; cells with errors: {errors(page)}")


def test_lesson_1_follows_its_sliders_and_grades(browser, tmp_path):
    with opened(browser, 1, tmp_path) as page:
        assert errors(page) == []
        keep(page, "lesson_1")
        wait_until(page, lambda: drawing(page, 0))
        line = drawing(page, 0)
        move(page, 0, 10)
        wait_until(page, lambda: drawing(page, 0) != line)
        wait_until(page, lambda: len(drawing(page, 1)) == 2)
        paths = drawing(page, 1)
        move(page, 2, 2)
        wait_until(page, lambda: drawing(page, 1) != paths)
        page.get_by_role("button", name="Write exercise_1.py here").click()
        wait_until(page, (tmp_path / "exercise_1.py").is_file)
        page.get_by_role("button", name="Grade it").click()
        page.locator(".output-area").get_by_text("It is zero").wait_for(timeout=60000)
        assert errors(page) == []


def test_lesson_2_breaks_and_mends_and_follows_its_slider(browser, tmp_path):
    with opened(browser, 2, tmp_path) as page:
        assert errors(page) == []
        keep(page, "lesson_2")
        shown = page.locator(".output-area").all_inner_texts()
        assert sum("NOT EQUIVALENT" in text for text in shown) == 3
        assert any("EQUIVALENT with synchronised BatchNorm" in text for text in shown)
        wait_until(page, lambda: drawing(page, 0))
        before = drawing(page, 0)
        move(page, 0, 3)
        wait_until(page, lambda: drawing(page, 0) != before)
        assert errors(page) == []


def test_lesson_3_measures_and_follows_its_sliders(browser, tmp_path):
    with opened(browser, 3, tmp_path) as page:
        assert errors(page) == []
        keep(page, "lesson_3")
        shown = page.locator(".output-area")
        shown.get_by_text("16 of 16").wait_for()
        move(page, 0, 2)
        shown.get_by_text("36 of 36").wait_for()
        sent = shown.get_by_text("The least is sent by").inner_text()
        network = shown.get_by_text("million parameters").inner_text()
        move(page, 4, 1)
        wait_until(page, lambda: shown.get_by_text("million parameters").inner_text() != network)
        assert sent
        assert errors(page) == []


def test_lesson_4_leaves_out_each_step_and_compares_the_reader_s_file(browser, tmp_path):
    with opened(browser, 4, tmp_path) as page:
        assert errors(page) == []
        keep(page, "lesson_4")
        shown = page.locator(".output-area")
        title = shown.get_by_text("Without step 4: Weigh the slices")
        title.wait_for()
        move(page, 0, 2)
        shown.get_by_text("Without step 6: Start equal").wait_for()
        assert not title.is_visible()
        page.get_by_role("button", name="Write exercise_4.py here").click()
        wait_until(page, (tmp_path / "exercise_4.py").is_file)
        assert errors(page) == []


def test_the_list_of_all_lessons_opens_one(browser, tmp_path):
    with serving("hora", "learn", "--no-browser", "--port", cwd=tmp_path) as port:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        for one in LESSONS:
            page.get_by_text(one.name.replace("_", " ")).first.wait_for(timeout=30000)
        page.close()


def test_an_exported_page_shows_its_figures_without_a_network(browser, tmp_path):
    export(tmp_path, (lesson(1),))
    assert {"index.html", "1-one-neuron.html", "assets"} <= {path.name for path in tmp_path.iterdir()}
    with serving("http.server", "--bind", "127.0.0.1", cwd=tmp_path) as port:
        page = browser.new_page()
        page.route(lambda url: "127.0.0.1" not in url, lambda route: route.abort())
        page.goto(f"http://127.0.0.1:{port}/")
        page.get_by_text("One neuron").click()
        page.locator(".output-area").get_by_text(LAST[1]).wait_for(timeout=60000)
        wait_until(page, lambda: drawing(page, 0))
        assert errors(page) == []
        keep(page, "exported")
        page.close()
