"""The report in a browser without a network: drawn, readable, quiet, accessible, quick on a slow phone, printable."""

import re

import pytest

from counterpoint import report
from tests.browser import WIDTHS, draw_everything, opened, overflow, violations
from tests.synthetic_study import HOSTILE, Shape, write_study

pytestmark = pytest.mark.slow
FIRST_PAINT, ANSWER = 1.0, 1.0
"""Seconds, on a processor that is slowed down four times."""

LAID_OUT = "document.querySelectorAll('main > section').forEach((one) => (one.style.contentVisibility = 'visible'))"
SETTLED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 300))))"
OPENED = """async () => {
  const cell = document.querySelectorAll("details.study-cell")[1];
  const began = performance.now();
  cell.querySelector("summary").click();
  while (!cell.querySelector(".inside table")) await new Promise(requestAnimationFrame);
  return performance.now() - began;
}"""
"""Milliseconds until a cell that was clicked shows its runs."""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies") / "hostile"
    shape = Shape(steps=40, every=5, tasks=48)
    write_study(folder, cells=6, seeds=2, shape=shape, lost=1, hostile=True, controls=True)
    return report(folder, out=folder.parent / "study.html", title=HOSTILE[0])


@pytest.fixture(scope="module")
def run(study):
    runs = sorted(one for one in (study.parent / "hostile").iterdir() if (one / "summary.json").is_file())
    return report(runs[0], out=study.parent / "run.html")


def shown(page) -> None:
    """The first cell is open, and parts beyond the window are laid out, so that everything can be looked at."""
    page.evaluate(LAID_OUT)
    page.evaluate("document.querySelector('details.study-cell').open = true")
    page.locator("details.study-cell .inside table").first.wait_for()


@pytest.fixture(scope="module")
def light(browser, study):
    """A wide page of the study, of which tests leave no more open than they found."""
    with opened(browser, study) as (page, seen):
        yield page, seen


def is_sound(page, seen, found) -> None:
    """Nothing is cut, inaccessible or wrong; `found` are the figures that are drawn at least."""
    assert page.locator(".drawn svg").count() >= found
    assert page.locator(".failed").count() == 0
    assert overflow(page) <= 0
    assert violations(page) == []
    assert (seen.errors, seen.requests) == ([], [])


def test_a_study_is_drawn_and_accessible_and_fits_every_width(light):
    page, seen = light
    shown(page)
    draw_everything(page)
    is_sound(page, seen, 8)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate(SETTLED)
        assert overflow(page) <= 0
    page.set_viewport_size({"width": WIDTHS[-1], "height": 900})


def test_a_run_is_drawn_and_accessible_on_a_dark_phone(browser, run):
    with opened(browser, run, width=WIDTHS[0], theme="dark") as (page, seen):
        shown(page)
        draw_everything(page)
        is_sound(page, seen, 5)


def test_without_scripts_the_main_figures_and_all_runs_can_be_read(browser, study):
    with opened(browser, study, java_script_enabled=False) as (page, _):
        assert page.locator("#figure-map svg text").count() > 3
        assert page.locator("#table-of-runs tbody tr").count() >= 8
        assert not page.locator("#theme").is_visible()


def test_the_theme_is_chosen_and_figures_follow(browser, run):
    with opened(browser, run) as (page, _):
        figure = page.locator("[data-figure]").first
        figure.scroll_into_view_if_needed()
        figure.dispatch_event("pointerover")
        light = figure.locator(".drawn > svg > rect, .drawn svg .background").first
        light.wait_for(state="attached")
        before = figure.locator(".drawn").inner_html()
        page.locator("#theme").click()
        assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
        figure.scroll_into_view_if_needed()
        figure.dispatch_event("pointerover")
        page.wait_for_function("before => document.querySelector('.drawn').innerHTML !== before", arg=before)


def test_runs_are_filtered_and_sorted(light):
    page, _ = light
    page.locator("#filter-runs").fill("isolated")
    page.locator("#table-of-runs tbody tr[hidden]").first.wait_for(state="attached")
    names = page.locator("#table-of-runs tbody tr:not([hidden]) th").all_inner_texts()
    assert names
    assert all("isolated" in name for name in names)
    head = page.locator("#table-of-runs th", has_text="peak")
    values = []
    for direction in ("ascending", "descending"):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == direction
        column = head.evaluate("head => head.cellIndex")
        told = page.locator(f"#table-of-runs tbody tr:not([hidden]) td:nth-child({column + 1})").all_inner_texts()
        values.append([float(one) for one in told if one])
    assert values[0] == sorted(values[0])
    assert values[1] == values[0][::-1]


def test_a_signature_leads_to_its_evidence_in_a_closed_cell(browser, study):
    with opened(browser, study) as (page, seen):
        link = page.locator("table.signatures a").last
        name = (link.get_attribute("href") or "").removeprefix("#")
        link.click()
        page.locator(f"[id='{name}']").wait_for()
        assert page.locator(f"[id='{name}']").is_visible()
        assert seen.errors == []
    with opened(browser, study) as (page, _):
        page.goto(f"{page.url}#{name}")
        page.reload()
        page.locator(f"[id='{name}'].aimed").wait_for()


def test_a_figure_that_cannot_be_drawn_says_so_in_its_place(browser, run, tmp_path):
    broken = tmp_path / "broken.html"
    text = run.read_text(encoding="utf-8")
    broken.write_text(re.sub(r'"mark":', '"nark":', text), encoding="utf-8")
    with opened(browser, broken) as (page, _):
        figure = page.locator("[data-figure]").first
        figure.scroll_into_view_if_needed()
        figure.dispatch_event("pointerover")
        figure.locator(".failed").wait_for()
        assert "could not be drawn" in figure.locator(".failed").inner_text()
        assert page.evaluate("window.counterpoint !== undefined")


@pytest.mark.alone
def test_the_page_answers_within_a_second_on_a_slow_phone(browser, study):
    with opened(browser, "about:blank", width=390) as (page, _):
        session = page.context.new_cdp_session(page)
        session.send("Emulation.setCPUThrottlingRate", {"rate": 4})
        page.goto(study.as_uri())
        page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
        assert page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") < 1000 * FIRST_PAINT
        assert page.evaluate(OPENED) < 1000 * ANSWER


def test_the_page_is_printed_with_its_main_figures(browser, study):
    with opened(browser, study, theme="dark") as (page, _):
        printed = page.pdf(format="A4")
        assert printed.startswith(b"%PDF")
        assert len(printed) > 50_000
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
        assert not page.locator("#theme").is_visible()
        assert page.locator("#figure-map svg").first.is_visible()
