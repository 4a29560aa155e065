"""Who looks at what, and what changed there: one task for all open pages, which ends when the last is closed."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from anyio import to_thread

Versions = Mapping[str, str]
"""Part of a page -> its version."""
PACE = 1.0
"""Seconds between two looks at what somebody looks at."""
_SHARE = 0.1
"""The largest fraction of the time that looking takes: of a slow disk, the files are looked at less often."""


class Watched:
    """One page that is open somewhere."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        """The path of its address, which says what the page shows."""
        self._changed = asyncio.Event()
        self._parts: Versions = {}

    def tell(self, parts: Versions) -> None:
        """The parts have these versions now."""
        if parts != self._parts:
            self._parts = parts
            self._changed.set()

    async def changes(self) -> Versions:
        """The versions of all parts, when they are others than those that were last returned."""
        await self._changed.wait()
        self._changed.clear()
        return self._parts


class Watcher:
    """Looks at what pages show as long as there are any."""

    def __init__(self, versions_of: Callable[[str], Versions], pace: float = PACE) -> None:
        """`versions_of` looks at a subject; it is called in another thread."""
        self._versions_of = versions_of
        self._pace = pace
        self._pages: list[Watched] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def open_pages(self) -> int:
        """The number of pages that are told of changes."""
        return len(self._pages)

    def join(self, subject: str) -> Watched:
        """A page that is told of changes from now on, first of the versions that its parts have."""
        page = Watched(subject)
        self._pages.append(page)
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._watch())
        return page

    def leave(self, page: Watched) -> None:
        """The page is told nothing more."""
        with suppress(ValueError):
            self._pages.remove(page)
        if not self._pages and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _watch(self) -> None:
        while self._pages:
            began = time.monotonic()
            for subject in {page.subject for page in self._pages}:
                parts = await to_thread.run_sync(self._versions_of, subject)
                for page in self._pages:
                    if page.subject == subject:
                        page.tell(parts)
            took = time.monotonic() - began
            await asyncio.sleep(max(self._pace - took, took / _SHARE))
