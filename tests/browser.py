"""A browser for tests of pages: Chromium without a network, which notes every error and every request."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (360, 768, 1440)


@dataclass
class Seen:
    """What a page said and asked for."""

    errors: list[str] = field(default_factory=list)
    """Errors of scripts, and of the policy of the page."""
    requests: list[str] = field(default_factory=list)
    """Addresses that are neither the page itself nor data."""


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """One browser for the tests of a file; while it is there, this thread can run no event loop."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.fail(f"these tests need a browser: none of {', '.join(NAMES)} is installed")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield made
        made.close()


@contextmanager
def opened(
    browser: "Browser", address: str | Path, *, width: int = 1440, theme: str = "light", **options: Any
) -> Iterator[tuple["Page", Seen]]:
    """A page at an address, or of a file, at a width and in a theme, and what it says and asks for."""
    options = {"offline": isinstance(address, Path), **options}
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if theme == "dark" else "light", **options
    )
    context.set_default_timeout(20_000)
    page, seen = context.new_page(), Seen()
    target = address.resolve().as_uri() if isinstance(address, Path) else address
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("console", lambda said: seen.errors.append(said.text) if said.type == "error" else None)
    page.on(
        "request",
        lambda one: None if one.url.startswith(("data:", "blob:", target)) else seen.requests.append(one.url),
    )
    try:
        page.goto(target)
        yield page, seen
    finally:
        context.close()


def overflow(page: "Page") -> int:
    """The pixels by which the page is wider than its window."""
    found: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return found


def settle(page: "Page", seconds: float = 60.0) -> None:
    """Figures are as wide as their places: after a change of the window they are soon drawn again."""
    until = time.monotonic() + seconds
    wide = "[...document.querySelectorAll('.drawing')].filter(one => one.scrollWidth > one.clientWidth).length"
    while page.evaluate(wide):
        assert time.monotonic() < until, "figures stay wider than their places"
        page.wait_for_timeout(50)


def violations(page: "Page") -> list[str]:
    """The rules of axe-core that the page violates, with the parts that violate them."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['html'][:160] for node in one['nodes'][:3]]}" for one in found]


def draw_everything(page: "Page") -> None:
    """Every figure that is not hidden is scrolled into view and touched, and is drawn."""
    for figure in page.locator("[data-figure]").all():
        if figure.is_visible():
            figure.scroll_into_view_if_needed()
            figure.dispatch_event("pointerover")
            figure.locator(":scope > .drawing > .drawn, :scope > .drawing > .failed").first.wait_for()
